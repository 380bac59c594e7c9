"""The refinement network: V coarse maps in, V refined maps out, by two 1x1 convolutions (4.2).

Between the word vectors and the first layer nothing is nonlinear: their product is one D -> bottleneck
matrix. Of the second layer only the columns that are asked for are needed. So the V maps need not be formed,
neither at inference (`fold`, `columns`) nor in training (`hidden_maps`, `chosen_maps`).
"""

from __future__ import annotations

import keras
import numpy as np
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
    kernel, bias = _layer(refinement, "bottleneck")
    # Concepts that were added later (`with_column`) are left out: terms of zero would still change the order
    # in which the others are added up, and so their sum's last bit.
    used = tf.reduce_any(kernel != 0, axis=1)
    if not tf.reduce_all(used):
        kernel, word_vectors = tf.boolean_mask(kernel, used), tf.boolean_mask(word_vectors, used)
    return tf.matmul(tf.nn.l2_normalize(word_vectors, -1), kernel, transpose_a=True), bias


def with_column(
    refinement: keras.Model, place: int, weights: np.ndarray, bias: np.ndarray | float
) -> keras.Model:
    """The network with another column of its second layer; all else stays as it is, to the bit.

    Args:
        refinement: of V concepts; not changed.
        place: 0 to V. At V the network grows by an input and an output. The new coarse map's row of the first
            layer is zero: that layer has learnt without the map, so the hidden maps, and with them all other
            concepts' maps, remain what they were.
        weights: float32 [bottleneck].
        bias: float32 [].

    Returns:
        A new network.
    """
    first, first_bias, kernel, biases = refinement.get_weights()
    if place == len(biases):
        first = np.pad(first, [(0, 0), (0, 0), (0, 1), (0, 0)])
        kernel, biases = np.pad(kernel, [(0, 0)] * 3 + [(0, 1)]), np.pad(biases, (0, 1))
    kernel[..., place], biases[place] = weights, bias
    changed = build_refinement(len(biases), len(first_bias))
    changed.set_weights([first, first_bias, kernel, biases])
    return changed


