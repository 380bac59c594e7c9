"""Any saliency method's maps as a system that can be scored: a folder of gray pictures (Table 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cmask_tf.errors import UserError
from cmask_tf.evaluation.systems import Prediction
from cmask_tf.imageio import read_image

ENDINGS = (".png", ".jpg", ".jpeg")


class SaliencyMaps:
    """One map a photo, the answer to every name; it does not say whether a concept is there.

    The map of photo `a.jpg` is `a.png`, `a.jpg` or `a.jpeg`: gray, black for 0 and white for 1, of any size,
    of the photo as a person sees it (EXIF applied). It is enlarged bilinearly to the photo.
    """

    def __init__(self, folder: str | Path):
        """Lists the folder.

        Raises:
            UserError: no such folder, no maps in it, or two of one photo.
        """
        self._folder, self._files = Path(folder), {}
        if not self._folder.is_dir():
            raise UserError(f"{folder}: no such folder; expected one of saliency maps")
        for file in sorted(self._folder.iterdir()):
            if file.suffix.lower() in ENDINGS:
                if file.stem in self._files:
                    other = self._files[file.stem].name
                    raise UserError(f"{file}: a second map of one photo, beside {other}; expected one")
                self._files[file.stem] = file
        if not self._files:
            raise UserError(f"{folder}: no saliency maps; expected PNG or JPEG files named like the photos")

    def answers(self, name: str) -> bool:
        """Always."""
        return True

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        """The photo's map for each name.

        Raises:
            UserError: there is no map of this photo, or it cannot be read.
        """
        full = self._map(Path(path), image.shape[:2])
        for name in names:
            yield Prediction(name, full, full)

    def _map(self, path: Path, shape: tuple[int, int]) -> np.ndarray:
        """float32 [H, W] in [0, 1]."""
        file = self._files.get(path.stem)
        if file is None:
            raise UserError(
                f"{self._folder}: no saliency map of {path}; expected {path.stem}.png or {path.stem}.jpg"
            )
        gray = np.asarray(Image.fromarray(read_image(file)).convert("L"), np.float32) / 255
        return cv2.resize(gray, shape[::-1], interpolation=cv2.INTER_LINEAR)
