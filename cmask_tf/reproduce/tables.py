"""The paper's tables from scores: pure functions of {seed: {system: metrics.json}}.

A cell is the mean over the seeds, with their standard deviation; a paper's figure never enters one, it has a
column of its own. `paper_tables.json` holds the paper's figures, each with the number of its table.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

Scores = Mapping[int, Mapping[str, Mapping]]  # seed -> system -> metrics.json
Getter = Callable[[Mapping], float | None]

OIVG = ("mask", "box")  # the levels of OIVG-750, which holds COCO-80
LEVELS = {"mask": "COCO-80", "box": "Weak-Box-670", "image": "Weak-Image-50", "zero": "ZeroTest-10"}
QUALITY = {"precision": "precision", "recall": "recall", "iou": "IoU"}
TRAINED = ("Saliency-DSS", "Closed-set", "Mask-R-CNN-star")  # baselines that may turn out not to be
UNTRAINED = "not trained here"
NOT_HERE = {"FCIS": "not run here", "Mask-R-CNN": "not run here", "Mask-R-CNN-star": UNTRAINED}
FLOOR = "whole-image"
FLOORS = (FLOOR, "position-prior", "GrabCut")
TABLE_2 = {
    "mask": ("FCIS", "Mask-R-CNN", "Mask-R-CNN-star", "Saliency-DSS", "Closed-set", *FLOORS, "Ours"),
    "box": ("Saliency-DSS", "Mask-R-CNN-star", *FLOORS, "Ours"),
    "image": ("Saliency-DSS", "Mask-R-CNN-star", *FLOORS, "Ours"),
}
ABLATED = ("Ours", "Ours-noNeg", "Ours-singleAtt")


@dataclass(frozen=True)
class Cell:
    """What was measured: a value a seed, or a word in their place."""

    values: tuple[float, ...] = ()
    text: str | None = None

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds; None of one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Row:
    """One line of a table: labels, cells measured here, and the paper's figures of the same measures."""

    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    paper: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        key: in metrics.json and in addresses.
        title: with the paper's number where it has one.
        labels: titles of the label columns.
        measures: titles of the columns measured here.
        rows: the lines.
        source: where the paper has these figures; None: it has none, and there are no columns of its.
        notes: a sentence or two each.
    """

    key: str
    title: str
    labels: tuple[str, ...]
    measures: tuple[str, ...]
    rows: tuple[Row, ...]
    source: str | None = None
    notes: tuple[str, ...] = field(default=())


def paper_figures() -> dict:
    """The paper's figures by table, as `paper_tables.json` has them."""
    return json.loads(resources.files("cmask_tf.reproduce").joinpath("paper_tables.json").read_text())


def all_tables(scores: Scores) -> list[Table]:
    """The tables that these scores fill, in the paper's order, then ours."""
    made = (attention, levels, ablation, kinds, zero_shot, verification, presence, boundary, semantic)
    return [make(scores) for make in made]


def level_value(measure: str, *names: str) -> Getter:
    """What reads a measure of one level, or of several as one set of concepts."""

    def get(metrics: Mapping) -> float | None:
        groups = [metrics["levels"][name] for name in names if name in metrics["levels"]]
        groups = [group for group in groups if group.get(measure) is not None]
        concepts = sum(group["concepts"] for group in groups)
        return sum(group[measure] * group["concepts"] for group in groups) / concepts if concepts else None

    return get


def cell(scores: Scores, system: str, get: Getter) -> Cell:
    """A system's value in each seed that has one."""
    found = [get(of_seed[system]) for _, of_seed in sorted(scores.items()) if system in of_seed]
    return Cell(tuple(value for value in found if value is not None))


def untrained(scores: Scores) -> dict[str, str]:
    """Baselines that do not beat the whole image on the level that they learn from -> a note with figures."""
    iou, notes = level_value("iou", "mask"), {}
    floor = cell(scores, FLOOR, iou).mean
    for system in TRAINED:
        reached = cell(scores, system, iou).mean
        if reached is not None and floor is not None and reached <= floor:
            notes[system] = (
                f"{system} is not trained here: IoU {reached:.3f} on the mask level, "
                f"where the whole image has {floor:.3f}."
            )
    return notes


def attention(scores: Scores) -> Table:
    """Table 1: four attention maps over the concepts with masks or boxes."""
    paper, measures = paper_figures()["attention"], ("pointing_game", "soft_iou")
    rows = tuple(
        Row(
            (system,),
            tuple(cell(scores, system, level_value(measure, *OIVG)) for measure in measures),
            tuple(paper[system][measure] for measure in measures),
        )
        for system in paper
        if system != "source"
    )
    note = "Over the concepts with masks or boxes (the paper: OIVG-750); soft IoU is Eqn. 5."
    return Table("attention", "Table 1: attention maps", ("map",), ("pointing game", "soft IoU"), rows,
                 paper["source"], (note,))  # fmt: skip


