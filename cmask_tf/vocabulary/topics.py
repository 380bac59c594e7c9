"""Inverse document frequency and the soft topic embedding of an image's tags (4.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def idf(single: np.ndarray, documents: int) -> np.ndarray:
    """-log p(w), natural logarithm.

    Args:
        single: int [V], images that have the word, each at least 1.
        documents: number of images.

    Returns:
        float32 [V], 0 for a word of every image.
    """
    return np.log(documents / np.asarray(single, np.float64)).astype(np.float32)


def soft_topic(ids: Sequence[int], idf: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """t = sum_i -log p(w_i) w_i over the tags of one image.

    The paper calls it a weighted average and writes a sum; under the cosine loss they are one.

    Args:
        ids: the tags' rows in `vectors`.
        idf: float32 [V].
        vectors: float32 [V, D].

    Returns:
        float32 [D]; null when the image has no tags, or only tags of every image.
    """
    ids = np.asarray(ids, np.int64)
    return idf[ids] @ vectors[ids]
