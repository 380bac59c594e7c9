"""Means as the tables take them: photo -> concept -> level and kind (5.3, "mean over concepts").

A concept's figure is the mean over its photos; a level's is the mean over its concepts, of those with
at least `MINIMUM_PHOTOS` photos, so that one lucky photo is not a concept's whole weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmask_tf.metrics import METRICS

MINIMUM_PHOTOS = 3
LEVELS = ("mask", "box", "image", "zero")


@dataclass(frozen=True)
class Example:
    """One photo that holds a concept, and what the prediction is worth there."""

    photo: str
    concept: str
    scores: Mapping[str, float]  # by METRICS


def by_concept(examples: Iterable[Example], about: Mapping[str, Mapping[str, str]]) -> dict[str, dict]:
    """The mean over its photos, for each concept that has any.

    Args:
        examples: at most one for each (photo, concept).
        about: name -> {"level", "kind"}.

    Returns:
        name -> {METRICS..., "examples", "level", "kind"}, in the order of `about`.
    """
    rows: dict[str, list[list[float]]] = {}
    for example in examples:
        rows.setdefault(example.concept, []).append([example.scores[metric] for metric in METRICS])
    return {
        name: {**_means(rows[name]), "examples": len(rows[name]), **about[name]}
        for name in about
        if name in rows
    }


def by_group(concepts: Mapping[str, Mapping], key: str, minimum: int = MINIMUM_PHOTOS) -> dict[str, dict]:
    """The mean over a level's or a kind's concepts.

    Args:
        concepts: what `by_concept` returns.
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
            **_means([[row[metric] for metric in METRICS] for row in members[group]]),
            "concepts": len(members[group]),
            "examples": sum(row["examples"] for row in members[group]),
        }
        for group in order
    }


def _means(rows: Sequence[Sequence[float]]) -> dict[str, float]:
    return dict(zip(METRICS, np.mean(rows, axis=0).tolist(), strict=True))
