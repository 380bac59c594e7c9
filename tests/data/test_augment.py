"""Augmentation is a function of its seed, and image, boxes and masks stay together."""

import numpy as np
import pytest
import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.data import augment


def seeds(count):
    return [augment.example_seed(7, 1, i) for i in range(count)]


def test_the_seed_of_an_example_depends_on_run_epoch_and_place():
    numbers = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1)]
    drawn = {tuple(augment.example_seed(*n).numpy()) for n in numbers}
    assert len(drawn) == len(numbers)
    assert tuple(augment.example_seed(1, 0, 1).numpy()) in drawn


def test_a_coin_is_fair():
    heads = sum(bool(augment.draw_cut(augment.draws(seed), 4, 4).flipped) for seed in seeds(300))
    assert 120 < heads < 180


def test_a_crop_keeps_half_of_the_picture_or_more():
    windows = np.array([augment.crop_window(augment.draws(seed)[1:5], 61, 90).numpy() for seed in seeds(200)])
    top, left, rows, columns = windows.T
    area = rows * columns / (61 * 90)
    assert area.min() >= 0.5 and area.max() <= 1
    assert area.min() < 0.56 and area.max() > 0.9  # and makes use of that range
    assert (windows[:, :2] >= 0).all()
    assert (top + rows).max() == 61 and (left + columns).max() == 90
    assert (rows / 61 / (columns / 90)).min() < 0.8 and (rows / 61 / (columns / 90)).max() > 1.25


def test_the_smallest_picture_can_be_cropped():
    assert augment.crop_window(tf.constant([0.9] * 4), 1, 1).numpy().tolist() == [0, 0, 1, 1]


def test_boxes_are_mirrored():
    boxes = tf.constant([[0.1, 0.2, 0.3, 0.6]])
    np.testing.assert_allclose(augment.flip_boxes(boxes), [[0.1, 0.4, 0.3, 0.8]], atol=1e-6)


def test_boxes_are_clipped_to_the_crop_and_dropped_below_a_quarter():
    window = tf.constant([0.0, 0.5, 0.5, 1.0])
    boxes = [
        [0.1, 0.6, 0.2, 0.8],  # inside
        [0.0, 0.3125, 0.5, 0.5625],  # exactly a quarter in: 0.0625 of 0.25
        [0.0, 0.28, 0.5, 0.5625],  # less
        [0.6, 0.6, 0.9, 0.9],  # outside
        [0.3, 0.7, 0.3, 0.7],  # a point inside
        [0.8, 0.2, 0.8, 0.2],  # a point outside
    ]
    clipped, keep = augment.crop_boxes(tf.constant(boxes), window)
    assert keep.numpy().tolist() == [True, True, False, False, True, False]
    np.testing.assert_allclose(clipped[0], [0.2, 0.2, 0.4, 0.6], atol=1e-6)
    np.testing.assert_allclose(clipped[1], [0.0, 0.0, 1.0, 0.125], atol=1e-6)


def test_jitter_changes_light_and_not_places():
    image = tf.constant(np.random.default_rng(0).integers(60, 190, (20, 30, 3)), tf.float32)
    for seed in seeds(20):
        changed = augment.jitter(image, augment.draws(seed)[5:]).numpy()
        assert changed.min() >= 0 and changed.max() <= 255
        assert 1 < np.abs(changed - image).mean() < 50
        assert np.corrcoef(changed.ravel(), image.numpy().ravel())[0, 1] > 0.97


def test_jitter_by_hand():
    """Saturation, then contrast around the mean of each channel, then brightness."""
    image = tf.constant([[[100.0, 50.0, 0.0], [200.0, 150.0, 100.0]]])
    luma = np.array([0.299 * 100 + 0.587 * 50, 0.299 * 200 + 0.587 * 150 + 0.114 * 100])
    faded = 0.8 * image[0].numpy() + 0.2 * luma[:, None]
    expected = 0.9 * faded + 0.1 * faded.mean(axis=0) + 16
    np.testing.assert_allclose(augment.jitter(image, tf.constant([0.0, 0.25, 0.75]))[0], expected, rtol=1e-5)
    still = augment.jitter(image, tf.constant([0.5, 0.5, 0.5]))
    np.testing.assert_allclose(still, image, atol=1e-4)


def test_jitter_leaves_gray_gray():
    gray = tf.ones([4, 4, 3]) * tf.constant(np.linspace(20, 230, 16).reshape(4, 4, 1), tf.float32)
    changed = augment.jitter(gray, tf.constant([0.1, 0.9, 0.6])).numpy()
    assert np.ptp(changed, axis=2).max() < 1e-3


def test_noise_is_smooth_and_as_large_as_asked():
    grids = tf.stack([augment.noise_grids(seed, 2, 0.1) for seed in seeds(60)])
    assert grids.shape == (60, 2, *augment.GRID)
    noise = geometry.crop_maps([[(grids[:, 0], tf.tile([[0.0, 0.0, 1.0, 1.0]], [60, 1]))]], 48).numpy()
    assert abs(noise.mean()) < 0.01
    assert 0.06 < noise.std() < 0.1  # 0.1 at the nodes, less between them
    assert np.abs(np.diff(noise, axis=1)).max() < 0.1
    assert not augment.noise_grids(tf.constant([1, 2]), 2, 0.0).numpy().any()


@pytest.fixture
def coordinates():
    """A photo whose pixels say where they are: row in red, column in green."""
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows, columns, rows * 0], axis=2).astype(np.uint8)


def test_pixels_and_window_tell_the_same_places(coordinates):
    flips = set()
    for seed in seeds(12):
        cut = augment.draw_cut(augment.draws(seed), 40, 60)
        image = augment.mirror(augment.crop(coordinates, cut.pixels), cut.flipped).numpy()
        left, right = image[0, 0, 1], image[0, -1, 1]
        mirrored = (59 - left, 60 - right) if cut.flipped else (left, right + 1)
        corners = [image[0, 0, 0] / 40, mirrored[0] / 60, (image[-1, 0, 0] + 1) / 40, mirrored[1] / 60]
        np.testing.assert_allclose(cut.window, corners, atol=1e-6)
        flips.add(bool(cut.flipped))
    assert flips == {True, False}


def test_a_crop_that_would_lose_the_mask_is_not_taken():
    """Attention is stretched to [0, 1] in any case: an empty mask would teach the opposite of the paper."""
    mask = np.zeros((40, 60, 1), bool)
    mask[:3, :3] = True
    whole = 0
    for seed in seeds(30):
        cut = augment.draw_cut(augment.draws(seed), 40, 60, mask)
        assert tf.math.count_nonzero(augment.crop(mask, cut.pixels)) >= 3  # a quarter of 9, or more
        whole += cut.pixels.numpy().tolist() == [0, 0, 40, 60]
    assert 5 < whole < 30
