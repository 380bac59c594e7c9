"""Attention maps: the coarse ones of Eqn. 1 and the two scales that stage 3 is given (4.1, 4.3).

Differs from the paper: Eqn. 1's inner product is a cosine, both sides L2-normalised, so that its threshold
0.2 means the same for every concept.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from cmask_tf import geometry


def coarse_maps(e: tf.Tensor, word_vectors: tf.Tensor) -> tf.Tensor:
    """Eqn. 1 as a cosine: how much each place resembles each word.

    Args:
        e: float32 [B, h, w, D] dense embedding.
        word_vectors: float32 [V, D].

    Returns:
        float32 [B, h, w, V] in [-1, 1]; 0 where e or the word vector is null.
    """
    return tf.einsum("bhwd,vd->bhwv", tf.nn.l2_normalize(e, -1), tf.nn.l2_normalize(word_vectors, -1))


def stack_scales(maps: Sequence[tf.Tensor], size: int) -> tf.Tensor:
    """The attention channels of the segmentation network (4.3).

    Args:
        maps: one float32 [B, h_i, w_i] a scale, any range.
        size: side of the segmentation network's input, in px.

    Returns:
        float32 [B, size, size, len(maps)] in [0, 1]: each map by its own minimum and maximum, then
        bilinearly upsampled. A constant map becomes zeros.
    """
    stretched = [geometry.min_max(m, (1, 2))[..., None] for m in maps]  # [B, h_i, w_i, 1]
    return tf.concat([geometry.resize_maps(m, size, size) for m in stretched], axis=-1)
