"""COCO's run lengths, checked before pycocotools sees them: it reads past the end of a broken string.

Runs go down the columns and begin with zeros. A compressed string holds each count in groups of five bits,
least significant first, as the difference to the count two before it.
"""

from __future__ import annotations

from math import isfinite

import numpy as np
from pycocotools import mask as rle

from cmask_tf.data.fields import is_pixels, shown
from cmask_tf.faults import BadRecord

_POLYGON = "a polygon is a list [x1, y1, x2, y2, ...]"
_NUMBERS = {int, float}
_GROUPS = 7  # of five bits: more than a count below 2^32 takes
_REACH = 4  # a polygon's corner may lie this many sides outside the photo


def from_rle(shape: dict, height: int, width: int, where: str) -> bytes | None:
    """The compressed counts of an RLE, of either form; None when no pixel is set.

    Raises:
        BadRecord: of another size than the photo, or not counts of all its pixels.
    """
    if shape.get("size") != [height, width]:
        size = shown(shape.get("size"))
        raise BadRecord("RLE of another size than the image", where, f"{size}, not [{height}, {width}]")
    counts = shape.get("counts")
    if isinstance(counts, list):
        whole = all(type(count) is int and 0 <= count <= height * width for count in counts)
        values = np.array(counts if whole else [-1], np.int64)
    elif isinstance(counts, str) and counts:
        values = _unpacked(counts)
    else:
        raise BadRecord("an RLE's counts are a list or a string", where, shown(counts))
    if values is None:
        raise BadRecord("broken RLE", where, shown(counts))
    # One by one first: a sum could come out right by accident.
    if (values < 0).any() or (values > height * width).any() or values.sum() != height * width:
        raise BadRecord("the RLE's counts are not all pixels of the image", where, f"{height * width} pixels")
    if not values[1::2].any():
        return None
    if isinstance(counts, str):
        return counts.encode("ascii")
    return rle.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"]


def _unpacked(text: str) -> np.ndarray | None:
    """The counts of a compressed string, int64; None when it is none."""
    if not text.isascii():
        return None
    codes = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _GROUPS:
        return None
    group = np.arange(len(codes)) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 31) << 5 * group, starts)
    values -= np.where(codes[ends] & 16, 1 << 5 * lengths, 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def from_polygons(rings: list, height: int, width: int, where: str) -> bytes | None:
    """The compressed counts of polygons in px, several being one mask; None when they cover no pixel.

    Raises:
        BadRecord: a ring that is no list of corners, or far outside the photo.
    """
    for ring in rings:
        if not (isinstance(ring, list) and len(ring) % 2 == 0 and _NUMBERS.issuperset(map(type, ring))):
            raise BadRecord(_POLYGON, where, shown(ring))
        # pycocotools takes memory by the length of a polygon's edges.
        for corners, side in ((ring[0::2], width), (ring[1::2], height)):
            if corners and not -_REACH * side <= min(corners) <= max(corners) <= (_REACH + 1) * side:
                far = "polygon far outside of the image" if all(map(is_pixels, ring)) else _POLYGON
                raise BadRecord(far, where, shown(ring))
        if not isfinite(sum(ring)):  # min and max may not see what is not a number
            raise BadRecord(_POLYGON, where, shown(ring))
    # pycocotools takes four numbers for a box: what has no three corners is no polygon.
    rings = [ring for ring in rings if len(ring) >= 6]
    if not rings:
        return None
    mask = rle.merge(rle.frPyObjects(rings, height, width))
    return mask["counts"] if rle.area(mask) else None


def bounds(counts: bytes, height: int, width: int) -> list[float]:
    """[x, y, width, height] in px of the pixels that are set."""
    return rle.toBbox({"size": [height, width], "counts": counts}).tolist()
