"""Mixed precision: half inside, float32 at both ends and in the variables, and it never leaks."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf import config
from cmask_tf.models.attention import coarse_maps
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.embedding import build_head, embed_map, embed_photo
from cmask_tf.models.precision import precision
from cmask_tf.models.refinement import build_refinement
from cmask_tf.models.segmentation import build_segmentation, encode

HALF = {"mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
IMAGE = np.random.default_rng(0).uniform(0, 255, (2, 48, 48, 3)).astype("float32")


def backbone(name: str) -> config.Backbone:
    return config.Backbone(name=name, width=0.125, depth=0.2, output_stride=8)


def same_weights(build, kind: str):
    """What `build` gives in float32 and in another precision, on the same weights."""
    keras.utils.set_random_seed(0)
    reference = build()
    with precision(kind):
        mixed = build()
    for one, other in zip(reference, mixed, strict=True):
        other.set_weights(one.get_weights())
    return reference, mixed


def similar(actual: tf.Tensor, expected: tf.Tensor) -> float:
    """The correlation of two tensors."""
    return np.corrcoef(np.ravel(tf.cast(actual, tf.float32)), np.ravel(expected))[0, 1]


def test_the_policy_ends_with_the_block_also_after_an_error():
    with pytest.raises(KeyError), precision("mixed_float16"):
        assert keras.layers.ReLU().compute_dtype == "float16"
        raise KeyError
    assert keras.config.dtype_policy().name == "float32"
    assert keras.layers.ReLU().compute_dtype == "float32"


@pytest.mark.parametrize("kind", HALF)
@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_embedding_and_refinement_end_in_float32(kind, name):
    settings = config.Embedding(hidden=(16, 16), output_activation="linear")
    vectors = tf.constant(np.random.default_rng(1).normal(size=(5, 6)), tf.float32)

    def build():
        net = build_backbone(backbone(name))
        return net, build_head(net.output["c5"].shape[-1], settings, 6), build_refinement(5, 8)

    def run(net, head, refinement):
        photo = embed_photo(net, head, IMAGE, training=True)
        embedding, features = embed_map(net, head, IMAGE, training=True)
        return photo, features, refinement(coarse_maps(embedding, vectors), training=True)

    reference, mixed = same_weights(build, kind)
    photo, features, logits = run(*mixed)
    assert features.dtype == HALF[kind]
    assert photo.dtype == logits.dtype == tf.float32
    assert {w.dtype for network in mixed for w in network.weights} == {"float32"}
    norms = [layer for layer in mixed[0].layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.compute_dtype for layer in norms} == {HALF[kind]}
    # Not the photos' vectors: batch normalization of two of them alone blows rounding up.
    for actual, expected in zip((features, logits), run(*reference)[1:], strict=True):
        assert similar(actual, expected) > 0.95


@pytest.mark.parametrize("kind", HALF)
@pytest.mark.parametrize("design", ["paper", "lite"])
def test_segmentation_gives_float32_logits_and_a_gradient_for_every_weight(kind, design):
    small = dataclasses.replace(config.tiny(design).segmentation, size=48)
    net = backbone("efficientnet_lite0")
    attention = tf.constant(np.random.default_rng(2).uniform(0, 1, (2, 48, 48, 2)), tf.float32)

    def build():
        features = build_backbone(net)
        return features, *build_segmentation(small, features)

    def run(features, encoder, decoder):
        maps = encode(encoder, IMAGE, features(IMAGE, training=False), training=True)
        return decoder({**maps, "attention": attention}, training=True)

    reference, mixed = same_weights(build, kind)
    with tf.GradientTape() as tape:
        logits = run(*mixed)
        loss = tf.reduce_mean(tf.square(logits))
    assert logits.dtype == tf.float32
    if design == "lite":
        maps = encode(mixed[1], IMAGE, mixed[0](IMAGE), training=False)
        assert {m.dtype for m in maps.values()} == {tf.as_dtype(HALF[kind])}
    variables = [v for network in mixed[1:] for v in network.trainable_variables]
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert gradient is not None and gradient.dtype == tf.float32, variable.path
        assert np.isfinite(gradient).all(), variable.path
    assert similar(logits, run(*reference)) > 0.95
