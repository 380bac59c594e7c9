"""The only resizing, min-max and box-to-grid code of the package (4.2, 4.3, supplement 3).

Data, models, exported graphs and tests share it, so that one pixel means one place everywhere. Pixel
and cell centres lie at half integers: cell i of n covers i/n to (i+1)/n of the picture.

Where the paper is silent: photos become squares by squashing, antialiased (plain bilinear from 12
megapixels to 300 px aliases); labels are resized by nearest neighbour; a constant map becomes zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf


def resize_image(image: tf.Tensor, size: int) -> tf.Tensor:
    """Squashes photos to a square, antialiased bilinear.

    Args:
        image: [..., H, W, C] with at most one leading dimension, any dtype, 0 to 255.
        size: the side of the square in pixels.

    Returns:
        float32 [..., size, size, C], 0 to 255.
    """
    return tf.cast(tf.image.resize(image, (size, size), antialias=True), tf.float32)


def squash_by_products(image: tf.Tensor, size: int) -> tf.Tensor:
    """`resize_image` as two matrix products, for formats without antialiased resizing.

    Args:
        image: uint8 or float [B, H, W, C], 0 to 255; all sizes may be unknown when a graph is made.
        size: the side of the square in pixels.

    Returns:
        float32 [B, size, size, C], 0 to 255; apart from `resize_image` by rounding.
    """
    image = tf.cast(image, tf.float32)
    batch, height, width, _ = tf.unstack(tf.shape(image))
    channels = image.shape[-1]
    tall = tf.matmul(_antialiased(height, size), tf.reshape(image, [batch, height, width * channels]))
    tall = tf.transpose(tf.reshape(tall, [batch * size, width, channels]), (0, 2, 1))
    square = tf.matmul(tf.reshape(tall, [-1, width]), _antialiased(width, size), transpose_b=True)
    return tf.transpose(tf.reshape(square, [-1, size, channels, size]), (0, 1, 3, 2))


def resize_maps(maps: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resizes maps [B, h, w, C] or [h, w, C] bilinearly to float32 [..., height, width, C]."""
    return tf.image.resize(tf.cast(maps, tf.float32), (height, width))


def draw_map(small: np.ndarray, out: np.ndarray) -> None:
    """`resize_maps` of one map float32 [h, w], written into float32 [H, W]: outside graphs, and faster."""
    cv2.resize(small, out.shape[::-1], dst=out, interpolation=cv2.INTER_LINEAR)


