"""A floor that looks at the photo and not at the concept: GrabCut from the centre."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cmask_tf.evaluation.pseudo_masks import grabcut
from cmask_tf.evaluation.systems import Prediction

SHARE = 0.8  # of each side of the photo, the rectangle in its centre; what is outside is background
LONG_SIDE = 256  # px of the photo that GrabCut works on


class CentreGrabCut:
    """OpenCV's GrabCut, seeded by a centred rectangle: a System (`evaluation/systems.py`).

    The mask is the same for every concept. It says nothing of presence, and the same photo always gives the
    same mask.
    """

    def __init__(self):
        self._last: tuple[Path | None, np.ndarray | None] = None, None

    def answers(self, name: str) -> bool:
        """Any concept."""
        return True

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        """The photo's one mask, worked out once however often it is asked for in a row."""
        if self._last[0] != path:
            height, width = image.shape[:2]
            left, top = (round(side * (1 - SHARE) / 2) for side in (width, height))
            box = (left, top, width - 2 * left, height - 2 * top)
            self._last = path, grabcut(image, [box], long_side=LONG_SIDE).astype(np.float32)
        for name in names:
            yield Prediction(name, self._last[1])
