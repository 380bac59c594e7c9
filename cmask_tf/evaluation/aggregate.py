"""Means as the tables take them: photo -> concept -> level and kind (5.3, "mean over concepts").

A concept's figure is the mean over its photos; a level's is the mean over its concepts, of those with
at least `MINIMUM_PHOTOS` photos, so that one lucky photo is not a concept's whole weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cmask_tf.metrics import METRICS

MINIMUM_PHOTOS = 3
LEVELS = ("mask", "box", "image", "zero", "unknown")


class Means:
    """Running sums of the measures of each concept: as large for a million photos as for one."""

    def __init__(self):
        self._sums: dict[str, dict[str, float]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._examples: dict[str, int] = {}

    def add(self, concept: str, scores: Mapping[str, float]) -> None:
        """Counts one photo that holds a concept.

        Args:
            concept: its name.
            scores: those of METRICS that the system has an answer for.
        """
        sums = self._sums.setdefault(concept, dict.fromkeys(METRICS, 0.0))
        counts = self._counts.setdefault(concept, dict.fromkeys(METRICS, 0))
        self._examples[concept] = self._examples.get(concept, 0) + 1
        for metric, value in scores.items():
            sums[metric] += value
            counts[metric] += 1

    def by_concept(self, about: Mapping[str, Mapping[str, str]]) -> dict[str, dict]:
        """The mean over its photos, for each concept that has any.

        Args:
            about: name -> {"level", "kind"}.

        Returns:
            name -> {METRICS..., "examples", "level", "kind"}, in the order of `about`. A measure that no
            photo has is None.
        """
        return {
            name: {**self._means(name), "examples": self._examples[name], **about[name]}
            for name in about
            if name in self._examples
        }

    def _means(self, name: str) -> dict[str, float | None]:
        sums, counts = self._sums[name], self._counts[name]
        return {metric: sums[metric] / counts[metric] if counts[metric] else None for metric in METRICS}


def by_group(concepts: Mapping[str, Mapping], key: str, minimum: int = MINIMUM_PHOTOS) -> dict[str, dict]:
    """The mean over a level's or a kind's concepts.

    Args:
        concepts: what `Means.by_concept` returns.
        key: "level" or "kind".
        minimum: concepts with fewer photos are left out.

    Returns:
        group -> {METRICS..., "concepts", "examples"}; both count only what entered the mean.
    """
    members: dict[str, list[Mapping]] = {}
    for row in concepts.values():
        if row["examples"] >= minimum:
            members.setdefault(row[key], []).append(row)
    order = [level for level in LEVELS if level in members] if key == "level" else sorted(members)
    return {
        group: {
            **{metric: _mean([row[metric] for row in members[group]]) for metric in METRICS},
            "concepts": len(members[group]),
            "examples": sum(row["examples"] for row in members[group]),
        }
        for group in order
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
