"""Augmentation: flips, crops and light, each a function of a seed and nothing else.

The paper does not say how it augments; this is ours. An example's seed gives `DRAWS` numbers in [0, 1), so
it looks the same whatever the batch size, the parallelism or the place at which training was taken up again.
Where an example is cut is known before it is decoded: a JPEG is then decoded there only.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

LEAST_AREA = 0.5  # of the picture that a crop keeps
LEAST_INSIDE = 0.25  # of a box or mask that a crop must keep
GRID = (6, 6)  # nodes of the noise on attention maps
DRAWS = 8  # one for the flip, four for the crop, three for the light
_LUMA = (0.299, 0.587, 0.114)


class Cut(NamedTuple):
    """Which part of a photo is taken, and whether it is mirrored then."""

    flipped: tf.Tensor  # bool
    pixels: tf.Tensor  # int32 [4]: top, left, rows, columns in the photo as it is stored
    window: tf.Tensor  # float32 [4]: ymin, xmin, ymax, xmax in 0..1 of the photo, mirrored if flipped


def example_seed(seed: int, epoch: int, index: tf.Tensor) -> tf.Tensor:
    """The int [2] seed of the example at `index` in the order of an epoch."""
    return tf.random.fold_in(tf.constant([seed, epoch], tf.int64), index)


def draws(seed: tf.Tensor) -> tf.Tensor:
    """float32 [DRAWS] in [0, 1), from an int [2] seed."""
    return tf.random.stateless_uniform([DRAWS], seed)


def draw_cut(drawn: tf.Tensor, height: tf.Tensor, width: tf.Tensor, mask: tf.Tensor | None = None) -> Cut:
    """Half of the time mirrored; a crop, unless it loses too much of the mask.

    Args:
        drawn: what `draws` returned.
        height: int32, rows of the photo.
        width: int32, columns of the photo.
        mask: bool [height, width, 1].
    """
    flipped = drawn[0] < 0.5
    pixels = crop_window(drawn[1:5], height, width)
    if mask is not None:
        pixels = tf.where(keeps_enough(mask, pixels), pixels, tf.stack([0, 0, height, width]))
    top, left, rows, columns = tf.unstack(pixels)
    left = tf.where(flipped, width - left - columns, left)
    corners = tf.cast(tf.stack([top, left, top + rows, left + columns]), tf.float32)
    return Cut(flipped, pixels, corners / tf.cast(tf.stack([height, width, height, width]), tf.float32))


def crop_window(drawn: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """A random part of a picture: half of its area or more, its aspect changed by up to 4/3.

    Args:
        drawn: float32 [4] in [0, 1).
        height: rows of the picture.
        width: columns of the picture.

    Returns:
        int32 [4]: (top, left, rows, columns).
    """
    area = LEAST_AREA + (1 - LEAST_AREA) * drawn[0]
    aspect = (3 / 4) ** (2 * drawn[1] - 1)
    share_y = tf.minimum(1.0, tf.sqrt(area * aspect))
    share_x = tf.minimum(1.0, area / share_y)
    size = tf.stack([height, width])
    part = tf.cast(tf.math.ceil(tf.stack([share_y, share_x]) * tf.cast(size, tf.float32)), tf.int32)
    part = tf.minimum(part, size)
    start = tf.cast(tf.floor(drawn[2:] * tf.cast(size - part + 1, tf.float32)), tf.int32)
    return tf.concat([tf.minimum(start, size - part), part], axis=0)


def crop(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Cuts the window (top, left, rows, columns) out of [H, W, C]."""
    return tf.slice(image, [window[0], window[1], 0], [window[2], window[3], -1])


def mirror(image: tf.Tensor, flipped: tf.Tensor) -> tf.Tensor:
    """Mirrors [H, W, C] left to right, if flipped."""
    # A slice with a negative step does the same, five times slower.
    return tf.reverse(image, tf.fill([tf.cast(flipped, tf.int32)], 1))


def flip_boxes(boxes: tf.Tensor) -> tf.Tensor:
    """Mirrors boxes [N, 4] (ymin, xmin, ymax, xmax in 0..1) left to right."""
    top, left, bottom, right = tf.unstack(boxes, axis=1)
    return tf.stack([top, 1 - right, bottom, 1 - left], axis=1)


def crop_boxes(boxes: tf.Tensor, window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Boxes as seen in a crop.

    Args:
        boxes: float32 [N, 4], (ymin, xmin, ymax, xmax) in 0..1.
        window: float32 [4] like a box.

    Returns:
        The clipped boxes float32 [N, 4] in 0..1 of the window, and bool [N]: whether a quarter of the
        box's area, or more, lies inside.
    """
    clipped = tf.clip_by_value(boxes, tf.tile(window[:2], [2]), tf.tile(window[2:], [2]))
    inside = tf.reduce_prod(clipped[:, 2:] - clipped[:, :2], axis=1)
    keep = inside >= LEAST_INSIDE * tf.reduce_prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    # A box without area keeps a quarter of nothing: its centre decides.
    keep &= tf.reduce_all((centres >= window[:2]) & (centres <= window[2:]), axis=1) | (inside > 0)
    size = window[2:] - window[:2]
    return (clipped - tf.tile(window[:2], [2])) / tf.tile(size, [2]), keep


def keeps_enough(mask: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Whether a crop (top, left, rows, columns) keeps a quarter of a mask bool [H, W, 1], or more."""
    inside, whole = (tf.cast(tf.math.count_nonzero(m), tf.float32) for m in (crop(mask, window), mask))
    return inside >= LEAST_INSIDE * whole


def jitter(image: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Changes brightness by up to 32 levels, contrast and saturation by up to a fifth.

    All three are linear in a pixel's colour: one 3 x 3 matrix, several times faster than one by one.

    Args:
        image: float32 [H, W, 3], 0 to 255.
        drawn: float32 [3] in [0, 1).

    Returns:
        float32 [H, W, 3], 0 to 255.
    """
    saturation, contrast = 0.8 + 0.4 * drawn[0], 0.8 + 0.4 * drawn[1]
    gray = tf.constant([[share] * 3 for share in _LUMA])
    matrix = saturation * tf.eye(3) + (1 - saturation) * gray
    flat = tf.reshape(image, [-1, 3])
    mean = tf.reduce_mean(flat, axis=0, keepdims=True)
    light = (1 - contrast) * tf.matmul(mean, matrix) + 64.0 * drawn[2] - 32.0
    changed = tf.matmul(flat, contrast * matrix) + light
    return tf.reshape(tf.clip_by_value(changed, 0.0, 255.0), tf.shape(image))


def noise_grids(seed: tf.Tensor, maps: int | tf.Tensor, deviation: float) -> tf.Tensor:
    """Smooth noise for attention maps, to be enlarged bilinearly: normal, float32 [maps, *GRID].

    `deviation` is its standard deviation; `seed` is an example's.
    """
    # Folded, since `draws` takes the seed's own numbers.
    return tf.random.stateless_normal([maps, *GRID], tf.random.fold_in(seed, 1), stddev=deviation)