def level_maps(channels: Sequence[tf.Tensor], size: int, strides: Sequence[int]) -> list[tf.Tensor]:
    """Coarse maps as levels of some strides see them, without drawing them at full size.

    `resize_maps` to `size` and the means over blocks are both linear: small matrix products make the same.

    Args:
        channels: one float32 [B, h_i, w_i] a channel; B may be unknown when a graph is made.
        size: side of the square that the maps would be drawn at.
        strides: sides of the blocks that are averaged; the outermost blocks may be cut off by the edge.

    Returns:
        for each stride float32 [B, n, n, len(channels)], n = ceil(size / stride).
    """
    shapes = [maps.shape[1:] for maps in channels]
    rows = [np.concatenate([_averaged(height, size, s) for s in strides])[np.newaxis] for height, _ in shapes]
    tall = tf.concat([tf.matmul(*pair) for pair in zip(rows, channels, strict=True)], axis=2)
    sides = [-(-size // stride) for stride in strides]
    levels = []
    for part, side, stride in zip(tf.split(tall, sides, axis=1), sides, strides, strict=True):
        columns = [_averaged(width, size, stride).T[..., np.newaxis] for _, width in shapes]
        # One product makes all channels, interleaved as they shall lie.
        wide = [c * unit for c, unit in zip(columns, np.eye(len(shapes), dtype=np.float32), strict=True)]
        wide = np.concatenate(wide).reshape(tall.shape[2], -1)
        joined = tf.matmul(tf.reshape(part, [-1, tall.shape[2]]), wide)
        levels.append(tf.reshape(joined, [-1, side, side, len(channels)]))
    return levels


def resize_labels(labels: tf.Tensor, size: int) -> tf.Tensor:
    """Squashes labels [H, W, C] to [size, size, C] of the same dtype: no value that was not there."""
    return tf.image.resize(labels, (size, size), method="nearest")


def crop_maps(channels: Sequence[Sequence[tuple[tf.Tensor, tf.Tensor]]], size: int) -> tf.Tensor:
    """Resizes parts of coarse maps to a square, bilinearly, and adds up those of a channel.

    A window may cut through cells; with the whole picture as the window this is `resize_maps`.

    Args:
        channels: for each of C channels what adds up to it: maps float [B, h, w], coarse (the work grows
            with w), and the windows float32 [B, 4] to show: (ymin, xmin, ymax, xmax) in 0..1 of the map.
        size: the side of the square.

    Returns:
        float32 [B, size, size, C].
    """
    tall, wide, count = [], [], len(channels)
    for channel, layers in zip(tf.unstack(tf.eye(count)), channels, strict=True):
        for maps, window in layers:
            maps, window = tf.cast(maps, tf.float32), tf.cast(window, tf.float32)
            tall.append(tf.matmul(_bilinear(tf.shape(maps)[1], window[:, 0], window[:, 2], size), maps))
            columns = _bilinear(tf.shape(maps)[2], window[:, 1], window[:, 3], size)
            columns = tf.transpose(columns, (0, 2, 1))[..., tf.newaxis] * channel  # [B, w, size, C]
            wide.append(tf.reshape(columns, [tf.shape(columns)[0], -1, size * count]))
    # One product makes all channels, interleaved as they shall lie.
    joined = tf.matmul(tf.concat(tall, axis=2), tf.concat(wide, axis=1))
    return tf.reshape(joined, [-1, size, size, count])


def _bilinear(cells: tf.Tensor, low: tf.Tensor, high: tf.Tensor, size: int) -> tf.Tensor:
    """Each cell's weight along an axis at `size` places from low [B] to high: float32 [B, size, cells]."""
    cells = tf.cast(cells, tf.float32)
    steps = (tf.range(size, dtype=tf.float32) + 0.5) / size
    places = (low[:, tf.newaxis] + steps * (high - low)[:, tf.newaxis]) * cells - 0.5
    places = tf.clip_by_value(places, 0.0, cells - 1)
    return tf.maximum(1 - tf.abs(places[..., tf.newaxis] - tf.range(cells)), 0)


def _antialiased(pixels: tf.Tensor, size: int) -> tf.Tensor:
    """Each pixel's weight along an axis at `size` places: float32 [size, pixels]; rows sum to 1."""
    # Made as integers: TensorRT has no range of floats that is not known when the graph is made.
    centres = tf.cast(tf.range(pixels), tf.float32) + 0.5
    step = tf.cast(pixels, tf.float32) / size
    places = (np.arange(size, dtype=np.float32) + 0.5)[:, np.newaxis] * step
    weights = tf.maximum(1 - tf.abs(centres - places) / tf.maximum(step, 1.0), 0)
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True)


def _averaged(cells: int, size: int, stride: int) -> np.ndarray:
    """Each cell's weight in the means of blocks along an axis of `size` places: float32 [n, cells]."""
    places = np.clip((np.arange(size) + 0.5) / size * cells - 0.5, 0, cells - 1)
    weights = np.maximum(1 - np.abs(places[:, np.newaxis] - np.arange(cells)), 0)  # [size, cells]
    blocks = -(-size // stride)
    starts = np.maximum(np.arange(blocks) * stride - (blocks * stride - size) // 2, 0)
    counts = np.diff([*starts, size])
    return (np.add.reduceat(weights, starts) / counts[:, np.newaxis]).astype(np.float32)


def min_max(maps: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Stretches each map to [0, 1] (4.3).

    A map whose range is below 1e-6 of its largest magnitude is constant but for rounding and becomes
    zeros: stretching it would show the network noise.

    Args:
        maps: floats of any shape.
        axes: the axes that span one map.

    Returns:
        float32 of the shape of `maps`.
    """
    maps = tf.cast(maps, tf.float32)
    # One axis at a time, and given back as a row: several times faster where channels come last.
    rows = tf.reduce_min(maps, axes[0], keepdims=True), tf.reduce_max(maps, axes[0], keepdims=True)
    low, high = (
        tf.reduce_min(rows[0], axes[1:], keepdims=True),
        tf.reduce_max(rows[1], axes[1:], keepdims=True),
    )
    flat = high - low <= 1e-6 * tf.maximum(tf.abs(low), tf.abs(high))
    scale = tf.where(flat, 0.0, 1 / tf.where(flat, 1.0, high - low))
    low, scale = (tf.broadcast_to(values, tf.shape(rows[0])) for values in (low, scale))
    return (maps - low) * scale


def boxes_to_grid(boxes: tf.Tensor, slots: tf.Tensor, columns: int, height: int, width: int) -> tf.Tensor:
    """Ground-truth maps G of concepts from their boxes (4.2).

    A cell is 1 where its centre lies in a box of the column (edges included). Along an axis on which
    a box holds no centre, it takes the cell that holds its own centre: a tiny box marks one cell, a
    belt one row.

    Args:
        boxes: float32 [N, 4], (ymin, xmin, ymax, xmax) in 0..1.
        slots: int [N], the column of each box; -1 is ignored.
        columns: number of maps.
        height: rows of the grid.
        width: columns of the grid.

    Returns:
        float32 [height, width, columns], 0 or 1.
    """
    rows = _covered(boxes[:, 0], boxes[:, 2], height)
    cols = _covered(boxes[:, 1], boxes[:, 3], width)
    cells = rows[:, :, tf.newaxis] & cols[:, tf.newaxis, :]
    grid = tf.math.unsorted_segment_max(tf.cast(cells, tf.int32), slots, columns)
    return tf.cast(tf.transpose(tf.maximum(grid, 0), (1, 2, 0)), tf.float32)


def _covered(low: tf.Tensor, high: tf.Tensor, cells: int) -> tf.Tensor:
    """Which of the cells along one axis each interval takes: [N], [N] -> bool [N, cells], never empty."""
    index = tf.range(cells)
    centres = (tf.cast(index, tf.float32) + 0.5) / tf.cast(cells, tf.float32)
    inside = (centres >= low[:, tf.newaxis]) & (centres <= high[:, tf.newaxis])
    own = tf.cast(tf.floor((low + high) / 2 * tf.cast(cells, tf.float32)), tf.int32)
    own = index == tf.clip_by_value(own, 0, cells - 1)[:, tf.newaxis]
    return inside | (own & ~tf.reduce_any(inside, axis=1, keepdims=True))
