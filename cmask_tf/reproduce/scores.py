"""What the scoring steps left: metrics.json of each seed and system, and verification from examples.csv."""

from __future__ import annotations

import csv
import json
from collections import Counter
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
        rows: of examples.csv; those without a decision are left out, and so are concepts of which no photo
            tells that they are absent.

    Returns:
        level, and "all" -> {"precision", "recall", "pairs"}; without any decision nothing.
    """
    of_concept: dict[tuple[str, str], Counter] = {}
    for row in rows:
        if row["found"] == "":
            continue
        counts = of_concept.setdefault((row["level"], row["concept"]), Counter())
        counts[row["truth"], row["found"]] += 1
    groups: dict[str, Counter] = {}
    for (level, _), counts in of_concept.items():
        unknown, absent = (counts[truth, "0"] + counts[truth, "1"] for truth in ("", "0"))
        if absent or not unknown:
            for group in (level, "all"):
                groups.setdefault(group, Counter()).update(counts)
    return {group: _precision_and_recall(counts) for group, counts in groups.items()}


def _precision_and_recall(counts: Counter) -> dict[str, float]:
    """Of pairs by (truth, found), each "0" or "1"."""
    hit, wrong, missed = counts["1", "1"], counts["0", "1"], counts["1", "0"]
    return {
        "precision": hit / (hit + wrong) if hit + wrong else 0.0,
        "recall": hit / (hit + missed) if hit + missed else 0.0,
        "pairs": hit + wrong + missed + counts["0", "0"],
    }


def _files(seed_dir: Path) -> list[Path]:
    return sorted((seed_dir / "scores").glob("*/metrics.json"))
