"""The refinement network (4.2), and what inference makes of it: one folded matrix, single columns."""

import numpy as np
import reference

from cmask_tf.models.attention import coarse_maps
from cmask_tf.models.refinement import build_refinement, columns, fold

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
