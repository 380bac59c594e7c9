"""The report: OUT/report/{report.html, report.md, metrics.json, pictures/}, there whole or not at all.

python -m cmask_tf.reproduce.report --data DATA --out OUT --seeds 0 1 2 [--ablations] [--photos PHOTO ...]
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cmask_tf import config as configs
from cmask_tf.data.claim import write_json
from cmask_tf.errors import UserError
from cmask_tf.reproduce import ablations, document, tables
from cmask_tf.reproduce.curves import draw_curves
from cmask_tf.reproduce.document import Grid, Picture, Section
from cmask_tf.reproduce.orderings import Ordering, orderings
from cmask_tf.reproduce.plan import Request
from cmask_tf.reproduce.progress import duration
from cmask_tf.reproduce.run import read_times
from cmask_tf.reproduce.scores import read_one, read_scores
from cmask_tf.reproduce.settings import differences
from cmask_tf.reproduce.tables import Cell, Table

PICTURES = "pictures"
_MEASURES = {"pointing_game": "pointing game", "soft_iou": "soft IoU", "iou": "IoU"}

# (OUT, the data folder, where pictures go, seed) -> figures with `file`, `title`, `caption`, `paper`
MakeFigures = Callable[[Path, Path, Path, int], Sequence]


def write_report(
    request: Request, decisions: Sequence[ablations.Row] = (), figures: MakeFigures | None = None
) -> dict:
    """Makes tables, orderings, curves and figures of what was scored, and publishes the report by one rename.

    Args:
        request: what was reproduced.
        decisions: rows of `ablations`, all of them scored.
        figures: makes the paper's pictures; `evaluation.figures.make_figures` by default.

    Returns:
        What metrics.json holds.
    """
    scores = read_scores(request)
    made = tables.all_tables(scores)
    if decisions:
        made.append(_decisions(request, scores, decisions))
    found, times = orderings(scores), read_times(request.out)
    out = request.out / "report"
    partial = out.with_name("report.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / PICTURES).mkdir(parents=True)
    try:
        pictures = _figures(request, partial / PICTURES, figures or _make_figures)
        pictures += _curves(request, partial / PICTURES)
        metrics = _metrics(request, made, found, times)
        write_json(partial / "metrics.json", metrics, indent=1)
        _write_documents(partial, request, scores, made, found, times, pictures)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return metrics


def grid(table: Table) -> Grid:
    """A table as words; the paper's figures are columns of their own."""
    header = (*table.labels, *table.measures)
    paper = len(table.measures) if table.source else 0
    if paper:
        header += tuple(f"paper: {measure}" for measure in table.measures)
    rows = tuple(
        (*row.labels, *map(cell_text, row.cells), *(map(_number, row.paper) if paper else ()))
        for row in table.rows
    )
    return Grid(header, rows, len(table.labels), paper)


def cell_text(cell: Cell) -> str:
    """ "0.402 ± 0.012", without ± of one value; "-" of none."""
    if cell.text:
        return cell.text
    spread = "" if cell.spread is None else f" ± {cell.spread:.3f}"
    return _number(cell.mean) + spread


def ordering_row(ordering: Ordering) -> tuple[str, ...]:
    """One line of the table of orderings."""
    claim, n = ordering.claim, len(ordering.differences)
    mean = sum(ordering.differences) / n if n else None
    spread = "-" if ordering.spread is None else f"{ordering.spread:.3f}"
    return (
        f"{claim.better} {'≥' if claim.or_equal else '>'} {claim.worse}",
        f"{_MEASURES[claim.measure]}, {' + '.join(claim.levels)}",
        ordering.outcome,
        _number(ordering.better),
        _number(ordering.worse),
        "-" if mean is None else f"{mean:+.3f}",
        spread,
        str(n),
    )


