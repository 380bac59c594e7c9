"""ROC AUC and average precision, exact, with the scores on disk: memory does not grow with their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_CHUNK = 1 << 13  # scores in memory at a time
_ABSENT, _PRESENT, _UNSCORED = 0, 1, 2


class ScoreTable:
    """The scores of K concepts in P photos, and which of them are present: 9 bytes a pair, on disk."""

    def __init__(self, folder: Path, concepts: int, photos: int):
        """Args:
        folder: for the files; who made it removes it.
        concepts: K.
        photos: P.
        """
        self._folder, shape = folder, (concepts, photos)
        self._scores = np.memmap(folder / "scores", np.float64, "w+", shape=shape)
        self._truth = np.memmap(folder / "truth", np.uint8, "w+", shape=shape)
        self._truth[:] = _UNSCORED
        self._counts = np.zeros((concepts, 2), np.int64)  # absent, present

    def add(self, concept: int, photo: int, score: float, truth: bool) -> None:
        """Stores the score of a pair."""
        self._scores[concept, photo], self._truth[concept, photo] = score, truth
        self._counts[concept, int(truth)] += 1

    def curves(self, concept: int) -> dict[str, float] | None:
        """{"auc", "ap"} of one concept's pairs; None where all of them are present, or all absent."""
        return _curves(*(self._sorted([concept], side) for side in (_PRESENT, _ABSENT)))

    def pooled(self) -> dict[str, float] | None:
        """The same of all pairs at once."""
        everything = list(range(len(self._scores)))
        return _curves(*(self._sorted(everything, side) for side in (_PRESENT, _ABSENT)))

    def _sorted(self, concepts, side: int) -> np.ndarray | None:
        """The scores of some concepts' pairs of one side, ascending; sorted where they lie, on disk."""
        total = int(self._counts[concepts, side].sum())
        if not total:
            return None
        path = self._folder / f"side-{side}"
        values, start = np.memmap(path, np.float64, "w+", shape=(total,)), 0
        for k in concepts:
            for low in range(0, self._scores.shape[1], _CHUNK):
                part = slice(low, low + _CHUNK)
                chosen = self._scores[k, part][self._truth[k, part] == side]
                values[start : start + len(chosen)] = chosen
                start += len(chosen)
        values.sort()
        return values


def _curves(present: np.ndarray | None, absent: np.ndarray | None) -> dict[str, float] | None:
    """From both sides' scores, ascending.

    AUC: the share of (present, absent) couples of pairs where the present one has the higher score, equal
    ones half. Average precision: the mean, over the present pairs, of the precision when everything with
    their score or a higher one is said to be present.
    """
    if present is None or absent is None:
        return None
    won = precision = 0.0
    for low in range(0, len(present), _CHUNK):
        scores = present[low : low + _CHUNK]
        below, not_above = (np.searchsorted(absent, scores, side) for side in ("left", "right"))
        won += float(np.sum(below + not_above)) / 2
        right = len(present) - np.searchsorted(present, scores, "left")
        precision += float(np.sum(right / (right + len(absent) - below)))
    return {"auc": won / (len(present) * len(absent)), "ap": precision / len(present)}
