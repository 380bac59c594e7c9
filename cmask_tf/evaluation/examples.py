"""`examples.csv`: one row for each (photo, concept) pair, from which every mean can be worked out again."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from cmask_tf.metrics import METRICS

COLUMNS = ("photo", "concept", "level", "kind", "truth", *METRICS, "area", "score", "found")


@dataclass(frozen=True)
class Pair:
    """One photo and one concept.

    Attributes:
        concept: its name.
        truth: whether it is there; None: the annotations do not tell.
        scores: METRICS -> value, of those that are defined: none where it is absent.
        area: the share of the photo that the mask covers, or None.
        score: of presence, 0 to 1, or None.
        found: the decision, or None.
    """

    concept: str
    truth: bool | None
    scores: Mapping[str, float] = field(default_factory=dict)
    area: float | None = None
    score: float | None = None
    found: bool | None = None


class ExampleFile:
    """Writes pairs as they come."""

    def __init__(self, file: TextIO, about: Mapping[str, Mapping[str, str]]):
        """Args:
        file: open for text, newline="".
        about: name -> {"level", "kind"}.
        """
        self._about = about
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def add(self, photo: Path, pair: Pair) -> None:
        """Writes a row; what is not defined is an empty field, a float is written so that it reads back."""
        about = self._about[pair.concept]
        scores = [pair.scores.get(metric) for metric in METRICS]
        truth, found = (None if said is None else int(said) for said in (pair.truth, pair.found))
        row = [photo.as_posix(), pair.concept, about["level"], about["kind"], truth]
        self._writer.writerow([*row, *scores, pair.area, pair.score, found])