def main() -> int:
    """Writes the report that the arguments name; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--photos", type=Path, nargs="+", metavar="PHOTO",
                        help="shown in place of the data's, which may not be published")  # fmt: skip
    args = parser.parse_args()
    try:
        config = configs.load(str(args.out / "config.json"))
        request = Request(args.data, args.out, config, tuple(args.seeds))
        rows = ablations.rows(request, ablations.read_design(request)) if args.ablations else ()
        write_report(request, rows, functools.partial(_elsewhere, args.photos) if args.photos else None)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _decisions(request: Request, scores: tables.Scores, rows: Sequence[ablations.Row]) -> Table:
    changed = [
        (row.decision, row.here, row.instead, read_one(ablations.place(request, row) / "scores" / "Ours"))
        for row in rows
    ]
    return tables.changed_decisions(scores[request.seeds[0]]["Ours"], changed)


def _make_figures(reproduction: Path, data: Path, out: Path, seed: int) -> Sequence:
    from cmask_tf.evaluation.figures import make_figures  # TensorFlow

    return make_figures(reproduction, data, out, seed)


def _elsewhere(photos: Sequence[Path], reproduction: Path, data: Path, out: Path, seed: int) -> Sequence:
    from cmask_tf.evaluation.figures import make_figures_elsewhere  # TensorFlow

    return make_figures_elsewhere(reproduction, data, out, seed, photos)


def _figures(request: Request, folder: Path, make: MakeFigures) -> list[Picture]:
    made = make(request.out, request.data, folder, request.seeds[0])
    return [
        Picture(f"{PICTURES}/{Path(one.file).name}", f"{one.title} ({one.paper})", one.caption)
        for one in made
    ]


def _curves(request: Request, folder: Path) -> list[Picture]:
    names = draw_curves(request, folder / "curves.png")
    caption = (
        "Loss, and the validation measure that chose the epoch (mean over its levels), per epoch and seed."
    )
    return [Picture(f"{PICTURES}/curves.png", "Training curves", caption)] if names else []


def _write_documents(partial, request, scores, made, found, times, pictures) -> None:
    title = f"Concept Mask on {request.data.resolve().name}: the paper's tables"
    sections = [_about(request, scores), _orderings(found)]
    sections += [Section(table.key, table.title, (grid(table), *table.notes)) for table in made]
    sections.append(Section("pictures", "Pictures", tuple(pictures)))
    sections += [_settings(request), _times(request, times)]
    (partial / "report.md").write_text(document.markdown(title, sections), encoding="utf-8")
    (partial / "report.html").write_text(document.html(title, sections), encoding="utf-8")


def _about(request: Request, scores: tables.Scores) -> Section:
    seeds, ours = request.seeds, scores[request.seeds[0]].get("Ours", {})
    counts = ", ".join(
        f"{level}: {group['concepts']} concepts, {group['examples']} pairs"
        for level, group in ours.get("levels", {}).items()
    )
    several = f"{len(seeds)} seeds ({', '.join(map(str, seeds))})" if len(seeds) > 1 else f"seed {seeds[0]}"
    spread = (
        "a figure is their mean ± their standard deviation; without ± it was measured once, as the floors are"
    )
    return Section(
        "about",
        "What was measured",
        (
            f"Config {request.config.name}, {several}, cmask-tf {_version()}."
            + (f" With several seeds {spread}." if len(seeds) > 1 else ""),
            f"{ours.get('photos', 0)} test photos, scored by one function for every system. Masks are cut at "
            "0.5 at the photo's size; means go from photo to concept to level, of concepts with at least "
            f"{ours.get('minimum_photos', 0)} photos. {counts}.",
            "Columns of the paper hold its own figures, on its own data: they tell what order to expect, not "
            "a value to reach here.",
        ),
    )


def _orderings(found: Sequence[Ordering]) -> Section:
    header = ("ordering", "measure", "outcome", "left", "right", "difference", "spread", "seeds")
    note = (
        "An ordering of the paper holds when the mean difference is above the standard deviation of the "
        "seeds' differences (spread), and does not hold when it is as far below 0."
    )
    rows = tuple(map(ordering_row, found))
    notes = dict.fromkeys(note for one in found for note in one.notes)
    return Section("orderings", "The paper's orderings", (Grid(header, rows, labels=3), note, *notes))


def _settings(request: Request) -> Section:
    """So that nobody takes what was trained here for the paper's own settings."""
    found = differences(request.config, configs.paper())
    rows = tuple((name, str(here), str(paper)) for name, here, paper in found if name not in ("name", "seed"))
    note = "Every other field is that of the preset: the paper's value, or ours where the paper has none."
    table = Grid(("field", "here", "preset paper"), rows)
    return Section("settings", "Where the config is not the preset paper", (table, note))


def _times(request: Request, times: dict[str, float]) -> Section:
    rows = tuple((step, duration(seconds)) for step, seconds in times.items())
    groups = {f"seed-{seed}": 0.0 for seed in request.seeds}
    for step, seconds in times.items():
        if step.split("/")[0] in groups:
            groups[step.split("/")[0]] += seconds
    total = ". ".join(f"{name}: {duration(seconds)}" for name, seconds in groups.items())
    return Section(
        "times", "Time of each step", (f"{total}. Interrupted attempts count.", Grid(("step", "time"), rows))
    )


def _metrics(request, made: Sequence[Table], found: Sequence[Ordering], times: dict[str, float]) -> dict:
    return {
        "data": request.data.resolve().name,
        "config": dataclasses.asdict(request.config),
        "seeds": list(request.seeds),
        "version": _version(),
        "tables": {table.key: _table_data(table) for table in made},
        "orderings": [
            {**dataclasses.asdict(one), "mean": _mean(one.differences), "spread": one.spread} for one in found
        ],
        "seconds": times,
    }


def _table_data(table: Table) -> dict:
    rows = [
        {
            "labels": dict(zip(table.labels, row.labels, strict=True)),
            "measured": {
                measure: {"values": list(c.values), "mean": c.mean, "spread": c.spread, "text": c.text}
                for measure, c in zip(table.measures, row.cells, strict=True)
            },
            "paper": dict(zip(table.measures, row.paper, strict=True)) if table.source else None,
        }
        for row in table.rows
    ]
    return {"title": table.title, "paper": table.source, "rows": rows, "notes": list(table.notes)}


def _version() -> str:
    return importlib.metadata.version("cmask-tf")


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


if __name__ == "__main__":
    sys.exit(main())
