"""The refinement network (4.2), and what inference and training make of it: one matrix, single columns."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from cmask_tf.models.attention import coarse_maps
from cmask_tf.models.refinement import (
    build_refinement,
    chosen_maps,
    columns,
    fold,
    forms_product,
    hidden_maps,
)

RNG = np.random.default_rng(1)
V, D, BOTTLENECK = 11, 6, 4


def network():
    refinement = build_refinement(V, BOTTLENECK)
    for weight in refinement.weights:
        weight.assign(RNG.normal(size=weight.shape))
    return refinement


def test_equals_the_papers_two_layers():
    refinement = network()
    coarse = RNG.uniform(-1, 1, (3, 4, V)).astype(np.float32)
    logits = refinement(coarse[None]).numpy()[0]
    kernel1, bias1, kernel2, bias2 = refinement.get_weights()
    expected = reference.refinement(coarse, kernel1[0, 0], bias1, kernel2[0, 0], bias2)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), expected, rtol=1e-5, atol=1e-6)


def test_folded_matrix_equals_coarse_maps_then_first_layer():
    refinement = network()
    words = RNG.normal(size=(V, D)).astype(np.float32) * 3
    e = RNG.normal(size=(2, 3, 5, D)).astype(np.float32)
    two_steps = refinement.get_layer("bottleneck")(coarse_maps(e, words)).numpy()
    matrix, bias = (t.numpy() for t in fold(refinement, words))
    assert matrix.shape == (D, BOTTLENECK)
    unit = e / np.linalg.norm(e, axis=-1, keepdims=True)
    np.testing.assert_allclose(np.maximum(unit @ matrix + bias, 0), two_steps, rtol=1e-5, atol=1e-5)


def test_gathered_columns_equal_the_full_second_layer():
    refinement = network()
    hidden = RNG.uniform(0, 2, (2, 3, 5, BOTTLENECK)).astype(np.float32)
    full = refinement.get_layer("refined")(hidden).numpy()
    ids = np.array([7, 0, 10, 7])
    weights, bias = (t.numpy() for t in columns(refinement, ids))
    assert weights.shape == (4, BOTTLENECK)
    assert bias.shape == (4,)
    np.testing.assert_allclose(hidden @ weights.T + bias, full[..., ids], rtol=1e-5, atol=1e-5)


def test_the_product_is_formed_when_that_takes_fewer_multiplications():
    def counted(images, v, d, k):
        """Of a step, matrix product by matrix product: (with the product, with coarse maps)."""
        places = 100 * images
        forward = v * d * k + places * d * k, places * v * d + places * v * k
        to_kernel = places * d * k + v * d * k, places * v * k
        to_e = places * d * k, places * v * k + places * v * d
        return [sum(parts) for parts in zip(forward, to_kernel, to_e, strict=True)]

    for sizes in [(12, 18_000, 4096, 2000), (13, 18_000, 4096, 2000), (1, 50, 128, 64), (8, 300, 128, 256)]:
        with_product, with_maps = counted(*sizes)
        assert forms_product(100 * sizes[0], *sizes[1:]) == (with_product < with_maps), sizes
    assert not forms_product(1200, 18_000, 4096, 2000) and forms_product(1300, 18_000, 4096, 2000)


def step(refinement, function, *constants):
    """What a function of e gives, and the gradients of a weighted sum of it to e and the four weights."""
    e = tf.constant(np.random.default_rng(5).normal(size=(2, 3, 5, D)).astype(np.float32))
    weights = refinement.trainable_variables
    with tf.GradientTape() as tape:
        tape.watch(e)
        found = tf.function(function)(e, *constants)
        loss = sum(tf.reduce_sum(tf.sin(1.0 + one)) for one in found)
    return [one.numpy() for one in (*found, *tape.gradient(loss, [e, *weights]))]


@pytest.mark.parametrize("product", [True, False])
@pytest.mark.parametrize("every", [True, False])
def test_chosen_maps_and_their_gradients_are_those_of_the_whole_network(product, every):
    refinement = network()
    words = RNG.normal(size=(V, D)).astype(np.float32)
    unit = words / np.linalg.norm(words, axis=1, keepdims=True)
    shared = np.array([3, 0, 10, 7], np.int32)
    own = np.array([[7, 2, 9], [1, 2, -1]], np.int32)  # 7 is shared, both images have 2
    real = (own >= 0).astype(np.float32)[:, None, None]

    def literal(e):
        logits = refinement(coarse_maps(e, words))
        return tf.gather(logits, shared, axis=3), real * tf.gather(logits, own % V, axis=3, batch_dims=1)

    def fast(e):
        hidden = hidden_maps(refinement, e, tf.constant(unit), product)
        of_all, of_each = chosen_maps(refinement, hidden, tf.constant(shared), tf.constant(own), every)
        return of_all, real * of_each

    for ours, expected in zip(step(refinement, fast), step(refinement, literal), strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-5)


def test_each_step_sums_its_own_gradient():
    """The sum is taken in place; nothing of a step is left for the next, nor images without any map."""
    refinement = network()
    hidden = tf.constant(RNG.uniform(0, 2, (2, 3, 5, BOTTLENECK)).astype(np.float32))

    @tf.function(reduce_retracing=True)
    def gradient(shared, own):
        with tf.GradientTape() as tape:
            pair = chosen_maps(refinement, hidden, shared, own, every=False)
            loss = sum(tf.reduce_sum(one) for one in pair)
        return tape.gradient(loss, refinement.get_layer("refined").kernel.value)[0, 0]

    shared, own = np.array([4], np.int32), np.array([[1], [1]], np.int32)
    first, second = (gradient(shared, own).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    expected = np.zeros((BOTTLENECK, V), np.float32)
    expected[:, [1, 4]] = hidden.numpy().sum(axis=(0, 1, 2))[:, None]
    np.testing.assert_allclose(first, expected, rtol=1e-5)
    alone = gradient(shared, np.zeros((2, 0), np.int32)).numpy()
    assert set(np.flatnonzero(alone.any(axis=0))) == {4}
