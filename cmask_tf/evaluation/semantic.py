"""Semantic mIoU, "all concepts, argmax": a second view for data whose concepts exclude each other.

A pixel gets the concept of the largest probability among those that the system finds present, or none where
no probability reaches 0.5; the first of several equal ones. Pixels with two true concepts are ignored, and
their share tells how far the data is from exclusive labels. The mean is over concepts: background is
no class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

BACKGROUND = 0


class Semantic:
    """Running counts of pixels: K + 1 true ones, predicted ones and right ones."""

    def __init__(self, names: Sequence[str]):
        """Args:
        names: the K concepts.
        """
        self._numbers = {name: number for number, name in enumerate(names, BACKGROUND + 1)}
        self._right, self._true, self._predicted = np.zeros((3, len(names) + 1), np.int64)
        self._pixels = self._ignored = 0
        self._answered = False

    def start(self, shape: tuple[int, int]) -> None:
        """A new photo of (H, W) pixels."""
        self._best = np.zeros(shape, np.float32)
        self._labels = np.full(shape, BACKGROUND, np.int32)

    def add(self, name: str, probability: np.ndarray, present: bool | None) -> None:
        """A concept's probabilities, float [H, W]; not `present`: it labels nothing."""
        self._answered = True
        if present is not False:
            better = (probability >= 0.5) & (probability > self._best)
            self._best[better] = probability[better]
            self._labels[better] = self._numbers[name]

    def finish(self, truths: Mapping[str, np.ndarray]) -> None:
        """Counts the photo against its true masks, bool [H, W] by name; other names are background."""
        known = {name: mask for name, mask in truths.items() if name in self._numbers}
        labels = np.full(self._labels.shape, BACKGROUND, np.int32)
        covered = np.zeros(labels.shape, bool)
        twice = np.zeros(labels.shape, bool)
        for name, mask in known.items():
            twice |= covered & mask
            covered |= mask
            labels[mask] = self._numbers[name]
        self._pixels += labels.size
        self._ignored += int(np.count_nonzero(twice))
        true, predicted = labels[~twice], self._labels[~twice]
        for counts, values in (
            (self._true, true),
            (self._predicted, predicted),
            (self._right, true[true == predicted]),
        ):
            counts += np.bincount(values, minlength=len(counts))

    def figures(self) -> dict | None:
        """
        Returns:
            {"miou", "concepts", "ignored", "iou"}: the mean IoU over the concepts that some pixel has or was
            given, how many these are, the share of ignored pixels, and each concept's own. None when the
            system gives no probabilities.
        """
        if not self._answered:
            return None
        either = self._true + self._predicted - self._right
        iou = {
            name: float(self._right[number] / either[number])
            for name, number in self._numbers.items()
            if either[number]
        }
        mean = float(np.mean(list(iou.values()))) if iou else None
        ignored = self._ignored / self._pixels
        return {"miou": mean, "concepts": len(iou), "ignored": ignored, "iou": iou}
