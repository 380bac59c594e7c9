"""ResNet-50 is number for number that of keras.applications, its caffe preprocessing done inside."""

import keras
import numpy as np
import pytest

from cmask_tf.config import Backbone
from cmask_tf.errors import UserError
from cmask_tf.models import resnet
from cmask_tf.models.backbone import build_backbone


@pytest.fixture(scope="module")
def theirs() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None, include_top=False)
    rng = np.random.default_rng(0)
    for variable in model.weights:  # as after training: no term of any layer is zero or one
        if variable.name in ("beta", "bias", "moving_mean"):
            variable.assign(rng.normal(0, 0.2, variable.shape))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.fixture(scope="module")
def ours(theirs) -> keras.Model:
    model = build_backbone(Backbone())
    resnet.copy_weights(theirs, model)
    return model


@pytest.mark.parametrize("size", ((224, 224), (75, 133)))
def test_it_equals_keras_applications_at_every_level(ours, theirs, size):
    image = np.random.default_rng(1).uniform(0, 255, (1, *size, 3)).astype("float32")
    prepared = keras.applications.resnet.preprocess_input(image.copy())
    levels = [theirs.get_layer(f"conv{n}_block{blocks}_out").output for n, blocks in ((2, 3), (3, 4), (4, 6))]
    expected = keras.Model(theirs.input, [*levels, theirs.output])(prepared)
    for actual, reference in zip(ours(image).values(), expected, strict=True):
        assert actual.shape == reference.shape
        np.testing.assert_allclose(actual, reference, rtol=1e-4, atol=1e-4 * np.abs(reference).max())


def test_its_parameters_part_by_part(ours, theirs):
    counts = {}
    for layer in ours.layers:
        part = layer.name.partition("_")[0]
        counts[part] = counts.get(part, 0) + layer.count_params()
    assert {part: count for part, count in counts.items() if count} == {
        "conv1": 9_728,
        "conv2": 220_032,
        "conv3": 1_230_336,
        "conv4": 7_129_088,
        "conv5": 14_998_528,
    }
    assert ours.count_params() == theirs.count_params() == 23_587_712


def test_the_papers_grid_at_its_two_sizes(ours):
    shapes = [ours.compute_output_shape((1, size, size, 3))["c5"] for size in (300, 700)]
    assert shapes == [(1, 10, 10, 2048), (1, 22, 22, 2048)]


def test_imagenet_weights_go_over_by_name(theirs, monkeypatch):
    monkeypatch.setattr(keras.applications, "ResNet50", lambda weights, include_top: theirs)
    model = build_backbone(Backbone(output_stride=16, weights="imagenet"))
    for layer in theirs.layers:
        if layer.weights:
            for expected, actual in zip(layer.weights, model.get_layer(layer.name).weights, strict=True):
                np.testing.assert_array_equal(actual, expected)


def test_a_failed_download_is_one_line(monkeypatch):
    def fail(**_):
        raise Exception("URL fetch failure on https://storage: None --\n[Errno -2] Name or service not known")

    monkeypatch.setattr(keras.applications, "ResNet50", fail)
    with pytest.raises(UserError) as caught:
        build_backbone(Backbone(weights="imagenet"))
    assert "ImageNet weights could not be downloaded (URL fetch failure" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(ours):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="odd")], name="other")
    with pytest.raises(UserError, match="weights of other: layers that backbone does not share: .*odd"):
        resnet.copy_weights(other, ours)
