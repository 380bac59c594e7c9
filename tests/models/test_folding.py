"""Batch normalization folded into convolutions: the same numbers, less to do, and no further than it may."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf import config
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.embedding import build_head
from cmask_tf.models.folding import folded
from cmask_tf.models.precision import precision
from cmask_tf.models.segmentation import build_segmentation

NET = config.Backbone(name="efficientnet_lite0", width=0.125, depth=0.2, output_stride=8)
PHOTOS = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 3)).astype(np.float32)


def shaken(network):
    """The network with every weight and every statistic at random: no normalization is the identity."""
    rng = np.random.default_rng(1)
    for weight in network.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 2, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(0.1 * rng.normal(size=weight.shape))
    return network


def norms(network):
    found = []
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            found += norms(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            found.append(layer.name)
    return found


def assert_equal_answers(network, copy, given, atol=2e-5):
    expected, got = network(given, training=False), copy(given, training=False)
    if not isinstance(expected, dict):
        expected, got = {"": expected}, {"": got}
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        scale = np.abs(value).max()
        assert scale > 0
        np.testing.assert_allclose(got[name] / scale, value / scale, atol=atol)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_backbones(name):
    backbone = shaken(build_backbone(dataclasses.replace(NET, name=name)))
    copy = folded(backbone)
    assert norms(backbone) and not norms(copy)
    assert not copy.trainable_variables
    assert copy.name == backbone.name
    assert_equal_answers(backbone, copy, PHOTOS)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_the_embedding_head(activation):
    head = shaken(build_head(5, config.Embedding(hidden=(12, 12), output_activation=activation), 6))
    copy = folded(head)
    assert not norms(copy)
    assert_equal_answers(head, copy, PHOTOS[..., :1] * np.linspace(-1, 1, 5, dtype=np.float32))


@pytest.mark.parametrize("design", ["paper", "lite"])
def test_the_segmentation_network_with_the_networks_inside(design):
    backbone = build_backbone(NET)
    small = dataclasses.replace(config.tiny(design).segmentation, size=48)
    encoder, decoder = map(shaken, build_segmentation(small, backbone))
    photo = {"photo": tf.constant(PHOTOS), **backbone(PHOTOS, training=False)}
    photo = {name: photo[name] for name in encoder.input}
    copies = folded(encoder), folded(decoder)
    assert not norms(copies[0]) and not norms(copies[1])
    assert_equal_answers(encoder, copies[0], photo)
    attention = np.random.default_rng(2).uniform(0, 1, (2, 48, 48, 2)).astype(np.float32)
    given = {**encoder(photo, training=False), "attention": tf.constant(attention)}
    assert_equal_answers(decoder, copies[1], given)


def test_a_convolution_that_is_read_twice_or_is_not_linear_keeps_its_normalization():
    image = keras.Input((8, 8, 3))
    twice = keras.layers.Conv2D(4, 3, name="twice")(image)
    normed = keras.layers.BatchNormalization(name="of_twice")(twice)
    sums = keras.layers.Add()([twice, normed])
    bent = keras.layers.Conv2D(4, 3, activation="relu", name="bent")(sums)
    last = keras.layers.BatchNormalization(name="of_bent")(bent)
    seen = keras.layers.Conv2D(4, 1, name="seen")(last)
    normed = keras.layers.BatchNormalization(name="of_seen")(seen)
    network = shaken(keras.Model(image, {"last": normed, "seen": seen}))
    copy = folded(network)
    assert norms(copy) == ["of_twice", "of_bent", "of_seen"]
    assert_equal_answers(network, copy, PHOTOS[:, :8, :8])


def test_the_network_stays_as_it_was_and_no_random_number_is_drawn():
    head = shaken(build_head(5, config.Embedding(hidden=(12, 12)), 6))
    before = head.get_weights()
    keras.utils.set_random_seed(3)
    expected = keras.random.normal((4,))
    keras.utils.set_random_seed(3)
    folded(head)
    np.testing.assert_array_equal(keras.random.normal((4,)), expected)
    for one, other in zip(before, head.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert head.trainable_variables


def test_a_network_in_mixed_precision_stays_in_it():
    with precision("mixed_bfloat16"):
        head = shaken(build_head(5, config.Embedding(hidden=(12, 12)), 6))
    copy = folded(head)
    assert copy.get_layer("fc1").compute_dtype == "bfloat16"
    assert copy.output.dtype == "float32"
    given = PHOTOS[..., :1] / 255 * np.linspace(-1, 1, 5, dtype=np.float32)
    assert_equal_answers(head, copy, given, atol=0.05)
