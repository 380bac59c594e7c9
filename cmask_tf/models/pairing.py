"""Concepts meet their photos: K concepts, each of them looked for in one of B photos.

Every concept meets every photo that is asked about, and the pairs wanted are picked. Callers that keep the
concepts of a photo together ask about one or two photos at a time; then one matrix product takes a tenth of
the time of a copy of the photo's features for each concept.
"""

from __future__ import annotations

import tensorflow as tf


def asked(features: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """The photos that are asked about: [B, ...], int32 [U] -> [U, ...]. A single one is not copied."""
    return tf.cond(tf.shape(features)[0] == 1, lambda: features, lambda: tf.gather(features, images))


def shared(maps: dict[str, tf.Tensor], rows: tf.Tensor) -> dict[str, tf.Tensor]:
    """Maps of the concepts' photos, for what broadcasts over concepts.

    Args:
        maps: [B, ...] each.
        rows: int32 [K], the photo of each concept.

    Returns:
        [1, ...] where all concepts are looked for in one photo, otherwise [K, ...].
    """
    images, _ = tf.unique(rows)
    return tf.cond(
        tf.size(images) == 1,
        lambda: {name: asked(value, images) for name, value in maps.items()},
        lambda: {name: tf.gather(value, rows) for name, value in maps.items()},
    )


def select(features: tf.Tensor, weights: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """features[places[k]] . weights[k] of each concept k.

    Args:
        features: float32 [U, h, w, F]; h, w and F are known when a graph is made.
        weights: float32 [K, F].
        places: int32 [K], below U.

    Returns:
        float32 [K, h, w].
    """
    _, height, width, channels = features.shape
    every = tf.matmul(weights, tf.reshape(features, [-1, channels]), transpose_b=True)
    every = tf.reshape(every, [tf.shape(weights)[0], -1, height, width])
    return tf.gather(every, places, axis=1, batch_dims=1)
