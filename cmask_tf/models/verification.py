"""Whether the concept is in the photo at all: a score from the attention map (supplement 5).

The attention, sum-normalised, weights an average pooling of the backbone's features; the embedding head and
the cosine with the concept's word vector give the score. It is taken at the first scale, on the map given to
stage 3 (before its min-max, which would turn a constant map into nothing). Beyond the paper: two small
networks may take the place of head and word vector (`build_verification`, `build_words`), and the score that
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
_AS_OUTSIDE = 0.25  # how often a trained concept is taken for a word that was not, in training
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


def build_verification(in_channels: int, hidden: int) -> keras.Model:
    """The network that takes the embedding head's place here, where `config.Verification` asks for one.

    Beyond the paper. Stage 2 asks the embedding head for maps alone, and it forgets what a pooled feature
    means; the features themselves do not. So a small network of its own learns that anew, from tags. Its
    hidden layer is compared with what `build_words` makes of the concept: word vectors of few dimensions
    leave less room to tell concepts apart than the features do.

    Args:
        in_channels: channels C of the backbone's last map.
        hidden: width H of the hidden layer.

    Returns:
        Model "verification": float32 [B, h, w, C] -> float32 [B, h, w, H]; each place by itself.
    """
    features = keras.Input((None, None, in_channels), name="features")
    x = batch_norm("scale")(features)
    # Cosines of what comes out are taken.
    x = keras.layers.Conv2D(hidden, 1, activation="relu", name="fc1", dtype="float32")(x)
    x = keras.layers.Dropout(_DROPOUT, name="dropout", dtype="float32")(x)
    return keras.Model(features, x, name="verification")


def build_words(dim: int, hidden: int, concepts: int) -> keras.Model:
    """What the verification network's hidden layer is compared with: U w, and a row of the concept's own.

    The first term holds for every word vector; the second is what a trained concept has learnt beyond it. It
    is now and then left out in training, so that the first learns to stand alone.

    Args:
        dim: D, the width of the word vectors.
        hidden: width H.
        concepts: V, the number of trained concepts.

    Returns:
        Model "verification_words": {"vector": float32 [N, D], of length 1, "place": int32 [N], among the
        trained concepts, -1 for any other word} -> float32 [N, H].
    """
    vector = keras.Input((dim,), name="vector")
    place = keras.Input((), name="place", dtype="int32")
    shared = keras.layers.Dense(hidden, name="shared", dtype="float32")(vector)
    rows = keras.layers.Embedding(
        concepts, hidden, embeddings_initializer="zeros", name="own", dtype="float32"
    )
    own = rows(keras.ops.maximum(place, 0))
    own *= keras.ops.cast(place >= 0, "float32")[:, None]
    own = keras.layers.Dropout(_AS_OUTSIDE, noise_shape=(None, 1), name="as_outside", dtype="float32")(own)
    return keras.Model({"vector": vector, "place": place}, shared + own, name="verification_words")


def tables(words: keras.Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a network of `build_words` holds: U float32 [D, H], its bias [H], and the own rows [V, H]."""
    shared, own = words.get_layer("shared"), words.get_layer("own")
    return tuple(keras.ops.convert_to_numpy(v) for v in (shared.kernel, shared.bias, own.embeddings))


def with_places(words: keras.Model, concepts: int) -> keras.Model:
    """The network of `build_words` for more concepts; those that are new have rows of zeros."""
    kernel, bias, own = tables(words)
    larger = build_words(*kernel.shape, concepts)
    larger.get_layer("shared").set_weights([kernel, bias])
    larger.get_layer("own").set_weights([np.pad(own, [(0, concepts - len(own)), (0, 0)])])
    return larger


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
    head: keras.Model, features: tf.Tensor, attention: tf.Tensor, sought: tf.Tensor, rows: tf.Tensor
) -> tf.Tensor:
    """Weighted average pooling, embedding head, cosine.

    Args:
        head: the embedding head of section 4.1, or the network of `build_verification`.
        features: [B, h, w, C], the backbone's last maps at the first scale; few photos, each of which meets
            every concept.
        attention: float32 [K, h, w], not negative.
        sought: float32 [K, D], the concepts' word vectors, or float32 [K, H] of `build_words`.
        rows: int32 [K], the photo that each concept is looked for in.

    Returns:
        float32 [K] in [-1, 1].
    """
    shape = tf.shape(features)
    places = tf.reshape(tf.cast(features, tf.float32), [shape[0], -1, shape[3]])
    shares = tf.reshape(weights(attention), [1, -1, shape[1] * shape[2]])
    every = tf.matmul(shares, places)  # [B, K, C]
    pooled = tf.gather_nd(every, tf.stack([rows, tf.range(tf.shape(rows)[0])], axis=1))  # [K, C]
    return compare(head, pooled, sought)


def compare(head: keras.Model, pooled: tf.Tensor, sought: tf.Tensor) -> tf.Tensor:
    """The end of `raw_score`: float32 [K] in [-1, 1] of pooled features float32 [K, C]."""
    e = head(pooled[:, None, None], training=False)[:, 0, 0]  # [K, D] or [K, H]
    return tf.reduce_sum(tf.nn.l2_normalize(e, -1) * tf.nn.l2_normalize(sought, -1), axis=-1)


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


def threshold_table(
    names: Sequence[str], trained: np.ndarray, thresholds: dict | None
) -> tuple[np.ndarray, float]:
    """`thresholds.json` laid out along the vocabulary.

    Args:
        names: the vocabulary's words in order.
        trained: bool [V'], whether the word is a trained concept.
        thresholds: {"pooled": t, "outside": t, "concepts": {name: t}} in raw cosines; models of earlier
            versions have no "outside" and take "pooled". None before calibration, when 0 is every threshold.

    Returns:
        float32 [V'], a threshold a word: its own, else "pooled" of a trained concept, "outside" of another
        word; and "outside", which also serves words that the vocabulary does not have.
    """
    thresholds = thresholds or {"pooled": 0.0, "concepts": {}}
    own, pooled = thresholds["concepts"], thresholds["pooled"]
    outside = float(thresholds.get("outside", pooled))
    fallback = np.where(trained, pooled, outside)
    table = [own.get(name, other) for name, other in zip(names, fallback, strict=True)]
    return np.array(table, np.float32), outside
