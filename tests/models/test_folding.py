"""Batch normalization folded into convolutions: the same numbers, less to do, and no further than it may."""

import dataclasses

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf import config
from cmask_tf.errors import UserError
from cmask_tf.models import weights
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.embedding import build_head
from cmask_tf.models.folding import folded
from cmask_tf.models.normalization import for_inference
from cmask_tf.models.precision import precision
from cmask_tf.models.segmentation import build_segmentation
from cmask_tf.models.verification import build_verification

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


SMALL = dataclasses.replace(config.tiny("paper").segmentation, size=48)
NETWORKS = {
    "efficientnet": lambda: build_backbone(NET),
    "resnet": lambda: build_backbone(dataclasses.replace(NET, name="resnet50")),
    "head": lambda: build_head(5, config.Embedding(hidden=(12, 12)), 6),
    "verification": lambda: build_verification(5, 8),
    "paper": lambda: build_segmentation(SMALL)[1],
    "lite": lambda: build_segmentation(dataclasses.replace(SMALL, design="lite"), build_backbone(NET))[0],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_was_built_for_inference_reads_the_same_files(name, tmp_path):
    network = shaken(NETWORKS[name]())
    network.save_weights(tmp_path / "a.weights.h5")
    with for_inference():
        light = NETWORKS[name]()
    weights.load(light, tmp_path / "a.weights.h5")
    expected = folded(network)
    assert norms(light) == norms(expected)
    assert {w.path for w in light.weights} == {w.path for w in expected.weights}
    for one, other in zip(expected.get_weights(), light.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    light.trainable = False
    assert folded(light) is light


def test_only_networks_that_are_built_within_are_for_inference():
    with for_inference():
        assert not norms(NETWORKS["head"]())
    assert norms(NETWORKS["head"]())


def test_a_normalization_that_the_file_lacks_is_named(tmp_path):
    NETWORKS["head"]().save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        [found] = [g for g in groups(file) if g.attrs.get("name") == "fc2_bn"]
        del found["3"]
    with for_inference():
        head = NETWORKS["head"]()
    before = head.get_weights()
    with pytest.raises(UserError, match=r"fc2_bn/moving_variance is missing; expected \(12,\)$"):
        weights.load(head, tmp_path / "a.weights.h5")
    for one, other in zip(before, head.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def groups(file: h5py.File) -> list[h5py.Group]:
    found = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Group) else None)
    return found
