"""Tables and curves of benchmarks/loss_terms.py."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cmask_tf.errors import UserError

ALL = "all"  # the run with the config's own losses, from which the next stage starts
LEVELS = ("mask", "box", "image", "zero")


class Run(NamedTuple):
    """A training of one stage: its folder, what tables call it, what it changes in the config."""

    stage: str
    name: str
    label: str
    overrides: tuple[str, ...] = ()


class Panel(NamedTuple):
    """One picture: a curve over the epochs ("train", "validation"), or bars of the end ("end").

    `before` names what Stage 1 reached, drawn as a broken line; bars look for their own names there.
    """

    title: str
    part: str
    measures: tuple[str, ...]
    before: str | None = None


def _coarse(metric: str) -> tuple[str, ...]:
    return tuple(f"coarse_{metric}_{level}" for level in LEVELS)


FIGURES = {
    "stage1": ("Stage 1: the cosine loss", "embedding", ("untrained", ALL), (
        Panel("cosine loss, training photos", "train", ("cosine",)),
        Panel("cosine loss, validation photos", "validation", ("val_cosine",)),
        Panel("image-level concepts' coarse maps: pointing game", "validation",
              ("val_pointing_game_image",)),
        Panel("image-level concepts' coarse maps: soft IoU", "validation", ("val_soft_iou_image",)),
        Panel("coarse maps: pointing game", "end", _coarse("pointing_game")),
        Panel("coarse maps: soft IoU", "end", _coarse("soft_iou")),
    )),
    "matching": (
        "Stage 2: the matching loss", "refine",
        (ALL, "no-matching", "matching-paper", "matching-strong", "matching-tagged"), (
            Panel("image-level concepts: pointing game", "validation", ("val_pointing_game_image",),
                  "coarse_pointing_game_image"),
            Panel("image-level concepts: soft IoU", "validation", ("val_soft_iou_image",),
                  "coarse_soft_iou_image"),
            Panel("matching term, unweighted", "train", ("matching",)),
            Panel("concepts with boxes: pointing game", "validation", ("val_pointing_game_box",),
                  "coarse_pointing_game_box"),
            Panel("coarse maps after Stage 2: pointing game", "end", _coarse("pointing_game")),
            Panel("likeness to Stage 1's maps, image-level concepts", "end", ("kept_refined", "kept_coarse")),
        ),
    ),
    "discrimination": (
        "Stage 2: the spatial discrimination loss", "refine", (ALL, "no-discrimination"), (
            Panel("discrimination term, unweighted", "train", ("discrimination",)),
            Panel("refined maps in a concept's own region", "end", ("own", "leak", "confused")),
            Panel("concepts with boxes: pointing game", "validation", ("val_pointing_game_box",)),
            Panel("concepts with boxes: soft IoU", "validation", ("val_soft_iou_box",)),
        ),
    ),
    "dice": ("Stage 2: Dice", "refine", (ALL, "no-dice"), (
        Panel("concepts with masks: soft IoU", "validation", ("val_soft_iou_mask",)),
        Panel("concepts with boxes: soft IoU", "validation", ("val_soft_iou_box",)),
        Panel("concepts with masks: pointing game", "validation", ("val_pointing_game_mask",)),
        Panel("concepts with boxes: pointing game", "validation", ("val_pointing_game_box",)),
    )),
    "stage3": ("Stage 3: Dice beside the cross entropy", "segmentation", (ALL, "no-dice"), (
        Panel("concepts with masks: IoU", "validation", ("val_iou_mask",)),
        Panel("concepts with boxes: IoU", "validation", ("val_iou_box",)),
        Panel("concepts with masks: precision", "validation", ("val_precision_mask",)),
        Panel("concepts with masks: recall", "validation", ("val_recall_mask",)),
    )),
}  # fmt: skip


def _by_level(prefix: str, title: str, levels: Sequence[str]) -> dict[str, str]:
    return {f"{prefix}_{level}": f"{title}, {level}" for level in levels}


TABLES = (
    ("Stage 1, coarse maps", "embedding", {
        "val_cosine": "cosine loss",
        **_by_level("coarse_pointing_game", "pointing game", LEVELS),
        **_by_level("coarse_soft_iou", "soft IoU", LEVELS),
    }),
    ("Stage 2, refined maps", "refine", {
        **_by_level("val_pointing_game", "pointing game", LEVELS[:3]),
        **_by_level("val_soft_iou", "soft IoU", LEVELS[:3]),
    }),
    ("Stage 2, what is left of Stage 1, and siblings", "refine", {
        "kept_refined": "likeness, refined maps", "kept_coarse": "likeness, coarse maps",
        **_by_level("coarse_pointing_game", "coarse pointing game", LEVELS[2:]),
        **_by_level("coarse_soft_iou", "coarse soft IoU", LEVELS[2:]),
        "own": "own map", "leak": "siblings' maps", "confused": "confused",
    }),
    ("Stage 3, masks", "segmentation", {
        **_by_level("val_iou", "IoU", LEVELS[:2]),
        **_by_level("val_precision", "precision", LEVELS[:2]),
        **_by_level("val_recall", "recall", LEVELS[:2]),
    }),
)  # fmt: skip


class Result(NamedTuple):
    """A finished run of one seed: "train" and "validation" records of its epochs, and measures at the end."""

    history: Mapping[str, list[dict[str, float]]]
    end: Mapping[str, float]


Results = dict[tuple[str, str], list[Result]]  # (stage, run) -> one of each seed


def curve(results: Sequence[Result], part: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs [E] and values [seeds, E] of a measure, over the epochs that all seeds have; E may be 0."""
    found = [{r["epoch"]: r[measure] for r in one.history[part] if measure in r} for one in results]
    epochs = sorted(set.intersection(*map(set, found)))
    return np.array(epochs), np.array([[one[epoch] for epoch in epochs] for one in found])


