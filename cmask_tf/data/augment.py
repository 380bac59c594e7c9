"""Augmentation: flips, crops and light, each a function of a seed and nothing else.

The paper does not say how it augments; this is ours. Seeds are int [2] tensors, so an example looks
the same whatever the batch size, the parallelism or the place at which training was taken up again.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

LEAST_AREA = 0.5  # of the picture that a crop keeps
LEAST_INSIDE = 0.25  # of a box or mask that a crop must keep


class View(NamedTuple):
    """What flip and crop leave of a photo."""

    image: tf.Tensor  # uint8 [h, w, 3]
    planes: tf.Tensor  # uint8 [h, w, P], cut alike
    flipped: tf.Tensor  # bool
    window: tf.Tensor  # float32 [4]: ymin, xmin, ymax, xmax in 0..1 of the photo, mirrored if flipped


def view(image: tf.Tensor, seeds: tf.Tensor, train: bool, planes: tf.Tensor | None = None) -> View:
    """Flips and crops a photo and what lies over it; without training it stays whole.

    Args:
        image: uint8 [H, W, 3].
        seeds: int [2 or more, 2].
        train: whether to flip and crop.
        planes: uint8 [H, W, P]; a crop that loses too much of the first one's mask is not taken.
    """
    if planes is None:
        planes = tf.zeros_like(image[..., :0])
    if not train:
        return View(image, planes, tf.constant(False), tf.constant([0.0, 0.0, 1.0, 1.0]))
    flipped = coin(seeds[0])
    # A slice with a negative step does the same, five times slower.
    image, planes = (tf.reverse(array, tf.boolean_mask([1], [flipped])) for array in (image, planes))
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    window = crop_window(seeds[1], height, width)
    whole = tf.stack([0, 0, height, width])
    window = tf.where(keeps_enough(planes[..., :1], window), window, whole)
    return View(crop(image, window), crop(planes, window), flipped, relative(window, height, width))


def example_seed(seed: int, epoch: int, index: tf.Tensor) -> tf.Tensor:
    """The int [2] seed of the example at `index` in the order of an epoch."""
    return tf.random.fold_in(tf.constant([seed, epoch], tf.int64), index)


def coin(seed: tf.Tensor) -> tf.Tensor:
    """A bool scalar, true half of the time."""
    return tf.random.stateless_uniform([], seed) < 0.5


def crop_window(seed: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """A random part of a picture: half of its area or more, its aspect changed by up to 4/3.

    Args:
        seed: int [2].
        height: rows of the picture.
        width: columns of the picture.

    Returns:
        int32 [4]: (top, left, rows, columns).
    """
    draw = tf.random.stateless_uniform([4], seed)
    area = LEAST_AREA + (1 - LEAST_AREA) * draw[0]
    aspect = (3 / 4) ** (2 * draw[1] - 1)
    share_y = tf.minimum(1.0, tf.sqrt(area * aspect))
    share_x = tf.minimum(1.0, area / share_y)
    size = tf.stack([height, width])
    part = tf.cast(tf.math.ceil(tf.stack([share_y, share_x]) * tf.cast(size, tf.float32)), tf.int32)
    part = tf.minimum(part, size)
    start = tf.cast(tf.floor(draw[2:] * tf.cast(size - part + 1, tf.float32)), tf.int32)
    return tf.concat([tf.minimum(start, size - part), part], axis=0)


def relative(window: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """A window of pixels (top, left, rows, columns) as float32 (ymin, xmin, ymax, xmax) in 0..1."""
    corners = tf.concat([window[:2], window[:2] + window[2:]], axis=0)
    return tf.cast(corners, tf.float32) / tf.cast(tf.stack([height, width, height, width]), tf.float32)


def crop(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Cuts the window (top, left, rows, columns) out of [H, W, C]."""
    return tf.slice(image, [window[0], window[1], 0], [window[2], window[3], -1])


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
    """Whether a crop (top, left, rows, columns) keeps a quarter of a mask [H, W, 1] of 0 and 1, or more."""
    inside, whole = (tf.reduce_sum(tf.cast(part, tf.float32)) for part in (crop(mask, window), mask))
    return inside >= LEAST_INSIDE * whole


def jitter(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness by up to 32 levels, contrast and saturation by up to a fifth.

    Args:
        image: float32 [H, W, 3], 0 to 255.
        seed: int [2].

    Returns:
        float32 [H, W, 3], 0 to 255.
    """
    seeds = tf.random.split(seed, 3)
    image = tf.image.stateless_random_saturation(image, 0.8, 1.2, seeds[0])
    image = tf.image.stateless_random_contrast(image, 0.8, 1.2, seeds[1])
    image = tf.image.stateless_random_brightness(image, 32.0, seeds[2])
    return tf.clip_by_value(image, 0.0, 255.0)


def smooth_noise(seed: tf.Tensor, size: int, channels: int, deviation: float) -> tf.Tensor:
    """Noise for attention maps: normal on a 6 x 6 grid, bilinear between: float32 [size, size, channels].

    `deviation` is the standard deviation at the grid's nodes.
    """
    nodes = tf.random.stateless_normal([6, 6, channels], seed, stddev=deviation)
    return tf.image.resize(nodes, (size, size))
