"""`metrics.json`, a readable `report.md`, its plot and the pictures of a few photos."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cmask_tf.errors import UserError
from cmask_tf.evaluation import reliability
from cmask_tf.imageio import write_overlay

RELIABILITY = "reliability.png"
MOST_CONCEPTS = 5  # in one picture, the largest ones
MEASURES = {
    "precision": "precision",
    "recall": "recall",
    "iou": "IoU",
    "boundary_iou": "boundary IoU",
    "pointing_game": "pointing game",
    "soft_iou": "soft IoU",
}
PRESENCE = {
    "auc_macro": "ROC AUC per concept, mean (photo-blind: .5)",
    "auc_pooled": "ROC AUC, all pairs pooled",
    "auc_pooled_photo_blind": "the same for a score that never sees the photo (training frequency)",
    "ap": "average precision per concept, mean",
    "mcc": "Matthews correlation at the stored thresholds",
    "precision": "precision at the stored thresholds",
    "recall": "recall at the stored thresholds",
    "false_area": "share of the photo under an absent concept's mask, whatever its score",
    "false_area_shown": "the same, masks shown only where the score says present",
}


@dataclass(frozen=True)
class Panel:
    """A concept's mask bool [H, W] in a photo, what the system says of its presence, and the true mask."""

    name: str
    mask: np.ndarray
    score: float | None
    present: bool | None
    truth: np.ndarray


@dataclass(frozen=True)
class Picture:
    """One photo to look at."""

    rank: int  # 0 is the worst
    path: Path
    title: str
    image: np.ndarray
    panels: list[Panel]


def check_place(out: Path) -> None:
    """A report may replace a report, nothing else."""
    out = Path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "metrics.json").is_file()):
        raise UserError(f"{out}: exists and is not an evaluation; give another --out")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to fill beside `out`. It takes its place, and that of an earlier report, when the block ends
    well; otherwise nothing is left of it."""
    out = Path(out)
    partial, old = (out.with_name(out.name + end) for end in (".partial", ".old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
    try:
        yield partial
        if out.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(out, old)
        os.replace(partial, out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_report(folder: Path, metrics: Mapping, pictures: Iterable[Picture], count: int) -> None:
    """Writes everything but `examples.csv`.

    Args:
        folder: where to.
        metrics: what `evaluate` returns.
        pictures: the photos to show, made one at a time.
        count: how many there will be.
    """
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    if metrics["presence"]["reliability"]["ece"] is not None:
        reliability.plot(metrics["presence"]["reliability"], folder / RELIABILITY)
    shown = {}
    for picture in tqdm(pictures, "pictures", count, unit="photo", leave=False):
        name = f"photo-{picture.rank}.png"
        write_overlay(folder / name, picture.image, _panels(picture))
        shown[picture.rank] = f"{picture.path.name}: {picture.title}\n\n![{picture.title}]({name})\n"
    lines = [*_text(metrics), "## Photos", "", *(shown[rank] for rank in sorted(shown))]
    (folder / "report.md").write_text("\n".join(lines))


def _panels(picture: Picture) -> list[tuple[str, np.ndarray, float | None, bool]]:
    """Each mask beside the true one. A mask is shown even where the score says absent: it was measured."""
    panels = []
    for panel in picture.panels:
        title = panel.name if panel.present is not False else f"{panel.name} (not found)"
        title = title if panel.score is None else f"{title}, score"
        panels += [(title, panel.mask, panel.score, True), (f"{panel.name}, truth", panel.truth, None, True)]
    return panels


def level_table(metrics: Mapping) -> str:
    """Mean measures per supervision level, with the baselines' IoU beside, as Markdown."""
    return _group_table(metrics, "levels", "level")


def _group_table(metrics: Mapping, key: str, title: str) -> str:
    baselines = metrics.get("baselines", {})
    header = [title, *MEASURES.values(), *(f"IoU, {name}" for name in baselines), "concepts", "examples"]
    rows = []
    for group, row in metrics[key].items():
        beside = [_number(table[key].get(group, {}).get("iou")) for table in baselines.values()]
        measures = [_number(row[measure]) for measure in MEASURES]
        rows.append([group, *measures, *beside, str(row["concepts"]), str(row["examples"])])
    return _table(header, rows)


def _text(metrics: Mapping) -> list[str]:
    minimum = metrics["minimum_photos"]
    lines = [
        f"# Evaluation: {metrics['system']}",
        "",
        f"{metrics['photos']} photos. Masks are cut at 0.5; where a concept is absent it does not enter "
        f"the tables of quality. Means: photo, then concept, then level; concepts with fewer than {minimum} "
        "photos are left out of the means of levels and kinds. Every pair of photo and concept is a row of "
        "[examples.csv](examples.csv).",
        "",
    ]
    if metrics["not_in_vocabulary"]:
        lines += [f"Not in the vocabulary, left out: {', '.join(metrics['not_in_vocabulary'])}.", ""]
    if "baselines" in metrics:
        lines += [
            "Baselines never look at the photo: the whole image, and the position prior (the mean of the "
            "concept's training masks; of its boxes when it has no masks; of all boxes when it has neither).",
            "",
        ]
    lines += ["## Levels", "", level_table(metrics), ""]
    lines += ["## Kinds", "", _group_table(metrics, "kinds", "kind"), ""]
    for baseline, table in metrics.get("baselines", {}).items():
        lines += [f"## Levels, {baseline}", "", level_table(table), ""]
    lines += [*_semantic_lines(metrics["semantic"]), *_presence_lines(metrics["presence"])]
    return [*lines, "## Concepts", "", _concept_table(metrics["concepts"]), ""]


def _semantic_lines(semantic: Mapping | None) -> list[str]:
    if semantic is None:
        return []
    return [
        "## All concepts at once",
        "",
        f"Every pixel is given the most probable of the concepts that are found present: mean IoU "
        f"{_number(semantic['miou'])} over {semantic['concepts']} concepts. {semantic['ignored']:.1%} of the "
        "pixels have two true concepts and are ignored; the figure means little where that is much.",
        "",
    ]


def _presence_lines(presence: Mapping) -> list[str]:
    note = (
        f"Over the {presence['pairs']} pairs of photo and concept that are fully annotated, "
        f"{presence['pairs_present']} of them present; per-concept figures over {presence['concepts']} "
        "concepts, those in some photos and not in others."
    )
    figures = [[text, _number(presence[key])] for key, text in PRESENCE.items()]
    error = presence["reliability"]["ece"]
    figures.append(["expected calibration error of the score", _number(error)])
    lines = ["## Presence", "", note, "", _table(["measure", "value"], figures), ""]
    return lines if error is None else [*lines, f"![reliability of the score]({RELIABILITY})", ""]


def _concept_table(concepts: Mapping[str, Mapping]) -> str:
    header = ["concept", "level", "kind", *MEASURES.values(), "examples"]
    rows = [
        [name, row["level"], row["kind"], *(_number(row[m]) for m in MEASURES), str(row["examples"])]
        for name, row in concepts.items()
    ]
    return _table(header, rows)


def _table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up in a terminal too."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * w if i == 0 else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
