"""The two segmentation designs (4.3, supplement 3) behind one interface."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf import config
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.dense import dense_units
from cmask_tf.models.segmentation import build_segmentation, encode

RNG = np.random.default_rng(3)


def build(design, size=64):
    """The backbone that has made the attention, encoder and decoder."""
    tiny = config.tiny(design).segmentation
    backbone = build_backbone(config.Backbone("efficientnet_lite0", width=0.25, depth=0.2, output_stride=8))
    return backbone, *build_segmentation(dataclasses.replace(tiny, size=size), backbone)


def run(models, image, attention):
    backbone, encoder, decoder = models
    maps = encode(encoder, image, backbone(image, training=False), training=False)
    return decoder({**maps, "attention": tf.constant(attention)}, training=False).numpy()


@pytest.fixture(scope="module", params=["paper", "lite"])
def models(request):
    keras.utils.set_random_seed(0)
    return build(request.param)


def test_one_logit_a_pixel(models):
    _, encoder, decoder = models
    assert (encoder.name, decoder.name) == ("segmentation_encoder", "segmentation_decoder")
    image = RNG.uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    logits = run(models, image, np.zeros((2, 64, 64, 2), np.float32))
    assert logits.shape == (2, 64, 64, 1)
    assert logits.dtype == np.float32
    assert logits.std() > 0


def test_each_of_the_five_channels_changes_the_output(models):
    image = RNG.uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    attention = RNG.uniform(0, 1, (1, 64, 64, 2)).astype(np.float32)
    before = run(models, image, attention)
    for channel in range(3):
        other = image.copy()
        other[..., channel] = 255 - other[..., channel]
        assert np.abs(run(models, other, attention) - before).max() > 1e-3 * before.std()
    for channel in range(2):
        other = attention.copy()
        other[..., channel] = 1 - other[..., channel]
        assert np.abs(run(models, image, other) - before).max() > 1e-3 * before.std()


def test_rows_of_a_batch_do_not_see_each_other(models):
    image = RNG.uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
    attention = RNG.uniform(0, 1, (3, 64, 64, 2)).astype(np.float32)
    together = run(models, image, attention)
    alone = np.concatenate([run(models, image[i : i + 1], attention[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_lite_decoder_sees_the_image_through_the_encoder_alone():
    _, encoder, decoder = build("lite")
    assert set(decoder.input) == {*encoder.output, "attention"}
    assert {name: m.shape[1] for name, m in encoder.output.items()} == {
        "c5": 8, "c4": 8, "c3": 8, "c2": 16, "low": 32,
    }  # fmt: skip


def test_dense_unit_joins_its_output_to_its_input():
    x = keras.Input((4, 4, 5))
    network = keras.Model(x, dense_units(x, units=3, growth=2, convolutions=2))
    assert network.output.shape == (None, 4, 4, 5 + 3 * 2)
    value = RNG.normal(size=(1, 4, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(network(value).numpy()[..., :5], value)
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in network.layers) == 6


@pytest.mark.parametrize("design", ["paper", "lite"])
def test_overfits_one_image(design):
    """The image holds two discs, the attention says which: the loss falls to a fifth and less."""
    keras.utils.set_random_seed(1)
    backbone, encoder, decoder = build(design, size=48)
    y, x = np.mgrid[:48, :48]
    left, right = ((y - 24) ** 2 + (x - c) ** 2 < 81 for c in (12, 36))
    image = np.full((48, 48, 3), 60, np.float32) + RNG.normal(0, 5, (48, 48, 3))
    image[left | right] += 120
    image = np.stack([image, image]).astype(np.float32)
    mask = np.stack([left, right])[..., None].astype(np.float32)
    prior = tf.image.resize(tf.image.resize(mask, (6, 6), antialias=True), (48, 48))
    attention = tf.repeat(prior / tf.reduce_max(prior), 2, axis=-1)
    features = backbone(image, training=False)
    variables = encoder.trainable_variables + decoder.trainable_variables
    optimizer = keras.optimizers.SGD(0.3, momentum=0.9)

    def step():  # eager: tracing the gradient takes longer than these few steps
        with tf.GradientTape() as tape:
            maps = encode(encoder, image, features, training=True)
            logits = decoder({**maps, "attention": attention}, training=True)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=mask, logits=logits))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    losses = [float(step()) for _ in range(12)]
    assert losses[-1] < losses[0] / 5
