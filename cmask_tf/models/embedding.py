"""The embedding network: a photo, or every place of it, becomes a vector in word space (4.1).

Three fully connected layers, each followed by batch normalisation and ReLU, written once as 1x1
convolutions: global average pooling gives a 1x1 map, stage 2 an h x w map, and both meet the same layers
(the paper converts the network between the two). Differs from the paper: the layers have no bias of their
own, since the batch normalisation that follows has one.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from cmask_tf import config
from cmask_tf.models.normalization import batch_norm, before_norm


def build_head(in_channels: int, embedding: config.Embedding, dim: int) -> keras.Model:
    """The three layers of section 4.1 as 1x1 convolutions.

    Args:
        in_channels: channels C of the backbone's last map.
        embedding: widths of the hidden layers and the activation of the last one.
        dim: D, the width of the word vectors.

    Returns:
        Model "embedding": float32 [B, h, w, C] -> float32 [B, h, w, D].
    """
    features = keras.Input((None, None, in_channels), name="features")
    x = features
    widths = (*embedding.hidden, dim)
    for number, width in enumerate(widths, start=1):
        activation = "relu" if number < len(widths) else embedding.output_activation
        x = keras.layers.Conv2D(width, 1, name=f"fc{number}", **before_norm())(x)
        dtype = "float32" if number == len(widths) else None  # cosines of what comes out are taken
        x = batch_norm(f"fc{number}_bn", dtype=dtype)(x)
        x = keras.layers.Activation(activation, name=f"fc{number}_{activation}", dtype=dtype)(x)
    return keras.Model(features, x, name="embedding")


def embed_photo(backbone: keras.Model, head: keras.Model, image: tf.Tensor, training: bool) -> tf.Tensor:
    """e = embed_net(I): one vector a photo, after global average pooling.

    Args:
        image: float32 RGB [B, H, W, 3], 0 to 255.

    Returns:
        float32 [B, D], not normalised.
    """
    features = backbone(image, training=training)["c5"]
    pooled = tf.reduce_mean(tf.cast(features, tf.float32), axis=(1, 2), keepdims=True)  # [B, 1, 1, C]
    return head(pooled, training=training)[:, 0, 0]


def embed_map(
    backbone: keras.Model, head: keras.Model, image: tf.Tensor, training: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """The dense embedding map: the same network without the pooling.

    Args:
        image: float32 RGB [B, H, W, 3], 0 to 255.

    Returns:
        e: float32 [B, h, w, D], not normalised.
        features: [B, h, w, C], the backbone's last map, float32 unless it was built in mixed precision.
    """
    features = backbone(image, training=training)["c5"]
    return head(features, training=training), features
