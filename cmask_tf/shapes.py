"""A mask in forms that other programs read: run lengths, polygons, a cut-out, a PNG of classes."""

from __future__ import annotations

import numpy as np

SIMPLER = 0.35  # pixels that an outline may be off when it is made simpler; a cut corner (0.354) stays
NOTHING = 0  # the class of a pixel that no concept has
MOST_CLASSES = 255


def rle(mask: np.ndarray) -> dict:
    """COCO's compressed run lengths of bool [H, W], as `annotations` hold them: {"size", "counts"}."""
    runs = _encode(mask)
    return {"size": runs["size"], "counts": runs["counts"].decode("ascii")}


def box(mask: np.ndarray) -> list[float]:
    """[x, y, width, height] in pixels of what is set in bool [H, W]; zeros where nothing is."""
    from pycocotools import mask as coco

    return coco.toBbox(_encode(mask)).tolist()


def polygons(mask: np.ndarray) -> list[list[list[list[float]]]]:
    """The outlines of bool [H, W] as GeoJSON's MultiPolygon has its coordinates.

    Returns:
        polygons, each a list of rings, the outer one first and its holes after it; a ring is a closed list of
        [x, y] in pixels from the upper left corner of the picture, the first corner again at the end.
    """
    import cv2
    from contourpy import FillType, contour_generator

    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return []
    top, left = rows[0], columns[0]
    # A frame of nothing closes outlines that run along the edge of the picture.
    part = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.float32), 1)
    lines = contour_generator(z=part, fill_type=FillType.OuterOffset).filled(0.5, 2.0)
    shift = (left - 0.5, top - 0.5)  # the frame's first pixel has its centre half a pixel before the part
    found = []
    for corners, offsets in zip(*lines, strict=True):
        rings = []
        for start, end in zip(offsets[:-1], offsets[1:], strict=True):
            line = (corners[start : end - 1] + shift).astype(np.float32)  # the last corner is the first
            simple = cv2.approxPolyDP(line[:, np.newaxis], SIMPLER, closed=True)[:, 0]
            line = simple if len(simple) >= 3 else line  # a few pixels: they have no simpler outline
            rings.append(np.round(np.concatenate([line, line[:1]]).astype(np.float64), 2).tolist())
        found.append(rings)
    return found


def cut_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The photo uint8 RGB [H, W, 3] inside the mask bool [H, W], nothing outside: uint8 RGBA [H, W, 4]."""
    alpha = np.where(mask, 255, 0).astype(np.uint8)
    return np.dstack([np.where(mask[..., np.newaxis], image, 0).astype(np.uint8), alpha])


def palette() -> np.ndarray:
    """256 colours, uint8 RGB [256, 3], black first: those of PASCAL VOC, which label tools know."""
    codes = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for level in range(8):
        for channel in range(3):
            colours[:, channel] |= ((codes >> (3 * level + channel) & 1) << (7 - level)).astype(np.uint8)
    return colours


class Classes:
    """A picture of classes, made of one concept after another: of those at a pixel the likeliest has it."""

    def __init__(self, height: int, width: int):
        self.numbers = np.full((height, width), NOTHING, np.uint8)
        self._best = np.zeros((height, width), np.float32)

    def add(self, number: int, probability: np.ndarray, mask: np.ndarray) -> None:
        """Takes up a concept.

        Args:
            number: of its class, 1 to 255.
            probability: float32 [H, W].
            mask: bool [H, W], where the concept may be at all.
        """
        better = mask & (probability > self._best)
        self.numbers[better] = number
        np.copyto(self._best, probability, where=better)


def _encode(mask: np.ndarray) -> dict:
    # The overlay and the masks need no pycocotools.
    from pycocotools import mask as coco

    return coco.encode(np.asfortranarray(mask, np.uint8))