def columns(refinement: keras.Model, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The second layer of some concepts: logits_k = hidden . weights_k + bias_k.

    Args:
        ids: int [K] columns of trained concepts.

    Returns:
        weights: float32 [K, bottleneck].
        bias: float32 [K].
    """
    kernel, bias = _layer(refinement, "refined")
    return tf.transpose(tf.gather(kernel, ids, axis=1)), tf.gather(bias, ids)


def forms_product(locations: int, concepts: int, dim: int, bottleneck: int) -> bool:
    """Whether one product of word vectors and first layer is cheaper than coarse maps at every location.

    Counted in multiplications of a training step, forward and backward. The word vectors are constants:
    nothing flows back to them. At the paper's size (18,000 concepts, 4,096, 2,000, 100 locations an image)
    the product pays from 13 images on.

    Args:
        locations: B h w, over the images of a replica's batch.
        concepts: V.
        dim: D.
        bottleneck: channels between the two layers.
    """
    product = 2 * concepts * dim * bottleneck + 3 * locations * dim * bottleneck
    return product < locations * concepts * (2 * dim + 3 * bottleneck)


def hidden_maps(refinement: keras.Model, e: tf.Tensor, words: tf.Tensor, product: bool) -> tf.Tensor:
    """Coarse maps (Eqn. 1, as cosines) and the first layer, in training.

    Args:
        e: float32 [B, h, w, D] dense embedding.
        words: float32 [V, D], L2-normalised.
        product: words^T K1 is formed, once for the batch; otherwise V coarse maps are.

    Returns:
        float32 [B, h, w, bottleneck], 0 or more.
    """
    kernel, bias = _layer(refinement, "bottleneck")
    maps = tf.nn.l2_normalize(e, -1)
    if product:
        kernel = tf.matmul(words, kernel, transpose_a=True)  # [D, bottleneck]
    else:
        maps = tf.tensordot(maps, words, ((3,), (1,)))  # [B, h, w, V]
    return tf.nn.relu(tf.tensordot(maps, kernel, 1) + bias)


def chosen_maps(
    refinement: keras.Model, hidden: tf.Tensor, shared: tf.Tensor, own: tf.Tensor, every: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """The second layer for the concepts that a training step looks at, without V maps and their gradient.

    Args:
        hidden: float32 [B, h, w, bottleneck].
        shared: int32 [J], concepts whose maps every image needs, each once.
        own: int32 [B, n], concepts whose maps one image needs; -1 is padding, its map is not to be used.
        every: all V maps are formed and those picked: cheaper where V is hardly more than J and n.

    Returns:
        Logits float32 [B, h, w, J] and [B, h, w, n].
    """
    if every:
        logits = refinement.get_layer("refined")(hidden)
        return tf.gather(logits, shared, axis=3), tf.gather(logits, tf.maximum(own, 0), axis=3, batch_dims=1)
    side = tf.shape(hidden)
    flat = tf.reshape(hidden, [side[0], side[1] * side[2], hidden.shape[3]])
    pair = _gathered(flat, *_layer(refinement, "refined"), shared, tf.maximum(own, 0))
    return tuple(tf.reshape(logits, tf.concat([side[:3], [-1]], axis=0)) for logits in pair)


@tf.custom_gradient
def _gathered(hidden, kernel, bias, shared, own):
    """`chosen_maps` on hidden [B, L, K], kernel [K, V], bias [V]: [B, L, J] and [B, L, n].

    Image by image: all images' copies of their columns would take B n K numbers, 0.8 GB at batch 128. The
    gradient of the kernel is summed up in one [V, K] matrix, where a column's numbers lie side by side.
    """
    rows = tf.transpose(kernel)

    def each_image(function, *values):
        return tf.map_fn(function, values, fn_output_signature=hidden.dtype, parallel_iterations=1)

    of_all = tf.tensordot(hidden, tf.gather(rows, shared), ((2,), (1,))) + tf.gather(bias, shared)
    of_each = each_image(lambda x: tf.matmul(x[0], tf.gather(rows, x[1]), transpose_b=True), hidden, own)
    of_each += tf.gather(bias, own)[:, tf.newaxis]

    def gradient(to_all, to_each):
        to_hidden = tf.tensordot(to_all, tf.gather(rows, shared), 1)
        to_hidden += each_image(lambda x: tf.matmul(x[0], tf.gather(rows, x[1])), to_each, own)
        of_shared = tf.tensordot(to_all, hidden, ((0, 1), (0, 1)))
        to_rows = tf.math.unsorted_segment_sum(of_shared, shared, tf.size(bias))

        def add(to_rows, x):
            # In place, four times faster than tensor_scatter_nd_add: nobody else holds this matrix.
            return tf.raw_ops.InplaceAdd(x=to_rows, i=x[2], v=tf.matmul(x[0], x[1], transpose_a=True))

        to_rows = tf.foldl(add, (to_each, hidden, own), initializer=to_rows, parallel_iterations=1)
        every = [tf.reduce_sum(to_all, axis=(0, 1)), tf.reshape(tf.reduce_sum(to_each, axis=1), [-1])]
        ids = tf.concat([shared, tf.reshape(own, [-1])], axis=0)
        to_bias = tf.math.unsorted_segment_sum(tf.concat(every, axis=0), ids, tf.size(bias))
        return to_hidden, tf.transpose(to_rows), to_bias, None, None

    return (of_all, of_each), gradient


def _layer(refinement: keras.Model, name: str) -> tuple[tf.Tensor, tf.Tensor]:
    """A layer's kernel [channels in, channels out] and bias."""
    layer = refinement.get_layer(name)
    # Not by [0, 0], whose gradient would be a copy.
    return tf.squeeze(tf.convert_to_tensor(layer.kernel), (0, 1)), tf.convert_to_tensor(layer.bias)
