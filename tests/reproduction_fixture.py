"""Hand-made scores, and a reproduction's folder that holds them."""

import csv
import json
from pathlib import Path

from cmask_tf import config
from cmask_tf.reproduce.plan import Request

MEASURES = ("precision", "recall", "iou", "boundary_iou", "pointing_game", "soft_iou")
COLUMNS = ("photo", "concept", "level", "kind", "truth", *MEASURES, "area", "score", "found")


def group(concepts: int = 2, **measures: float) -> dict:
    """A level or kind of metrics.json; measures that are not named are those of no answer."""
    return {**dict.fromkeys(MEASURES), **measures, "concepts": concepts, "examples": 10 * concepts}


def metrics(**levels: dict) -> dict:
    """metrics.json of one system."""
    return {
        "levels": levels,
        "kinds": {},
        "concepts": {},
        "presence": {},
        "semantic": None,
        "photos": 5,
        "minimum_photos": 3,
    }


def of_masks(mask: float, box: float = 0.3, image: float = 0.2, zero: float = 0.1) -> dict:
    """metrics.json of a system with these IoUs; precision is 0.1 more, recall 0.2 more."""
    levels = {"mask": mask, "box": box, "image": image, "zero": zero}
    return metrics(
        **{
            level: group(precision=iou + 0.1, recall=iou + 0.2, iou=iou, boundary_iou=iou / 2)
            for level, iou in levels.items()
        }
    )


def of_maps(pointing_game: float, soft_iou: float) -> dict:
    """metrics.json of a system with attention alone."""
    return metrics(
        mask=group(2, pointing_game=pointing_game, soft_iou=soft_iou),
        box=group(2, pointing_game=pointing_game, soft_iou=soft_iou),
    )


def all_systems(shift: float = 0.0) -> dict[str, dict]:
    """Every system of a reproduction; the paper's orderings hold."""
    return {
        "Ours": of_masks(0.5 + shift),
        "Ours-noNeg": of_masks(0.4, 0.2, 0.1),
        "Ours-singleAtt": of_masks(0.45, 0.25, 0.15),
        "Saliency-DSS": of_masks(0.2, 0.15, 0.1, 0.05),
        "Closed-set": of_masks(0.6),
        "whole-image": of_masks(0.1, 0.1, 0.1, 0.1),
        "position-prior": of_masks(0.15),
        "GrabCut": of_masks(0.12),
        "Original": of_maps(0.3, 0.1),
        "Original-Finetuned": of_maps(0.4, 0.2),
        "Refined-noNeg": of_maps(0.6, 0.3),
        "Refined": of_maps(0.7 + shift, 0.4),
    }


def write_scores(folder: Path, systems: dict[str, dict], rows=()) -> None:
    """SEED/scores of these systems; `rows` of every examples.csv are (level, truth, found)."""
    for system, figures in systems.items():
        place = folder / "scores" / system
        place.mkdir(parents=True)
        (place / "metrics.json").write_text(json.dumps(figures))
        with (place / "examples.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, restval="")
            table.writeheader()
            for level, truth, found in rows:
                table.writerow({"level": level, "truth": truth, "found": found})


def request(folder: Path, seeds=(0, 1)) -> Request:
    return Request(folder / "data", folder / "out", config.tiny(), seeds)
