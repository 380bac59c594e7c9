"""The refinement network: V coarse maps in, V refined maps out, by two 1x1 convolutions (4.2).

Between the word vectors and the first layer nothing is nonlinear, so at inference their product is one
D -> bottleneck matrix, and only the columns of the second layer that are asked for are needed: the V maps
are never formed.
"""

from __future__ import annotations

import keras
import tensorflow as tf


def build_refinement(concepts: int, bottleneck: int) -> keras.Model:
    """Two 1x1 convolutions with ReLU between; the sigmoid of section 4.2 is left to the losses and callers.

    Args:
        concepts: V, the number of trained concepts.
        bottleneck: channels between the two layers, 2000 in the paper.

    Returns:
        Model "refinement": coarse float32 [B, h, w, V] -> logits float32 [B, h, w, V].
    """
    coarse = keras.Input((None, None, concepts), name="coarse")
    hidden = keras.layers.Conv2D(bottleneck, 1, activation="relu", name="bottleneck")(coarse)
    logits = keras.layers.Conv2D(concepts, 1, name="refined", dtype="float32")(hidden)
    return keras.Model(coarse, logits, name="refinement")


def fold(refinement: keras.Model, word_vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The coarse maps and the first layer as one matrix: relu(e @ matrix + bias), e L2-normalised.

    Args:
        word_vectors: float32 [V, D] of the trained concepts, in their order.

    Returns:
        matrix: float32 [D, bottleneck].
        bias: float32 [bottleneck].
    """
    layer = refinement.get_layer("bottleneck")
    kernel = tf.convert_to_tensor(layer.kernel)[0, 0]  # [V, bottleneck]
    matrix = tf.matmul(tf.nn.l2_normalize(word_vectors, -1), kernel, transpose_a=True)
    return matrix, tf.convert_to_tensor(layer.bias)


def columns(refinement: keras.Model, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The second layer of some concepts: logits_k = hidden . weights_k + bias_k.

    Args:
        ids: int [K] columns of trained concepts.

    Returns:
        weights: float32 [K, bottleneck].
        bias: float32 [K].
    """
    layer = refinement.get_layer("refined")
    kernel = tf.convert_to_tensor(layer.kernel)[0, 0]  # [bottleneck, V]
    return tf.transpose(tf.gather(kernel, ids, axis=1)), tf.gather(tf.convert_to_tensor(layer.bias), ids)
