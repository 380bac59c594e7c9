"""Whether the concept is in the photo at all: a score from the attention map (supplement 5).

The attention, sum-normalised, weights an average pooling of the backbone's features; the embedding head and
the cosine with the concept's word vector give the score. It is taken at the first scale, on the map given to
stage 3 (before its min-max, which would turn a constant map into nothing). Beyond the paper: the score that
leaves the system is calibrated, so that every concept's own threshold becomes 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from cmask_tf.models.normalization import batch_norm

SLOPE = 10.0  # of a score over its cosine, where none was fitted
_DROPOUT = 0.2
# Keeps the division defined for a map of zeros, which then weights every place alike.
_FLOOR = 1e-12


def weights(attention: tf.Tensor) -> tf.Tensor:
    """An attention map that sums to 1.

    Args:
        attention: float32 [K, h, w], not negative.

    Returns:
        float32 [K, h, w].
    """
    floored = attention + _FLOOR
    return floored / tf.reduce_sum(floored, axis=(1, 2), keepdims=True)


def build_verification(in_channels: int, hidden: int, dim: int) -> keras.Model:
    """The network that takes the embedding head's place here, where `config.Verification` asks for one.

    Beyond the paper. Stage 2 asks the embedding head for maps alone, and it forgets what a pooled feature
    means; the features themselves do not. So a small network of its own learns that anew, from tags.

    Args:
        in_channels: channels C of the backbone's last map.
        hidden: width of the hidden layer.
        dim: D, the width of the word vectors.

    Returns:
        Model "verification": float32 [B, h, w, C] -> float32 [B, h, w, D]; each place by itself.
    """
    features = keras.Input((None, None, in_channels), name="features")
    x = batch_norm("scale")(features)
    x = keras.layers.Conv2D(hidden, 1, activation="relu", name="fc1")(x)
    x = keras.layers.Dropout(_DROPOUT, name="dropout")(x)
    x = keras.layers.Conv2D(dim, 1, name="fc2", dtype="float32")(x)  # cosines of what comes out are taken
    return keras.Model(features, x, name="verification")


def pool(attention: tf.Tensor, features: tf.Tensor) -> tf.Tensor:
    """The backbone's features of a photo, averaged by the attention to each concept.

    Args:
        attention: float32 [B, M, h, w], not negative.
        features: [B, h, w, C].

    Returns:
        float32 [B, M, C].
    """
    shape = tf.shape(attention)
    flat = weights(tf.reshape(attention, [-1, shape[2], shape[3]]))
    return tf.einsum("bmhw,bhwc->bmc", tf.reshape(flat, shape), tf.cast(features, tf.float32))


def raw_score(
    head: keras.Model, features: tf.Tensor, attention: tf.Tensor, vectors: tf.Tensor, rows: tf.Tensor
) -> tf.Tensor:
    """Weighted average pooling, embedding head, cosine.

    Args:
        head: the embedding head of section 4.1, or the network of `build_verification`.
        features: [B, h, w, C], the backbone's last maps at the first scale; few photos, each of which meets
            every concept.
        attention: float32 [K, h, w], not negative.
        vectors: float32 [K, D], the concepts' word vectors.
        rows: int32 [K], the photo that each concept is looked for in.

    Returns:
        float32 [K] in [-1, 1].
    """
    shape = tf.shape(features)
    places = tf.reshape(tf.cast(features, tf.float32), [shape[0], -1, shape[3]])
    shares = tf.reshape(weights(attention), [1, -1, shape[1] * shape[2]])
    every = tf.matmul(shares, places)  # [B, K, C]
    pooled = tf.gather_nd(every, tf.stack([rows, tf.range(tf.shape(rows)[0])], axis=1))  # [K, C]
    e = head(pooled[:, None, None], training=False)[:, 0, 0]  # [K, D]
    return tf.reduce_sum(tf.nn.l2_normalize(e, -1) * tf.nn.l2_normalize(vectors, -1), axis=-1)


def calibrate(raw: tf.Tensor, threshold: tf.Tensor, slope: tf.Tensor | float) -> tf.Tensor:
    """The score that leaves the system: 0.5 at the concept's own threshold, and rising.

    Args:
        raw: float32 [K] cosines.
        threshold: float32 [K], each concept's own.
        slope: above 0; how fast the score rises, the same for all concepts (`SLOPE`).

    Returns:
        float32 [K] in [0, 1].
    """
    return tf.sigmoid(slope * (raw - threshold))


def threshold_table(names: Sequence[str], thresholds: dict | None) -> tuple[np.ndarray, float]:
    """`thresholds.json` laid out along the vocabulary.

    Args:
        names: the vocabulary's words in order.
        thresholds: {"pooled": t, "concepts": {name: t}} in raw cosines; None before calibration, when 0 is
            every threshold.

    Returns:
        float32 [V'], a threshold a word, and the pooled one, which also serves words outside the vocabulary.
    """
    thresholds = thresholds or {"pooled": 0.0, "concepts": {}}
    pooled = float(thresholds["pooled"])
    own = thresholds["concepts"]
    return np.array([own.get(name, pooled) for name in names], np.float32), pooled
