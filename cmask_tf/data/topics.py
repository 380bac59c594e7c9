"""Soft topic embeddings inside a tf.data pipeline (4.1): the step gets what the embedding is to be near."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf


class Topics:
    """t = sum_i idf_i w_i over the known tags of a photo.

    A photo reads the rows of its own tags: about 0.5 MB of 4,096-d vectors for 30 tags, where a step that
    gathered them would wait for them.
    """

    def __init__(self, spelling: Mapping[str, int], idf: np.ndarray, vectors: np.ndarray):
        """Args:
        spelling: index of each folded name; tags that are not in it are dropped.
        idf: float32 [V], -log p(w).
        vectors: float32 [V, D].
        """
        self._table = name_table(spelling)
        self.dim = vectors.shape[1]
        # Variables: a pipeline holds a handle to them. Arrays would become part of the graph of each, and
        # 18,000 vectors of 4,096 dimensions are 295 MB. In the host's memory, where pipelines run.
        with tf.device("CPU:0"):
            self._idf = tf.Variable(idf, trainable=False, dtype=tf.float32)
            self._vectors = tf.Variable(vectors, trainable=False, dtype=tf.float32)

    def ids(self, tags: tf.Tensor) -> tf.Tensor:
        """The known ones of tags string [T], each once: int32 [T']."""
        ids = self._table.lookup(tags)
        return tf.unique(tf.boolean_mask(ids, ids >= 0))[0]

    def of(self, ids: tf.Tensor) -> tf.Tensor:
        """The soft topic embedding of ids int32 [T']: float32 [D], null when there are none."""
        topic = tf.linalg.matvec(tf.gather(self._vectors, ids), tf.gather(self._idf, ids), transpose_a=True)
        return tf.ensure_shape(topic, [self.dim])


def sample(ids: tf.Tensor, most: int, seed: tf.Tensor) -> tf.Tensor:
    """At most `most` of ids int32 [T], every choice equally likely; a function of the int [2] seed."""
    order = tf.argsort(tf.random.stateless_uniform(tf.shape(ids), seed))
    return tf.gather(ids, order[:most])


def name_table(indices: Mapping[str, int]) -> tf.lookup.StaticHashTable:
    """The index of each folded name; -1 for any other."""
    names = tf.constant(list(indices), tf.string)
    values = tf.constant(list(indices.values()), tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(names, values), -1)
