"""Inception-V2 agrees with tf-slim's on shared weights; its dilated end is the nominal network, densely."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from slim import SlimNetwork, image, make_slim

from cmask_tf.models.inception_v2 import DilatedPooling, build_inception_v2

pytestmark = pytest.mark.filterwarnings("ignore:`layer.apply` is deprecated")  # by tf-slim

SIZES = ((224, 224), (97, 150))
ATTRIBUTES = {
    "weights": "kernel",
    "depthwise_weights": "depthwise_kernel",
    "pointwise_weights": "pointwise_kernel",
    "beta": "beta",
    "moving_mean": "moving_mean",
    "moving_variance": "moving_variance",
}


@pytest.fixture(scope="module")
def slim() -> SlimNetwork:
    return make_slim(SIZES)


@pytest.fixture(scope="module")
def nominal(slim) -> keras.Model:
    """Ours at stride 32 and 3 channels, with tf-slim's values."""
    model = build_inception_v2(input_channels=3, output_stride=32)
    values = slim.values
    assert len(values) == len(model.weights)
    for name, value in values.items():
        scope, _, variable = name.removeprefix("InceptionV2/").rpartition("/")
        weight = getattr(model.get_layer(scope.replace("/", "_")), ATTRIBUTES[variable])
        assert weight.shape == value.shape
        weight.assign(value)
    return model


@pytest.mark.parametrize("size", SIZES)
def test_it_equals_tf_slims_network_on_shared_weights(nominal, slim, size):
    model = keras.Model(nominal.input, [nominal.get_layer("Mixed_4e").output, nominal.output])
    for actual, expected in zip(model(image(size)), slim.outputs[size], strict=True):
        assert expected.std() > 1e-2
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_its_parameters_part_by_part(nominal, slim):
    counts = {}
    for layer in nominal.layers:
        part = "_".join(layer.name.split("_")[:2])
        counts[part] = counts.get(part, 0) + sum(int(np.prod(w.shape)) for w in layer.trainable_weights)
    assert {part: count for part, count in counts.items() if count} == {
        "Conv2d_1a": 7 * 7 * 3 * 8 + 24 * 64 + 64,
        "Conv2d_2b": 64 * 64 + 64,
        "Conv2d_2c": 9 * 64 * 192 + 192,
        "Mixed_3b": 218_592,
        "Mixed_3c": 259_616,
        "Mixed_4a": 384_544,
        "Mixed_4b": 609_120,
        "Mixed_4c": 664_448,
        "Mixed_4d": 894_944,
        "Mixed_4e": 1_106_976,
        "Mixed_5a": 1_438_720,
        "Mixed_5b": 2_180_672,
        "Mixed_5c": 2_277_984,
    }
    assert sum(counts.values()) == slim.trainable == 10_153_336


def test_two_attention_channels_widen_the_first_layer_only(nominal):
    five = build_inception_v2()
    count = sum(int(np.prod(w.shape)) for w in five.trainable_weights)
    assert count == 10_153_336 + 7 * 7 * 2 * 8 + 2 * 8 * 64
    assert five.input_shape == (None, None, None, 5)
    assert five.compute_output_shape((1, 224, 224, 5)) == (1, 14, 14, 1024)
    assert nominal.compute_output_shape((1, 224, 224, 3)) == (1, 7, 7, 1024)


@pytest.mark.parametrize("size", ((224, 160), (97, 150)))
def test_dense_features_subsampled_are_the_nominal_features(nominal, size):
    expected = nominal(image(size)).numpy()
    dense = build_inception_v2(input_channels=3)
    dense.set_weights(nominal.get_weights())
    # 'same' padding centres the removed stride on odd cells of an even grid, on even cells of an odd one.
    rows, columns = (slice(1 - -(-n // 16) % 2, None, 2) for n in size)
    actual = dense(image(size)).numpy()
    assert actual.shape[1:] == (-(-size[0] // 16), -(-size[1] // 16), 1024)
    np.testing.assert_allclose(
        actual[:, rows, columns], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
    )


def test_a_narrow_network_trains_at_every_weight():
    model = build_inception_v2(width=0.125, name="narrow")
    assert model.name == "narrow"
    with tf.GradientTape() as tape:
        output = model(image((96, 96), 5), training=True)
        loss = tf.reduce_mean(output**2)
    assert output.shape == (1, 6, 6, 128)
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.isfinite(gradient).all()


def test_dilated_pooling_by_hand():
    x = np.float32([[1, 2, 3, 4, 5]] * 3)[None, :, :, None]  # rows alike; rate 2 reaches rows 0 and 2 of 3
    maximum = DilatedPooling("max", 2)(x)[0, :, :, 0]
    mean = DilatedPooling("avg", 2)(x)[0, :, :, 0]
    np.testing.assert_allclose(maximum, [[3, 4, 5, 4, 5]] * 3)
    np.testing.assert_allclose(mean, [[2, 3, 3, 3, 4]] * 3)
