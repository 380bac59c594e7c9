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
    """Running counts of pixels by concept: true, predicted and right ones."""

    def __init__(self, names: Sequence[str]):
        """Args:
        names: the concepts, fewer than 65,536.
        """
        self._numbers = {name: number for number, name in enumerate(names, BACKGROUND + 1)}
        self._right, self._true, self._predicted = np.zeros((3, len(names) + 1), np.int64)  # pixels
        self._pixels = self._ignored = 0
        self._answered = False

    def start(self, shape: tuple[int, int]) -> None:
        """A new photo of (H, W) pixels."""
        self._best = np.zeros(shape, np.float32)
        self._labels = np.full(shape, BACKGROUND, np.uint16)
        self._given: list[int] = []

    def add(self, name: str, probability: np.ndarray, present: bool | None) -> None:
        """A concept's probabilities, float [H, W]; not `present`: it labels nothing."""
        self._answered = True
        if present is False:
            return
        better = (probability >= 0.5) & (probability > self._best)
        if better.any():
            np.maximum(self._best, probability, out=self._best, casting="same_kind")
            np.putmask(self._labels, better, self._numbers[name])
            self._given.append(self._numbers[name])

    def finish(self, truths: Mapping[str, np.ndarray]) -> None:
        """Counts the photo against its true masks, bool [H, W] by name; other names are background."""
        known = {self._numbers[name]: mask for name, mask in truths.items() if name in self._numbers}
        covered, twice = np.zeros((2, *self._labels.shape), bool)
        for mask in known.values():
            twice |= covered & mask
            covered |= mask
        self._labels[twice] = BACKGROUND
        self._pixels += twice.size
        self._ignored += int(np.count_nonzero(twice))
        for number in self._given:
            self._predicted[number] += np.count_nonzero(self._labels == number)
        for number, mask in known.items():
            self._true[number] += np.count_nonzero(mask & ~twice)
            self._right[number] += np.count_nonzero((self._labels == number) & mask)

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