def levels(scores: Scores) -> Table:
    """Table 2: quality per level of supervision, with the floors and the ceiling beside."""
    paper, below, rows = paper_figures()["levels"], untrained(scores), []
    for level, systems in TABLE_2.items():
        others = sorted(_systems(scores) - set(sum(TABLE_2.values(), ())) - _not_in_table_2(scores))
        for system in (*others, *systems):
            cells = quality(scores, system, below, level)
            row = Row((level, system), cells, _paper(paper[level].get(system), QUALITY))
            if _told(row) or system in below:
                rows.append(row)
    sets = ", ".join(f"{level} = {LEVELS[level]}" for level in TABLE_2)
    notes = (
        f"The paper's test sets: {sets}.",
        f"Closed-set is a ceiling: full supervision of the concepts with masks. Floors: {', '.join(FLOORS)}.",
        *below.values(),
    )
    return Table("levels", "Table 2: levels of supervision", ("level", "model"), tuple(QUALITY.values()),
                 tuple(rows), paper["source"], notes)  # fmt: skip


def quality(scores: Scores, system: str, below: Mapping[str, str], level: str) -> tuple[Cell, ...]:
    """Precision, recall and IoU of a system on a level, or a word why there are none."""
    if system in below:
        return (Cell(text=UNTRAINED),) * len(QUALITY)
    if system in NOT_HERE and system not in _systems(scores):
        return (Cell(text=NOT_HERE[system]),) * len(QUALITY)
    return tuple(cell(scores, system, level_value(measure, level)) for measure in QUALITY)


def ablation(scores: Scores) -> Table:
    """Table 3: IoU without discrimination, and with one attention map."""
    paper = paper_figures()["ablation"]
    rows = tuple(
        Row(
            (level,),
            tuple(cell(scores, system, level_value("iou", level)) for system in ABLATED),
            tuple(paper.get(level, {}).get(system) for system in ABLATED),
        )
        for level in LEVELS
    )
    two = "Ours-singleAtt" in _systems(scores)
    notes = () if two else ("Ours-singleAtt was not run: a config with one attention size has no other.",)
    return Table("ablation", "Table 3: ablations, IoU", ("level",), ABLATED, rows, paper["source"], notes)


def kinds(scores: Scores) -> Table:
    """Supplement, Table 1: box-level concepts by kind; attributes of whatever level beside."""
    paper = paper_figures()["kinds"]

    def row(kind: str, label: str, level: str | None) -> Row:
        cells = tuple(cell(scores, "Ours", _kind_value(measure, kind, level)) for measure in QUALITY)
        return Row((label,), cells, _paper(paper.get(kind), QUALITY))

    rows = [row(kind, kind, "box") for kind in ("object", "stuff", "part")]
    rows.append(row("attribute", "attribute, of all levels", None))
    return Table("kinds", "Supplement, Table 1: kinds of box-level concepts", ("kind",),
                 tuple(QUALITY.values()), tuple(rows), paper["source"])  # fmt: skip


def zero_shot(scores: Scores) -> Table:
    """Section 5.4: IoU on concepts that no training photo has as a tag."""
    paper, below = paper_figures()["zero"], untrained(scores)
    rows = tuple(
        Row(
            (system,),
            (Cell(text=UNTRAINED) if system in below else cell(scores, system, level_value("iou", "zero")),),
            _paper(paper.get(system), ("iou",)),
        )
        for system in ("Saliency-DSS", *FLOORS, "Ours")
    )
    return Table("zero", "Section 5.4: zero-shot", ("model",), ("IoU",), rows, paper["source"],
                 tuple(below.values()))  # fmt: skip


def verification(scores: Scores) -> Table:
    """Supplement 5: is the concept there, at the stored thresholds."""
    paper, measures = paper_figures()["verification"], ("precision", "recall")
    rows = tuple(
        Row(
            (label,),
            tuple(cell(scores, "Ours", _verified(key, measure)) for measure in measures),
            _paper(paper.get(key), measures),
        )
        for key, label in (("mask", "mask (the paper: COCO-80)"), ("all", "all levels"))
    )
    note = (
        "Over all pairs of a test photo and a concept that are fully annotated, at the thresholds that the "
        "model stores."
    )
    return Table("verification", "Supplement, section 5: verification", ("concepts",), measures, rows,
                 paper["source"], (note,))  # fmt: skip


_OWN = "Closed-set and detectors are asked for their own concepts alone: other pairs than ours."
PRESENCE = {
    "auc_macro": "AUC per concept",
    "auc_pooled": "AUC pooled",
    "auc_pooled_photo_blind": "AUC pooled, photo-blind",
    "ap": "average precision",
    "mcc": "Matthews",
    "precision": "precision",
    "recall": "recall",
    "ece": "calibration error",
    "false_area": "false area",
    "false_area_shown": "false area shown",
}


