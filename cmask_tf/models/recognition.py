"""Which entry of the vocabulary a word vector is, without reading all of the table (Eqn. 1's w, given bare).

A vector this close to an entry in all D dimensions is as close in the first few. So a table of those few says
which entries it can be, and only their rows are read: at the paper's size 9 MB in place of 295.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# At float32, a vector with a cosine above this to a vocabulary entry is that entry.
SAME_WORD = 1 - 1e-4
DIMENSIONS = 128  # of the small table: the first ones, those of the largest eigenvalues
CANDIDATES = 8  # rows that are read for a vector
# |a - b|^2 = 2 - 2 cos of unit vectors, and room for rounding.
_FAR = 2 * (1 - SAME_WORD) + 1e-5


def recognise(
    given: tf.Tensor, leading: tf.Tensor, cosines_of: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The entry nearest to each vector among those that it can be.

    Args:
        given: float32 [K, D], unit vectors.
        leading: float32 [V', d], the first dimensions of the entries' unit vectors, d <= D.
        cosines_of: int32 [K, C] -> float32 [K, C], of each vector with C entries.

    Returns:
        best: int32 [K], an entry.
        known: bool [K], whether the vector is that entry.
        certain: bool [K], whether no entry was left out that the vector could be. Where it is false the
            other two mean nothing.
    """
    short = given[:, : leading.shape[1]]
    lengths = tf.reduce_sum(short**2, axis=1)[:, None] + tf.reduce_sum(leading**2, axis=1)
    nearness = 2 * tf.matmul(short, leading, transpose_b=True) - lengths  # minus the squared distance
    count = min(CANDIDATES, leading.shape[0])
    found, entries = tf.math.top_k(nearness, count)
    certain = tf.fill(tf.shape(found)[:1], True) if count == leading.shape[0] else -found[:, -1] > _FAR
    cosines = cosines_of(entries)
    place = tf.argmax(cosines, axis=1, output_type=tf.int32)
    best = tf.gather(entries, place, axis=1, batch_dims=1)
    return best, tf.reduce_max(cosines, axis=1) > SAME_WORD, certain
