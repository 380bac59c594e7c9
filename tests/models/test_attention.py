"""Coarse maps (Eqn. 1) and the two-scale input of the segmentation network (4.3)."""

import numpy as np
import reference

from cmask_tf.models.attention import coarse_maps, stack_scales

RNG = np.random.default_rng(2)


def test_map_equals_a_loop_over_places():
    e = RNG.normal(size=(2, 3, 4, 5)).astype(np.float32)
    words = RNG.normal(size=(6, 5)).astype(np.float32) * 7
    maps = coarse_maps(e, words).numpy()
    assert maps.shape == (2, 3, 4, 6)
    for b in range(2):
        for v in range(6):
            np.testing.assert_allclose(maps[b, ..., v], reference.attention(e[b], words[v]), atol=1e-6)


def test_by_hand():
    e = np.array([[[[3.0, 4.0], [0.0, 2.0]], [[-1.0, 0.0], [0.0, 0.0]]]], np.float32)
    maps = coarse_maps(e, np.array([[5.0, 0.0]], np.float32)).numpy()
    np.testing.assert_allclose(maps[0, ..., 0], [[0.6, 0.0], [-1.0, 0.0]], atol=1e-7)


def test_each_map_and_scale_is_stretched_by_itself():
    small = RNG.uniform(0.2, 0.3, (2, 3, 3)).astype(np.float32)
    large = RNG.uniform(-5, 40, (2, 6, 6)).astype(np.float32)
    out = stack_scales([small, large], 6).numpy()
    assert out.shape == (2, 6, 6, 2)
    for b in range(2):  # the 6 x 6 scale needs no resizing
        np.testing.assert_allclose(out[b, ..., 1], reference.stretch(large[b]), atol=1e-6)
    # Cell centres of a 3-cell row lie at .5, 1.5, 2.5; pixel 2 of 6 has its centre at 1.25.
    row = np.array([[[0.0, 1.0, 0.0]]], np.float32)
    np.testing.assert_allclose(stack_scales([row], 6).numpy()[0, 0, :, 0], [0, 0.25, 0.75, 0.75, 0.25, 0])


def test_a_constant_map_gives_zeros():
    out = stack_scales([np.full((1, 3, 3), 0.7, np.float32), np.eye(4, dtype=np.float32)[None]], 8).numpy()
    assert not out[..., 0].any()
    assert out[..., 1].max() == 1.0
