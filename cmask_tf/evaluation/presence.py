"""Is the concept in the photo at all? Measured over every (photo, concept) pair (supplement 5).

A score that never sees the photo, a concept's training frequency, already has a high pooled ROC AUC.
So the AUC is taken per concept and then the mean (photo-blind: 0.5), and the pooled one stands beside
its photo-blind value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cmask_tf.evaluation.curves import ScoreTable
from cmask_tf.evaluation.examples import Pair
from cmask_tf.evaluation.reliability import Reliability


class Presence:
    """Running counts of pairs; their scores lie on disk."""

    def __init__(self, names: Sequence[str], photos: int, folder: Path):
        """Args:
        names: the K concepts.
        photos: how many photos there will be, P.
        folder: an empty one for the scores (9 bytes a pair); who made it removes it.
        """
        self._numbers = {name: number for number, name in enumerate(names)}
        self._table = ScoreTable(folder, len(names), photos)
        self._pairs = np.zeros((len(names), 2), np.int64)  # absent, present
        self._decided = np.zeros((len(names), 2, 2), np.int64)  # by truth, then by found
        self._area, self._shown = _Mean(), _Mean()
        self._reliability = Reliability()

    def add(self, photo: int, pair: Pair) -> None:
        """Counts a pair that is fully annotated; `photo` is its number, 0 to P - 1."""
        concept, truth = self._numbers[pair.concept], int(pair.truth)
        self._pairs[concept, truth] += 1
        if pair.score is not None:
            self._table.add(concept, photo, pair.score, pair.truth)
            self._reliability.add(pair.score, pair.truth)
        if pair.found is not None:
            self._decided[concept, truth, int(pair.found)] += 1
        if not pair.truth and pair.area is not None:
            self._area.add(pair.area)
            if pair.found is not None:
                self._shown.add(pair.area * pair.found)

    def figures(self, frequency: Mapping[str, float] | None = None) -> dict:
        """
        Args:
            frequency: how often each concept occurs in training, for the photo-blind AUC.

        Returns:
            `auc_macro` and `ap`: ROC AUC and average precision per concept, then the mean over the concepts
            that are present in some photos and absent in others. `auc_pooled`: over all pairs at once,
            `auc_pooled_photo_blind`: the same for `frequency`. `mcc`, `precision`, `recall`: of the
            decisions, over all pairs. `false_area`: mean share of the photo that masks of absent concepts
            cover; `false_area_shown`: the same, when a mask is shown only if its concept was found.
            `reliability`: as `Reliability.figures`. `pairs`, `pairs_present`; `concepts`: how many entered
            the means; `by_concept`: name -> {"auc", "ap", "mcc", "precision", "recall", "pairs",
            "pairs_present"}. None stands where there is nothing to measure, or the system does not say.
        """
        curves = {name: self._table.curves(number) for name, number in self._numbers.items()}
        mixed = [found for found in curves.values() if found]
        pooled = self._table.pooled() or {}
        return {
            "auc_macro": _mean([found["auc"] for found in mixed]),
            "auc_pooled": pooled.get("auc"),
            "auc_pooled_photo_blind": self._blind_auc(frequency),
            "ap": _mean([found["ap"] for found in mixed]),
            **_decisions(self._decided.sum(axis=0)),
            "false_area": self._area.value(),
            "false_area_shown": self._shown.value(),
            "reliability": self._reliability.figures(),
            "pairs": int(self._pairs.sum()),
            "pairs_present": int(self._pairs[:, 1].sum()),
            "concepts": len(mixed),
            "by_concept": {
                name: self._concept(number, curves[name]) for name, number in self._numbers.items()
            },
        }

    def _concept(self, number: int, curves: dict | None) -> dict:
        return {
            **(curves or {"auc": None, "ap": None}),
            **_decisions(self._decided[number]),
            "pairs": int(self._pairs[number].sum()),
            "pairs_present": int(self._pairs[number, 1]),
        }

    def _blind_auc(self, frequency: Mapping[str, float] | None) -> float | None:
        """As the AUC of scores: of all couples of a present and an absent pair, those in the right order."""
        absent, present = self._pairs.T
        if frequency is None or not absent.sum() or not present.sum():
            return None
        _, places = np.unique([frequency[name] for name in self._numbers], return_inverse=True)
        absent, present = (np.bincount(places, counts) for counts in (absent, present))
        won = present @ (np.cumsum(absent) - absent / 2)
        return float(won / (present.sum() * absent.sum()))


class _Mean:
    def __init__(self):
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        self._sum += value
        self._count += 1

    def value(self) -> float | None:
        return self._sum / self._count if self._count else None


def _decisions(counts: np.ndarray) -> dict[str, float | None]:
    """Matthews correlation, precision and recall of int [2, 2] pairs, by truth, then by decision. Where a
    denominator is 0 they are 0; None without a decision."""
    (quiet, false), (missed, hit) = counts.tolist()
    if not counts.sum():
        return dict.fromkeys(("mcc", "precision", "recall"))
    spread = (hit + false) * (hit + missed) * (quiet + false) * (quiet + missed)
    return {
        "mcc": (hit * quiet - false * missed) / math.sqrt(spread) if spread else 0.0,
        "precision": hit / (hit + false) if hit + false else 0.0,
        "recall": hit / (hit + missed) if hit + missed else 0.0,
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
