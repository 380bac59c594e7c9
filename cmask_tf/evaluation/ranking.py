"""Which photos to look at: the worst by mean IoU, the best, the median and those between."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_NAMES = ("worst", "lower quartile", "median", "upper quartile", "best")
_NUMBER = np.uint64(0xFFFFFFFF)


class Ranking:
    """The mean IoU of each photo, 8 bytes on disk: no list that grows with the photos is in memory."""

    def __init__(self, photos: int, folder: Path):
        """Args:
        photos: how many there will be at most, below 2^32.
        folder: for the file; who made it removes it.
        """
        self._keys = np.memmap(folder / "ranking", np.uint64, "w+", shape=(photos,))
        self._count = 0

    def add(self, number: int, iou: float) -> None:
        """A photo's number and its mean IoU, 0 to 1."""
        # The bits of floats that are not negative are in the floats' own order.
        bits = int(np.float32(iou).view(np.uint32))
        self._keys[self._count] = (bits << 32) | number
        self._count += 1

    def chosen(self) -> dict[int, str]:
        """Number of the photo -> title, the worst first; of equal photos the first comes first."""
        ranked = self._keys[: self._count]
        ranked.sort()
        found: dict[int, str] = {}
        for share, name in zip(np.linspace(0, 1, len(_NAMES)), _NAMES, strict=True):
            if self._count:
                key = ranked[round(share * (self._count - 1))]
                iou = np.uint32(key >> np.uint64(32)).view(np.float32)
                found.setdefault(int(key & _NUMBER), f"{name}, mean IoU {iou:.3f}")
        return found
