"""The sheet that a scene is painted on, with a label for every pixel.

Everything is painted twice as large as the photo, and each painted polygon is a *piece* with its set of
concepts. The label of a pixel is the piece painted there last, so the mask of a concept is exact and
respects occlusion: the pixels whose piece has the concept.
"""

from __future__ import annotations

import cv2
import numpy as np

SCALE = 2  # canvas pixels per photo pixel
Region = tuple[slice, slice]  # rows and columns of the canvas
_SHIFT = 4  # fractional bits of the polygon's corners


class Canvas:
    """A picture under construction.

    Attributes:
        image: float32 RGB [SCALE * height, SCALE * width, 3], 0 to 255 and above for what shines.
        labels: int16 [SCALE * height, SCALE * width], indices into `pieces`.
        pieces: the concepts of each piece; piece 0 has none.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self.image = np.zeros((SCALE * height, SCALE * width, 3), np.float32)
        self.labels = np.zeros((SCALE * height, SCALE * width), np.int16)
        self.pieces: list[frozenset[str]] = [frozenset()]

    def piece(self, *concepts: str) -> int:
        """Opens a piece with these concepts and returns its label."""
        self.pieces.append(frozenset(concepts))
        return len(self.pieces) - 1

    def region(self, outlines: list[np.ndarray]) -> Region | None:
        """The canvas rectangle that holds the outlines (photo pixels), or None when it lies outside."""
        points = np.concatenate(outlines) * SCALE
        left, top = np.maximum(np.floor(points.min(0)).astype(int) - 1, 0)
        right, bottom = np.minimum(
            np.ceil(points.max(0)).astype(int) + 2, (self.image.shape[1], self.image.shape[0])
        )
        return (slice(top, bottom), slice(left, right)) if right > left and bottom > top else None

    def inside(self, outline: np.ndarray, region: Region) -> np.ndarray:
        """uint8 [h, w]: 1 where the canvas region lies inside the outline (photo pixels)."""
        rows, columns = region
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        points = (outline * SCALE - (columns.start, rows.start)) * (1 << _SHIFT)
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1, shift=_SHIFT)
        return mask

    def fill(self, outline: np.ndarray, paint: np.ndarray, label: int, edge: float = 1.0) -> None:
        """Paints a polygon.

        Args:
            outline: float32 [N, 2], (x, y) in photo pixels.
            paint: float32 [3], or a sheet of the canvas's size of which the polygon shows a part.
            label: the piece that the pixels belong to from now on.
            edge: the factor by which the polygon's rim is darker.
        """
        region = self.region([outline])
        if region is None:
            return
        self.stamp(
            self.inside(outline, region),
            region,
            paint[region] if paint.ndim == 3 else paint,
            label,
            outline,
            edge,
        )

    def stamp(
        self,
        mask: np.ndarray,
        region: Region,
        paint: np.ndarray,
        label: int,
        outline: np.ndarray | None = None,
        edge: float = 1.0,
    ) -> None:
        """Paints where `mask` (uint8 [h, w], the region's size) is set; `paint` is [3] or [h, w, 3]."""
        image = self.image[region]
        where = mask.astype(bool)
        np.copyto(image, paint, where=where[..., None])
        self.labels[region][where] = label
        if edge < 1.0 and outline is not None:
            rim = np.zeros_like(mask)
            points = (outline * SCALE - (region[1].start, region[0].start)) * (1 << _SHIFT)
            cv2.polylines(rim, [np.round(points).astype(np.int32)], True, 1, 2, shift=_SHIFT)
            image[(rim & mask).astype(bool)] *= edge

    def darken(self, outline: np.ndarray, factor: float) -> None:
        """Casts a shadow: scales the colours inside the outline and leaves the labels alone."""
        region = self.region([outline])
        if region is not None:
            soft = cv2.blur(self.inside(outline, region).astype(np.float32), (5, 5))
            self.image[region] *= (1 - (1 - factor) * soft)[..., None]

    def lines(self, lines: list[np.ndarray], strength: float) -> None:
        """Draws thin light lines (motion, rain) over the picture; the labels stay."""
        for line in lines:
            region = self.region([line])
            if region is not None:
                rim = np.zeros(self.labels[region].shape, np.uint8)
                points = (line * SCALE - (region[1].start, region[0].start)).round().astype(np.int32)
                cv2.polylines(rim, [points], False, 255, 2, cv2.LINE_AA)
                part = self.image[region]
                part += (rim * np.float32(strength / 255))[..., None] * (250 - part)

    def photo(self) -> np.ndarray:
        """The picture at its own size, float32 RGB [height, width, 3]."""
        return cv2.resize(self.image, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def label_map(self) -> np.ndarray:
        """The labels at the picture's size, int16 [height, width]."""
        return self.labels[1::SCALE, 1::SCALE].copy()
