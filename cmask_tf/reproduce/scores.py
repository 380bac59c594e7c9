"""What the scoring steps left: metrics.json of each seed and system, and verification from examples.csv."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from cmask_tf.reproduce.plan import Request


def read_scores(request: Request) -> dict[int, dict[str, dict]]:
    """{seed: {system: metrics.json}} with `verification` added, in a fixed order."""
    return {
        seed: {file.parent.name: read_one(file.parent) for file in _files(request.seed_dir(seed))}
        for seed in request.seeds
    }


def read_one(folder: Path) -> dict:
    """metrics.json of one scored system, with `verification`: see `verified`."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    with (folder / "examples.csv").open(encoding="utf-8", newline="") as file:
        return metrics | {"verification": verified(csv.DictReader(file))}


def verified(rows: Iterable[Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """Precision and recall of "the concept is there" (supplement 5), pooled over pairs.

    Args:
        rows: of examples.csv; those without a decision are left out.

    Returns:
        level, and "all" -> {"precision", "recall", "pairs"}; without any decision nothing.
    """
    counts: dict[str, list[int]] = {}  # pairs, present, found, both
    for row in rows:
        if row["found"] == "":
            continue
        truth, found = int(row["truth"]), int(row["found"])
        for group in (row["level"], "all"):
            sums = counts.setdefault(group, [0, 0, 0, 0])
            for place, value in enumerate((1, truth, found, truth * found)):
                sums[place] += value
    return {
        group: {
            "precision": both / found if found else 0.0,
            "recall": both / present if present else 0.0,
            "pairs": pairs,
        }
        for group, (pairs, present, found, both) in counts.items()
    }


def _files(seed_dir: Path) -> list[Path]:
    return sorted((seed_dir / "scores").glob("*/metrics.json"))
