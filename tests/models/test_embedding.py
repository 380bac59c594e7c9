"""The embedding head (4.1): fully connected layers and 1x1 convolutions are the same layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf import config
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.embedding import build_head, embed_map, embed_photo

RNG = np.random.default_rng(0)
SETTINGS = config.Embedding(hidden=(6, 5))


def head_with_statistics(activation="relu"):
    """A head whose batch normalisation does something."""
    head = build_head(7, config.Embedding(hidden=(6, 5), output_activation=activation), 4)
    for weight in head.weights:
        low = 0.5 if "variance" in weight.path or "gamma" in weight.path else -1.0
        weight.assign(RNG.uniform(low, 1.5, weight.shape))
    return head


def dense_reference(head, x, activation):
    """Dense + BN + ReLU three times, with the head's numbers."""
    for number in (1, 2, 3):
        dense = keras.layers.Dense(head.get_layer(f"fc{number}").filters, use_bias=False)
        norm = keras.layers.BatchNormalization(epsilon=head.get_layer(f"fc{number}_bn").epsilon)
        dense.build(x.shape)
        dense.kernel.assign(head.get_layer(f"fc{number}").kernel[0, 0])
        x = dense(x)
        norm.build(x.shape)
        norm.set_weights(head.get_layer(f"fc{number}_bn").get_weights())
        x = norm(x, training=False)
        x = tf.nn.relu(x) if number < 3 or activation == "relu" else x
    return x


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_on_a_1x1_map_the_head_is_dense_bn_relu(activation):
    head = head_with_statistics(activation)
    x = RNG.normal(size=(9, 7)).astype(np.float32)
    expected = dense_reference(head, tf.constant(x), activation).numpy()
    got = head(x[:, None, None], training=False).numpy()[:, 0, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert (expected.min() < -0.1) == (activation == "linear")


def test_a_map_is_the_same_network_at_every_place():
    head = head_with_statistics("linear")
    x = RNG.normal(size=(2, 3, 5, 7)).astype(np.float32)
    got = head(x, training=False).numpy()
    for i in range(3):
        for j in range(5):
            one = head(x[:, i : i + 1, j : j + 1], training=False).numpy()[:, 0, 0]
            np.testing.assert_allclose(got[:, i, j], one, rtol=1e-5, atol=1e-6)


def test_output_is_relu_in_paper_and_signed_when_linear():
    x = RNG.normal(size=(4, 3, 3, 7)).astype(np.float32)
    assert head_with_statistics("relu")(x).numpy().min() == 0
    assert head_with_statistics("linear")(x).numpy().min() < 0


def test_photo_is_gap_then_head_and_map_is_head_alone():
    backbone = build_backbone(config.Backbone(name="efficientnet_lite0", width=0.125, depth=0.2))
    head = build_head(backbone.output["c5"].shape[-1], SETTINGS, 4)
    image = RNG.uniform(0, 255, (2, 64, 96, 3)).astype(np.float32)
    e, features = embed_map(backbone, head, image, training=False)
    assert e.shape == (2, 2, 3, 4)
    assert features.shape[:3] == (2, 2, 3)
    pooled = features.numpy().mean(axis=(1, 2), keepdims=True)
    photo = embed_photo(backbone, head, image, training=False).numpy()
    np.testing.assert_allclose(photo, head(pooled, training=False).numpy()[:, 0, 0], rtol=1e-4, atol=1e-6)
