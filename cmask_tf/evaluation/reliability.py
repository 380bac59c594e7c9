"""Calibration: of the pairs with a score around 0.7, is the concept there in seven of ten?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

BINS = 10


class Reliability:
    """Counts of pairs by their score, in BINS equal bins of [0, 1]; 1 belongs to the last."""

    def __init__(self):
        self._pairs = np.zeros(BINS, np.int64)
        self._present = np.zeros(BINS, np.int64)
        self._scores = np.zeros(BINS)

    def add(self, score: float, truth: bool) -> None:
        """Counts a pair: its score, 0 to 1, and whether the concept is there."""
        place = min(int(score * BINS), BINS - 1)
        self._pairs[place] += 1
        self._present[place] += truth
        self._scores[place] += score

    def figures(self) -> dict:
        """
        Returns:
            {"ece", "bins"}: the expected calibration error, the mean over all pairs of the difference between
            their bin's mean score and its share of present ones (None without pairs); and for each bin
            {"low", "high", "pairs", "score", "present"}, the last two None where it is empty.
        """
        rows = [self._bin(place) for place in range(BINS)]
        full = [row for row in rows if row["pairs"]]
        total = sum(row["pairs"] for row in full)
        gaps = sum(row["pairs"] * abs(row["score"] - row["present"]) for row in full)
        return {"ece": gaps / total if total else None, "bins": rows}

    def _bin(self, place: int) -> dict:
        pairs = int(self._pairs[place])
        means = {"score": float(self._scores[place]), "present": float(self._present[place])}
        return {
            "low": place / BINS,
            "high": (place + 1) / BINS,
            "pairs": pairs,
            **{key: value / pairs if pairs else None for key, value in means.items()},
        }


def plot(reliability: Mapping, path: Path) -> None:
    """Draws what `figures` returns as a PNG: the share of present pairs over the score, and how many."""
    # 0.4 seconds that an evaluation without scores need not pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in reliability["bins"] if row["pairs"]]
    figure = Figure(figsize=(4.2, 5), layout="constrained")
    curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle="--", label="calibrated")
    scores, present = [row["score"] for row in rows], [row["present"] for row in rows]
    curve.plot(scores, present, marker="o", label=f"measured, error {reliability['ece']:.3f}")
    curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of pairs with the concept present")
    curve.legend(loc="upper left", frameon=False)
    places = [row["low"] for row in rows]
    counts.bar(places, [row["pairs"] for row in rows], 1 / BINS, align="edge", edgecolor="white")
    counts.set(xlabel="score", ylabel="pairs", yscale="log")
    FigureCanvasAgg(figure).print_png(path)