def values(results: Sequence[Result], measure: str) -> np.ndarray:
    """A measure at the end, float [seeds]; empty unless all seeds have it."""
    found = [one.end[measure] for one in results if measure in one.end]
    return np.array(found if len(found) == len(results) else [])


def table(title: str, stage: str, columns: Mapping[str, str], runs: Sequence[Run], results: Results) -> str:
    """Mean and standard deviation over the seeds, a row a run, as Markdown."""
    of_stage = [run for run in runs if run.stage == stage]
    known = [m for m in columns if any(len(values(results[stage, run.name], m)) for run in of_stage)]
    lines = [f"| {title} | {' | '.join(columns[m] for m in known)} |", "| --- |" + " --- |" * len(known)]
    for run in of_stage:
        cells = [_cell(values(results[stage, run.name], m)) for m in known]
        lines.append(f"| {run.label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: np.ndarray) -> str:
    if len(found) < 2:
        return f"{found[0]:.3f}" if len(found) else "-"
    return f"{found.mean():.3f} ± {found.std(ddof=1):.3f}"


def draw(name: str, runs: Sequence[Run], results: Results) -> bytes | None:
    """One of `FIGURES` as a PNG; None when there is nothing to compare."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    title, stage, names, panels = FIGURES[name]
    shown = {run.label: results[stage, run.name] for run in runs if run.stage == stage and run.name in names}
    before = results["embedding", ALL] if stage == "refine" else []
    panels = [panel for panel in panels if any(_has(panel, found) for found in shown.values())]
    if len(shown) < 2 or not panels:
        return None
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(10, 3 * rows + 1), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(rows, 2, squeeze=False).flat
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(places, panels, strict=False):
        axes.set_title(panel.title, fontsize=10)
        axes.grid(alpha=0.3)
        (_bars if panel.part == "end" else _curves)(axes, panel, shown, before)
    lines = {
        line: text
        for axes in figure.axes
        for line, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    unique = {text: line for line, text in lines.items()}
    figure.suptitle(title, fontsize=12)
    figure.legend(
        unique.values(), unique.keys(), loc="outside lower center", ncols=min(3, len(unique)), fontsize=9
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _has(panel: Panel, results: Sequence[Result]) -> bool:
    if panel.part == "end":
        return any(len(values(results, measure)) for measure in panel.measures)
    return len(curve(results, panel.part, panel.measures[0])[0]) > 0


def _curves(axes, panel: Panel, shown: Mapping[str, list[Result]], before: list[Result]) -> None:
    """A line a run, the mean of its seeds, in a band from the lowest to the highest."""
    for number, (label, results) in enumerate(shown.items()):
        epochs, found = curve(results, panel.part, panel.measures[0])
        if len(epochs):
            axes.plot(epochs, found.mean(axis=0), "o-", color=f"C{number}", markersize=3, label=label)
            axes.fill_between(epochs, found.min(axis=0), found.max(axis=0), color=f"C{number}", alpha=0.15)
    if panel.before and len(reached := values(before, panel.before)):
        axes.axhline(
            reached.mean(), color="black", linestyle="--", linewidth=1, label="Stage 1's coarse maps"
        )
    axes.set_xlabel("epoch", fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _bars(axes, panel: Panel, shown: Mapping[str, list[Result]], before: list[Result]) -> None:
    """A group a measure, a bar a run, from the lowest to the highest seed a whisker."""
    known = [m for m in panel.measures if any(len(values(results, m)) for results in shown.values())]
    width = 0.8 / len(shown)
    for number, (label, results) in enumerate(shown.items()):
        for place, name in enumerate(known):
            if len(found := values(results, name)):
                mean, left = found.mean(), place - 0.4 + (number + 0.5) * width
                spread = [[mean - found.min()], [found.max() - mean]]
                axes.bar(left, mean, width, yerr=spread, color=f"C{number}", capsize=2, label=label)
    for place, name in enumerate(known):
        if len(reached := values(before, name)):
            axes.hlines(reached.mean(), place - 0.45, place + 0.45, color="black", linestyle="--",
                        linewidth=1, label="Stage 1's coarse maps")  # fmt: skip
    axes.set_xticks(range(len(known)), [name.rsplit("_", 1)[-1] for name in known])


def write_report(
    document: Path, name: str, settings: str, seeds: Sequence[int], runs: Sequence[Run], results: Results
) -> None:
    """Pictures beside the document, tables and links in its section; the rest of it stays."""
    begin, end = _marks(name)
    told = f"{name}, {settings}, {len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))})"
    if len(seeds) > 1:
        told += "; mean ± standard deviation, bands from the lowest seed to the highest"
    lines, slug = [told + ".", ""], "-".join(name.lower().split())
    for title, stage, columns in TABLES:
        lines += [table(title, stage, columns, runs, results), ""]
    for figure, (title, *_) in FIGURES.items():
        if picture := draw(figure, runs, results):
            file = f"pictures/loss-terms-{slug}-{figure}.png"
            write(document.parent / file, picture)
            lines += [f"![{title}]({file})", ""]
    text = document.read_text() if document.exists() else f"{begin}\n{end}\n"
    head, _, rest = text.partition(begin)
    tail = rest.partition(end)[2]
    write(document, "\n".join([head + begin, "", *lines[:-1], "", end + tail]).encode())


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- loss terms: {name} -->", f"<!-- end of loss terms: {name} -->"


def check_document(document: Path, name: str) -> None:
    """Before hours of training: the section is there, unless the document is yet to be written."""
    text = document.read_text() if document.exists() else "".join(_marks(name))
    begin, end = _marks(name)
    if text.find(end, text.find(begin) + 1) < 0 or begin not in text:
        raise UserError(f"{document}: no section between {begin} and {end}")


def write(file: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, file)
