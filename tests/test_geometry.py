"""One geometry for training and use: resizing, min-max, boxes on a grid."""

import numpy as np
import pytest
import reference
import tensorflow as tf
from PIL import Image

from cmask_tf import geometry


@pytest.fixture(scope="module")
def photo():
    """12 megapixels with detail at every scale: stripes, edges and grain."""
    y, x = np.mgrid[0:3000, 0:4000].astype(np.float32)
    waves = 128 + 40 * np.sin(x / 611) + 30 * np.sin(y / 97) + 25 * np.sign(np.sin((x + y) / 41))
    grain = np.random.default_rng(0).normal(0, 30, (3000, 4000)).astype(np.float32)
    channels = [waves + grain, 255 - waves + grain, waves / 2 + 40 * np.sin(x * 1.3) + 60]
    return np.clip(np.stack(channels, axis=2), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def smaller(photo):
    """The same photo as a camera with fewer pixels takes it."""
    sizes = {0.2: (516, 387), 1: (1155, 866), 4: (2309, 1732)}
    image = Image.fromarray(photo)
    return {mega: np.asarray(image.resize(size, Image.Resampling.BOX)) for mega, size in sizes.items()}


@pytest.mark.parametrize("megapixels", [0.2, 1, 4])
@pytest.mark.parametrize("size", [224, 300])
def test_a_photo_looks_the_same_to_the_network_at_every_resolution(photo, smaller, megapixels, size):
    large = geometry.resize_image(photo, size).numpy()
    difference = np.abs(geometry.resize_image(smaller[megapixels], size).numpy() - large)
    assert difference.mean() < 1.2
    assert np.quantile(difference, 0.99) < 4


@pytest.mark.parametrize("sides", [(60, 45), (333, 500), (64, 200), (97, 16), (8, 8)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_matrix_products_squash_a_photo_as_resizing_does(sides, dtype):
    images = np.random.default_rng(0).integers(0, 256, (2, *sides, 3)).astype(dtype)
    spec = tf.TensorSpec([None, None, None, 3], dtype)
    squash = tf.function(lambda image: geometry.squash_by_products(image, 64), input_signature=[spec])
    np.testing.assert_allclose(squash(images), geometry.resize_image(images, 64), atol=0.005)


def test_plain_bilinear_would_alias(photo, smaller):
    """What the antialiasing is for: the tolerance above is not one that anything passes."""
    plain = [tf.image.resize(image, (224, 224)).numpy() for image in (photo, smaller[1])]
    assert np.abs(plain[0] - plain[1]).mean() > 10


def test_photos_are_squashed_to_float32_squares_in_range():
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 255
    small = geometry.resize_image(image, 8)
    assert small.dtype == tf.float32 and small.shape == (8, 8, 3)
    np.testing.assert_allclose(small[:, :3], 0)
    np.testing.assert_allclose(small[:, 5:], 255, rtol=1e-6)
    batch = geometry.resize_image(np.stack([image, image]).astype(np.float32), 8)
    np.testing.assert_allclose(batch[1], small, atol=1e-4)


@pytest.mark.parametrize(("size", "strides"), [(24, (2, 8)), (25, (1, 2, 7, 12)), (9, (4,))])
def test_level_maps_are_the_means_of_the_maps_drawn_at_full_size(size, strides):
    """Both channels, cells that are not square, blocks that the edges cut off."""
    rng = np.random.default_rng(1)
    channels = [rng.random((2, *shape)).astype(np.float32) for shape in ((3, 5), (7, 4))]
    drawn = [geometry.resize_maps(maps[..., None], size, size) for maps in channels]
    levels = geometry.level_maps(channels, size, strides)
    for level, stride in zip(levels, strides, strict=True):
        expected = tf.nn.avg_pool2d(tf.concat(drawn, axis=-1), stride, stride, "SAME")
        assert np.ptp(expected) > 0.2
        np.testing.assert_allclose(level, expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(13, 40), (5, 9), (9, 5)])
def test_a_map_drawn_outside_a_graph_is_the_same_map(shape):
    small = np.random.default_rng(2).random((9, 9)).astype(np.float32)
    out = np.full(shape, np.nan, np.float32)
    geometry.draw_map(small, out)
    np.testing.assert_allclose(out, geometry.resize_maps(small[..., None], *shape)[..., 0], atol=1e-5)


def test_maps_are_resized_about_their_cell_centres():
    maps = tf.constant([[[[0.0], [1.0]]]])
    np.testing.assert_allclose(geometry.resize_maps(maps, 1, 4)[0, 0, :, 0], [0, 0.25, 0.75, 1], atol=1e-6)


def test_labels_keep_their_values():
    labels = np.array([[0, 7], [200, 9]], np.uint8)[..., None]
    large = geometry.resize_labels(labels, 6)
    assert large.dtype == tf.uint8
    np.testing.assert_array_equal(large[..., 0], np.kron(labels[..., 0], np.ones((3, 3), np.uint8)))


WHOLE = [(0.0, 0.0, 1.0, 1.0)]


def test_a_window_of_the_whole_picture_is_the_plain_resize():
    maps = np.random.default_rng(1).random((7, 11, 2), np.float32)
    whole = geometry.crop_maps([[(maps[None, ..., c], WHOLE)] for c in range(2)], 33)
    np.testing.assert_allclose(whole[0], geometry.resize_maps(maps, 33, 33), atol=1e-5)


def test_the_layers_of_a_channel_are_added_up():
    maps, grid = (np.random.default_rng(3).random(shape, np.float32) for shape in ((2, 7, 11), (2, 3, 2)))
    window = tf.constant([[0.1, 0.2, 0.8, 0.5], [0.0, 0.3, 0.6, 1.0]])
    both = geometry.crop_maps([[(grid, window)], [(maps, window), (grid, WHOLE * 2)]], 9)
    alone = [geometry.crop_maps([[layer]], 9) for layer in ((maps, window), (grid, WHOLE * 2))]
    np.testing.assert_allclose(both[..., 1:], alone[0] + alone[1], atol=1e-5)
    np.testing.assert_allclose(both[..., :1], geometry.crop_maps([[(grid, window)]], 9), atol=1e-5)


def test_a_window_shows_the_same_places_as_the_whole():
    """The value of a linear ramp says where one is looking."""
    ramp = np.linspace(0.05, 0.95, 10, dtype=np.float32)  # cell centres of ten cells
    maps = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :]))
    window = tf.constant([0.2, 0.43, 0.6, 0.83])
    part = geometry.crop_maps([[(one[None], window[None])] for one in maps], 8)[0].numpy()
    centres = (np.arange(8) + 0.5) / 8 * 0.4
    np.testing.assert_allclose(part[:, 0, 0], 0.2 + centres, atol=1e-5)
    np.testing.assert_allclose(part[0, :, 1], 0.43 + centres, atol=1e-5)


