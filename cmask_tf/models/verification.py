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


def raw_score(head: keras.Model, features: tf.Tensor, attention: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    """Weighted average pooling, embedding head, cosine.

    Args:
        head: the embedding head of section 4.1.
        features: [K, h, w, C], the backbone's last map at the first scale, one row a concept.
        attention: float32 [K, h, w], not negative.
        vectors: float32 [K, D], the concepts' word vectors.

    Returns:
        float32 [K] in [-1, 1].
    """
    features = tf.cast(features, tf.float32)
    pooled = tf.einsum("khw,khwc->kc", weights(attention), features)[:, None, None]  # [K, 1, 1, C]
    e = head(pooled, training=False)[:, 0, 0]  # [K, D]
    return tf.reduce_sum(tf.nn.l2_normalize(e, -1) * tf.nn.l2_normalize(vectors, -1), axis=-1)


def calibrate(raw: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """A rising, piecewise linear map: -1 to 0, the threshold to 0.5, 1 to 1.

    Args:
        raw: float32 [K] cosines.
        threshold: float32 [K], each concept's own.

    Returns:
        float32 [K] in [0, 1].
    """
    below = 0.5 * (raw + 1) / tf.maximum(threshold + 1, _FLOOR)
    above = 0.5 + 0.5 * (raw - threshold) / tf.maximum(1 - threshold, _FLOOR)
    return tf.clip_by_value(tf.where(raw < threshold, below, above), 0.0, 1.0)


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
