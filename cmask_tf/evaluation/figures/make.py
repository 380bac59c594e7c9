"""From a finished reproduction to the paper's figures (Fig. 3 to 5, supplement Fig. 1 to 14).

A figure whose systems were not trained is drawn without their columns, and says so; one that has nothing to
show is a picture that says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmask_tf import model_directory
from cmask_tf.data.sources import read_json
from cmask_tf.evaluation.attention_systems import FOLDERS, attention_system
from cmask_tf.evaluation.figures import training_data
from cmask_tf.evaluation.figures.cells import Cell, gather
from cmask_tf.evaluation.figures.examples import Examples, at_shares, measures, read_examples
from cmask_tf.evaluation.figures.grid import SIDE, Panel, Row, draw_grid, fitted, notice, save
from cmask_tf.evaluation.figures.plans import OURS, Plan, make_plans
from cmask_tf.evaluation.systems import System

Systems = Mapping[str, Callable[[], System]]

_BASELINES = {"Saliency-DSS": "saliency", "Closed-set": "closed-set"}
_MEASURE = {"mask": ("iou", "IoU"), "attention": ("soft_iou", "soft IoU")}


@dataclass(frozen=True)
class Figure:
    """A picture for the report.

    Attributes:
        file: name of the PNG in the folder of pictures.
        title: a few words.
        caption: what is shown, how it was chosen, and what is left out.
        paper: which figure of the paper it stands for: "Fig. 4", "supplement, Fig. 2".
    """

    file: str
    title: str
    caption: str
    paper: str


def make_figures(reproduction: Path, data: Path, out: Path, seed: int) -> list[Figure]:
    """Makes the figures of one seed of a reproduction.

    Args:
        reproduction: `records/`, `vocabulary/` and `seed-S/` with its stages and `scores/`.
        data: the data folder that it was made from.
        out: the folder of the pictures, made when it is not there.
        seed: S.

    Returns:
        The figures in the paper's order.

    Raises:
        UserError: our system or its scores are missing, or files do not belong together.
    """
    seed_dir = Path(reproduction) / f"seed-{seed}"
    systems = open_systems(seed_dir, annotations_of(Path(data)))
    return figures_of(reproduction, data, out, seed, systems)


def open_systems(seed_dir: Path, annotations: Path) -> dict[str, Callable[[], System]]:
    """Name -> opens it, of the systems that a seed has finished networks of, and of detectors.

    Args:
        seed_dir: the seed's folder; `detections/SYSTEM.json` are COCO results of detectors.
        annotations: the COCO file of the test photos, which the detectors' ids are from.
    """

    def ours() -> System:
        from cmask_tf.evaluation.systems import SegmenterSystem
        from cmask_tf.segmenter import ConceptSegmenter

        return SegmenterSystem(ConceptSegmenter.load(seed_dir / "model"))

    def baseline(folder: str) -> System:
        from cmask_tf.evaluation.baseline_networks import open_baseline

        return open_baseline(seed_dir / folder)

    def detector(file: Path) -> System:
        from cmask_tf.evaluation.detections import Detections

        return Detections(file, annotations=annotations)

    model_directory.check(seed_dir / "model")
    found: dict[str, Callable[[], System]] = {OURS: ours}
    for name, folder in _BASELINES.items():
        if (seed_dir / folder / "config.json").is_file():
            found[name] = lambda folder=folder: baseline(folder)
    for kind, folder in FOLDERS.items():
        if (seed_dir / folder / "config.json").is_file():
            found[kind] = lambda kind=kind: attention_system(kind, seed_dir)
    for file in sorted((seed_dir / "detections").glob("*.json")):
        found[file.stem] = lambda file=file: detector(file)
    return found


def figures_of(reproduction: Path, data: Path, out: Path, seed: int, systems: Systems) -> list[Figure]:
    """`make_figures` with systems that are given: name -> opens it."""
    reproduction, data, out = Path(reproduction), Path(data), Path(out)
    images, annotations = data / "images" / "test", annotations_of(data)
    scores = reproduction / f"seed-{seed}" / "scores"
    examples = read_examples(scores / OURS / "examples.csv")
    pseudo = bool(read_json(annotations, dict, "a COCO object").get("info", {}).get("pseudo"))
    detectors = [name for name in systems if name not in {OURS, *_BASELINES, *FOLDERS}]
    plans = make_plans(examples, pseudo, detectors)
    of_test = _test_example(examples)
    cells = [cell for plan in plans for cell in plan.cells() if not cell.system or cell.system in systems]
    panels = gather([*cells, *of_test], images, annotations, systems)
    numbers = _numbers(cells, scores)
    out.mkdir(parents=True, exist_ok=True)
    figures = [_sets(reproduction / "records", out, {cell: panels[cell] for cell in of_test})]
    figures += [_drawn(plan, panels, numbers, systems, out) for plan in plans]
    figures.insert(4, overlap_figure(reproduction, out))  # after supplement, Fig. 1
    return figures


def annotations_of(data: Path) -> Path:
    return data / "coco" / "concept_masks_test.json"


def _test_example(examples: Examples) -> list[Cell]:
    """The photo and true mask that stand for the test set in Fig. 3: of the image level, as in the paper."""
    pairs = [pair for pair in examples.pairs if pair.level == "image"] or examples.pairs
    return [
        Cell(shows, pair.photo, pair.concept)
        for _, pair in at_shares(pairs, (0.5,))
        for shows in ("photo", "truth")
    ]


def _numbers(cells: Sequence[Cell], scores: Path) -> dict[Cell, str]:
    """What stands below the panels of systems that were scored."""
    found = {}
    for system, shows in sorted({(cell.system, cell.shows) for cell in cells if cell.system}):
        file = scores / system / "examples.csv"
        if not file.is_file():
            continue
        wanted = {(c.photo, c.concept): c for c in cells if (c.system, c.shows) == (system, shows)}
        measure, name = _MEASURE[shows]
        for key, value in measures(file, measure, set(wanted)).items():
            found[wanted[key]] = f"{name} {value:.2f}"
    return found


def _drawn(
    plan: Plan, panels: Mapping[Cell, Panel], numbers: Mapping[Cell, str], systems: Systems, out: Path
) -> Figure:
    def panel(cell: Cell, note: str | None) -> Panel:
        made = panels.get(cell)
        if made is None:
            return Panel(None)
        pixels = made.pixels if plan.side == SIDE else fitted(made.pixels, plan.side)
        return Panel(pixels, note if note is not None else numbers.get(cell, made.note))

    rows = [Row(label, tuple(panel(*entry) for entry in entries)) for label, entries in plan.rows]
    kept = [c for c in range(len(plan.columns)) if any(row.panels[c].pixels is not None for row in rows)]
    rows = [Row(row.label, tuple(row.panels[c] for c in kept)) for row in rows]
    picture = draw_grid([plan.columns[c][0] for c in kept], rows) if rows else notice(plan.nothing)
    save(picture, out / plan.file)
    left_out = [plan.columns[c][1] for c in range(len(plan.columns)) if rows and c not in kept]
    caption = plan.caption if rows else plan.nothing
    return Figure(plan.file, plan.title, caption + _missing(left_out, systems), plan.paper)


def _missing(names: Sequence[str], systems: Systems) -> str:
    """Why columns are not there."""
    untrained = [name for name in names if name not in systems]
    silent = [name for name in names if name in systems]
    text = f" Not trained here: {', '.join(untrained)}." if untrained else ""
    return text + (f" Has no answer for these concepts: {', '.join(silent)}." if silent else "")


def _sets(records: Path, out: Path, test: Mapping[Cell, Panel]) -> Figure:
    file = "fig-3-data.png"
    picture = training_data.draw_sets(records, test)
    nothing = "No set has a photo."
    save(notice(nothing) if picture is None else picture, out / file)
    caption = (
        f"Above the photo, below its annotation. Of the first {training_data.FIRST} photos of each training "
        "set the one with the median number of names; of the test photos that of the median IoU."
    )
    return Figure(file, "The data sets", nothing if picture is None else caption, "Fig. 3")


def overlap_figure(reproduction: Path, out: Path) -> Figure:
    """The heat map, which shows no photo."""
    from cmask_tf.vocabulary.artefact import Vocabulary

    vocabulary, file = Vocabulary.load(reproduction / "vocabulary"), "supp-2-overlap.png"
    names, matrix = training_data.overlaps(reproduction / "records", vocabulary)
    caption = "No two box-supervised concepts occur together."
    if names:
        caption = (
            f"How much of concept i lies inside concept j, by the training boxes (Eqn. 3), for the "
            f"{len(names)} box-supervised concepts that co-occur most. Empty: the two never occur together."
        )
    save(training_data.draw_overlaps(names, matrix) if names else notice(caption), out / file)
    return Figure(file, "Overlap ratios O(i, j)", caption, "supplement, Fig. 2")
