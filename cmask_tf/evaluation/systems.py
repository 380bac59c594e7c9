"""What can be scored: anything that answers a photo and the names of concepts with masks or maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Prediction:
    """What a system says of one concept in one photo of H x W pixels. None: it does not say.

    Attributes:
        name: the concept, as it was asked for.
        probability: float32 [H, W] in [0, 1]; the mask is where it is 0.5 or more (5.3).
        attention: float32 [H, W], the map before min-max at the photo's size (5.2).
        score: in [0, 1]: whether the concept is in the photo.
        present: the decision at the system's own threshold.
    """

    name: str
    probability: np.ndarray | None = None
    attention: np.ndarray | None = None
    score: float | None = None
    present: bool | None = None


class System(Protocol):
    """A row of a table."""

    def answers(self, name: str) -> bool:
        """Whether the system can be asked for a concept at all; a closed set knows its own only."""

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        """One prediction for each name, in their order.

        Args:
            path: of the photo, for systems that look their answers up.
            image: uint8 RGB [H, W, 3], as a person sees it.
            names: concepts that `answers` is true for.
        """
