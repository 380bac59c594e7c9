"""Which photos a figure shows: a rule on examples.csv decides, never a person, and never the best ones.

Pairs of photo and concept are ranked by the IoU of our masks; what is shown lies at fixed shares of that
ranking. Equal IoUs are ordered by photo and concept, so that the choice is the same every time.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmask_tf.errors import UserError

QUARTILES = (0.25, 0.5, 0.75)
SPREAD = (0.1, 0.25, 0.5, 0.75, 0.9)
EXTREMES = 3  # photos with the highest and the lowest scores that are kept of each concept
_NEEDED = ("photo", "concept", "level", "kind", "truth", "iou", "area", "score")


@dataclass(frozen=True)
class Pair:
    """A concept that a photo shows, and how well it was segmented.

    Attributes:
        photo: path relative to the folder of photos.
        iou: of our mask, 0 to 1.
        area: of our mask, the share of the photo.
    """

    photo: str
    concept: str
    level: str
    kind: str
    iou: float
    area: float


@dataclass(frozen=True)
class Scored:
    """A photo with its score for a concept, and whether the concept is in it; None: nobody says."""

    photo: str
    score: float
    there: bool | None


@dataclass(frozen=True)
class Examples:
    """What the figures need of an examples.csv.

    Attributes:
        pairs: of photos and the concepts that they show.
        highest: concept -> the `EXTREMES` photos with the highest scores, the highest first.
        lowest: the same with the lowest scores, the lowest last.
    """

    pairs: list[Pair]
    highest: dict[str, list[Scored]]
    lowest: dict[str, list[Scored]]


def read_examples(file: Path) -> Examples:
    """Reads the file once, line by line.

    Args:
        file: examples.csv of our system.

    Raises:
        UserError: no such file, or a line that is not as it should be.
    """
    pairs: list[Pair] = []
    highest: dict[str, list[Scored]] = defaultdict(list)
    lowest: dict[str, list[Scored]] = defaultdict(list)
    for line, row in _rows(file):
        photo, concept = row["photo"], row["concept"]
        try:
            there = {"1": True, "0": False}.get(row["truth"])
            if there and row["iou"]:
                numbers = float(row["iou"]), float(row["area"] or 0)
                pairs.append(Pair(photo, concept, row["level"], row["kind"], *numbers))
            if row["score"]:
                scored = Scored(photo, float(row["score"]), there)
                for kept, sign in ((highest, -1), (lowest, 1)):
                    _keep(kept[concept], scored, sign)
        except ValueError as error:
            raise UserError(f"{file}: line {line}: expected numbers ({error})") from None
    return Examples(pairs, dict(highest), {name: kept[::-1] for name, kept in lowest.items()})


def _keep(kept: list[Scored], new: Scored, sign: int) -> None:
    if len(kept) < EXTREMES or sign * new.score < sign * kept[-1].score:
        kept.append(new)
        kept.sort(key=lambda one: (sign * one.score, one.photo))
        del kept[EXTREMES:]


def measures(file: Path, measure: str, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """One measure of some (photo, concept) pairs of an examples.csv; pairs that have none are left out."""
    found = ((row["photo"], row["concept"], row.get(measure)) for _, row in _rows(file))
    return {(p, c): float(value) for p, c, value in found if (p, c) in wanted and value}


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with open(file, encoding="utf-8", newline="") as lines:
            rows = csv.DictReader(lines)
            missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
            if missing:
                raise UserError(f"{file}: expected a column {missing[0]}, as `cmask evaluate` writes it")
            for row in rows:
                yield rows.line_num, row
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); expected what `cmask evaluate` writes") from None


def at_shares(pairs: Iterable[Pair], shares: Sequence[float]) -> list[tuple[float, Pair]]:
    """The pairs at some shares of the ranking by IoU, 0 the worst, 1 the best; each pair once."""
    ranked = sorted(pairs, key=lambda pair: (pair.iou, pair.photo, pair.concept))
    found: dict[Pair, float] = {}
    for share in shares:
        if ranked:
            found.setdefault(ranked[round(share * (len(ranked) - 1))], share)
    return [(share, pair) for pair, share in found.items()]


def worst(pairs: Iterable[Pair], count: int) -> list[Pair]:
    """The lowest IoUs, each concept and each photo once; among equal ones those with the largest mask."""
    found: list[Pair] = []
    for pair in sorted(pairs, key=lambda pair: (pair.iou, -pair.area, pair.photo, pair.concept)):
        if all(pair.concept != other.concept and pair.photo != other.photo for other in found):
            found.append(pair)
        if len(found) == count:
            break
    return found


def spread_concepts(pairs: Iterable[Pair], count: int) -> list[str]:
    """Concepts at the middles of `count` equal parts of the ranking by mean IoU, the worst first."""
    of_concept: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        of_concept[pair.concept].append(pair.iou)
    ranked = sorted(of_concept, key=lambda name: (sum(of_concept[name]) / len(of_concept[name]), name))
    count = min(count, len(ranked))
    return [ranked[int((part + 0.5) * len(ranked) / count)] for part in range(count)]
