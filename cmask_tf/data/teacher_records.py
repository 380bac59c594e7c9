"""What the frozen network of Stage 1 says of each photo, computed once: Eqn. 2's matching targets (4.2).

Files beside the box records, one for each of them, a teacher record for each photo in the same order:

    teacher/shape      int64 [2]: rows and columns of the maps
    teacher/ids        bytes, two rows (photo, mirrored photo) of M ids, uint16 or uint32, little-endian: the
                       concepts that may enter Psi_N, the highest maximum of alpha0 first
    teacher/bits       bytes, two rows of M maps B(alpha0), row-major, each packed to ceil(h w / 8) bytes

Concepts annotated in the photo never enter Psi_N, and a crop decides which of them are seen. M is N and as
many more as the photo has annotated concepts, so that N are left whatever is seen: Psi_N is exact.

The maps are those of the whole photo, as it is and mirrored. A crop takes the part of them that it shows, as
it does of Stage 3's attention; the teacher does not see the crop's enlargement, nor changes of light.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

IDS = "teacher/ids"
BITS = "teacher/bits"
SHAPE = "teacher/shape"
_WIDE = 1 << 16  # ids from here on do not fit into 16 bits


def encode(ids: Sequence[np.ndarray], above: Sequence[np.ndarray]) -> bytes:
    """One photo as a serialized tf.Example.

    Args:
        ids: for the photo and the mirrored photo an int array [M], the highest maximum first.
        above: for each a bool array [h, w, M], alpha0 > threshold; the mirrored photo's as that shows it.
    """
    both = np.stack([np.moveaxis(maps, 2, 0) for maps in above])  # [2, M, h, w]
    dtype = "<u2" if np.max(ids, initial=0) < _WIDE else "<u4"
    bits = np.packbits(both.reshape(*both.shape[:2], both.shape[2] * both.shape[3]), axis=2)
    features = {
        IDS: tf.train.Feature(bytes_list=tf.train.BytesList(value=[np.asarray(ids, dtype).tobytes()])),
        BITS: tf.train.Feature(bytes_list=tf.train.BytesList(value=[bits.tobytes()])),
        SHAPE: tf.train.Feature(int64_list=tf.train.Int64List(value=both.shape[2:])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def parse(serialized: tf.Tensor, flipped: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Reads what is stored of the photo or of the mirrored photo.

    Args:
        serialized: string [].
        flipped: bool [].

    Returns:
        ids int32 [M], packed maps uint8 [M, ceil(h w / 8)], and (h, w) int32 [2].
    """
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (IDS, BITS)}
    spec[SHAPE] = tf.io.FixedLenFeature([2], tf.int64)
    record = tf.io.parse_single_example(serialized, spec)
    shape = tf.cast(record[SHAPE], tf.int32)
    width = (shape[0] * shape[1] + 7) // 8
    bits = tf.reshape(tf.io.decode_raw(record[BITS], tf.uint8), tf.stack([2, -1, width]))
    count, flip = tf.shape(bits)[1], tf.cast(flipped, tf.int32)

    def numbers(dtype: tf.DType) -> tf.Tensor:
        return tf.cast(tf.io.decode_raw(record[IDS], dtype), tf.int32)

    wide = tf.strings.length(record[IDS]) == 8 * count
    ids = tf.cond(wide, lambda: numbers(tf.int32), lambda: numbers(tf.uint16))
    return tf.reshape(ids, [2, count])[flip], bits[flip], shape


def targets(
    serialized: tf.Tensor,
    flipped: tf.Tensor,
    window: tf.Tensor,
    annotated: tf.Tensor,
    n: int,
    grid: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Psi_N and its binary maps, of a photo as it is seen.

    Args:
        serialized: teacher record, string [].
        flipped: bool [], whether the photo is mirrored.
        window: float32 [4], the part that is seen, (ymin, xmin, ymax, xmax) in 0..1 of the photo as mirrored.
        annotated: int32 [A], concepts that do not enter.
        n: N of Eqn. 2.
        grid: rows and columns of the student's maps.

    Returns:
        int32 [k] concepts, the highest maximum first, k at most n and 0 when none is left; bool [grid, grid,
        k]: each cell of the part that is seen takes the teacher's cell that holds its centre.
    """
    ids, bits, shape = parse(serialized, flipped)
    barred = tf.reduce_any(ids[:, tf.newaxis] == annotated, axis=1)
    places = tf.where(~barred)[:n, 0]
    packed = tf.gather(bits, places)
    rows, columns = (_nearest(window[side], window[side + 2], shape[side], grid) for side in (0, 1))
    cells = tf.reshape(rows[:, tf.newaxis] * shape[1] + columns, [-1])  # [grid * grid]
    shift = tf.cast(7 - cells % 8, tf.uint8)
    seen = tf.bitwise.right_shift(tf.gather(tf.transpose(packed), cells // 8), shift[:, tf.newaxis])
    maps = tf.cast(tf.bitwise.bitwise_and(seen, tf.constant(1, tf.uint8)), tf.bool)
    return tf.gather(ids, places), tf.reshape(maps, [grid, grid, tf.size(places)])


def _nearest(low: tf.Tensor, high: tf.Tensor, cells: tf.Tensor, size: int) -> tf.Tensor:
    """The cell that holds each of `size` centres between low and high of an axis: int32 [size]."""
    places = low + (tf.range(size, dtype=tf.float32) + 0.5) / size * (high - low)
    index = tf.cast(tf.floor(places * tf.cast(cells, tf.float32)), tf.int32)
    return tf.clip_by_value(index, 0, cells - 1)