def presence(scores: Scores) -> Table:
    """Presence over all pairs, of the systems that score it."""
    note = (
        "AUC per concept is .5 for a score that never sees the photo. False area: the share of a photo under "
        "the mask of an absent concept; shown: masks count only where their concept was found. " + _OWN
    )
    rows = []
    for system in _ranked(scores):
        cells = tuple(cell(scores, system, _presence_value(key)) for key in PRESENCE)
        if cells[0].values:
            rows.append(Row((system,), cells))
    return Table("presence", "Presence", ("model",), tuple(PRESENCE.values()), tuple(rows), notes=(note,))


def boundary(scores: Scores) -> Table:
    """Boundary IoU per level, of all systems with masks that are not "not trained here"."""
    rows, below = [], untrained(scores)
    for system in (system for system in _ranked(scores) if system not in below):
        cells = tuple(cell(scores, system, level_value("boundary_iou", level)) for level in LEVELS)
        if any(c.values for c in cells):
            rows.append(Row((system,), cells))
    return Table("boundary", "Boundary IoU", ("model",), tuple(LEVELS), tuple(rows))


def semantic(scores: Scores) -> Table:
    """All concepts at once, one label a pixel; of the systems of `boundary`."""
    rows, below = [], untrained(scores)
    for system in (system for system in _ranked(scores) if system not in below):
        cells = tuple(cell(scores, system, _semantic_value(key)) for key in ("miou", "ignored"))
        if cells[0].values:
            rows.append(Row((system,), cells))
    note = (
        "Sensible where concepts exclude each other: pixels of two concepts are ignored; their share is "
        "told. " + _OWN
    )
    return Table("semantic", "Semantic mIoU, all concepts at once", ("model",), ("mIoU", "ignored pixels"),
                 tuple(rows), notes=(note,))  # fmt: skip


def changed_decisions(decided: Mapping, changed: Sequence[tuple[str, str, str, Mapping]]) -> Table:
    """Our own decisions, one changed at a time.

    Args:
        decided: metrics.json of Ours.
        changed: (decision, value of Ours, value of the row, metrics.json of the row).
    """

    def cells(metrics: Mapping) -> tuple[Cell, ...]:
        found = (level_value("iou", level)(metrics) for level in LEVELS)
        return tuple(Cell(() if value is None else (value,)) for value in found)

    rows = [Row(("as configured", "", ""), cells(decided))]
    rows += [Row((decision, here, instead), cells(metrics)) for decision, here, instead, metrics in changed]
    return Table("decisions", "Our own decisions, IoU", ("changed", "from", "to"), tuple(LEVELS), tuple(rows),
                 notes=("One seed: differences of the size of the seeds' spread mean nothing.",))  # fmt: skip


def _systems(scores: Scores) -> set[str]:
    return {system for of_seed in scores.values() for system in of_seed}


def _ranked(scores: Scores) -> list[str]:
    """Ours first, then the others of the paper, floors, and any other."""
    known = dict.fromkeys((*ABLATED, *sum(TABLE_2.values(), ())))
    there = _systems(scores)
    return [system for system in known if system in there] + sorted(there - set(known))


def _not_in_table_2(scores: Scores) -> set[str]:
    """Systems without masks, and those of Table 3."""
    iou = level_value("iou", *LEVELS)
    return {system for system in _systems(scores) if not cell(scores, system, iou).values} | set(ABLATED)


def _told(row: Row) -> bool:
    return any(c.values for c in row.cells) or any(value is not None for value in row.paper)


def _paper(figures: Mapping | None, measures) -> tuple[float | None, ...]:
    return tuple((figures or {}).get(measure) for measure in measures)


def _kind_value(measure: str, kind: str, level: str | None) -> Getter:
    def get(metrics: Mapping) -> float | None:
        values = [
            row[measure]
            for row in metrics["concepts"].values()
            if row["kind"] == kind
            and level in (None, row["level"])
            and row["examples"] >= metrics["minimum_photos"]
            and row.get(measure) is not None
        ]
        return statistics.fmean(values) if values else None

    return get


def _verified(key: str, measure: str) -> Getter:
    return lambda metrics: metrics.get("verification", {}).get(key, {}).get(measure)


def _presence_value(key: str) -> Getter:
    def get(metrics: Mapping) -> float | None:
        found = metrics.get("presence") or {}
        return (found.get("reliability") or {}).get("ece") if key == "ece" else found.get(key)

    return get


def _semantic_value(key: str) -> Getter:
    return lambda metrics: (metrics.get("semantic") or {}).get(key)