def test_min_max_stretches_each_map_by_itself():
    maps = np.random.default_rng(2).normal(size=(3, 5, 4, 2)).astype(np.float32)
    stretched = geometry.min_max(maps, (1, 2)).numpy()
    for b in range(3):
        for c in range(2):
            np.testing.assert_allclose(stretched[b, ..., c], reference.min_max(maps[b, ..., c]), atol=1e-6)


def test_min_max_by_hand():
    np.testing.assert_allclose(geometry.min_max([[2.0, 3.0, 6.0]], (0, 1)), [[0, 0.25, 1]])


@pytest.mark.parametrize("value", [0.0, 0.3, -5.0])
def test_a_constant_map_becomes_zeros_even_when_rounded(value):
    maps = np.full((4, 4), value, np.float32)
    maps[0, 0] = np.nextafter(maps[0, 0], np.float32(10), dtype=np.float32) if value else 0
    np.testing.assert_array_equal(geometry.min_max(maps, (0, 1)), np.zeros((4, 4)))


def test_min_max_keeps_faint_maps():
    np.testing.assert_allclose(geometry.min_max([0.0, 1e-9, 4e-9], (0,)), [0, 0.25, 1], rtol=1e-5)


def test_boxes_on_a_grid_by_hand():
    boxes = [
        [0.0, 0.0, 0.5, 0.5],  # the first quarter: four cells of a 4 x 4 grid
        [0.6, 0.6, 0.62, 0.62],  # tiny: its own cell
        [0.30, 0.0, 0.34, 1.0],  # a belt between two rows of centres: one row
        [0.0, 0.0, 1.0, 1.0],  # of no column
    ]
    grid = geometry.boxes_to_grid(tf.constant(boxes), tf.constant([0, 1, 2, -1]), 4, 4, 4).numpy()
    assert grid.dtype == np.float32
    np.testing.assert_array_equal(np.argwhere(grid[..., 0]), [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(np.argwhere(grid[..., 1]), [[2, 2]])
    np.testing.assert_array_equal(np.argwhere(grid[..., 2]), [[1, 0], [1, 1], [1, 2], [1, 3]])
    assert not grid[..., 3].any()


def test_boxes_on_a_grid_agree_with_the_reference():
    random = np.random.default_rng(3)
    corners = np.sort(random.random((60, 2, 2)), axis=1)
    boxes = corners.reshape(60, 4).astype(np.float32)
    boxes[:20, 2:] = boxes[:20, :2] + random.random((20, 2)).astype(np.float32) * 0.03
    slots = random.integers(-1, 9, 60)
    grid = geometry.boxes_to_grid(tf.constant(boxes), tf.constant(slots), 9, 7, 10)
    np.testing.assert_array_equal(grid, reference.boxes_to_grid(boxes, slots, 9, 7, 10))


def test_no_boxes_no_ground_truth():
    grid = geometry.boxes_to_grid(tf.zeros([0, 4]), tf.zeros([0], tf.int32), 3, 2, 2)
    np.testing.assert_array_equal(grid, np.zeros((2, 2, 3)))
