"""Photos from elsewhere in place of the test photos, where those are not to be published.

Nobody has drawn true masks on them: they show what the systems find and how sure they are, not how well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cmask_tf.data.coco import coco_categories
from cmask_tf.errors import UserError
from cmask_tf.evaluation.attention_systems import FOLDERS
from cmask_tf.evaluation.figures.cells import cut_out
from cmask_tf.evaluation.figures.grid import SIDE, Panel, Row, draw_grid, fitted, notice, save
from cmask_tf.evaluation.figures.make import Figure, Systems, annotations_of, open_systems, overlap_figure
from cmask_tf.evaluation.figures.plans import OURS
from cmask_tf.evaluation.systems import Prediction, System
from cmask_tf.imageio import read_image
from cmask_tf.overview import heat_map

MOST = 6  # concepts of a photo
_MAPS = tuple(name for name in FOLDERS if name != "Original-Finetuned")  # Fig. 4's columns


def make_figures_elsewhere(
    reproduction: Path, data: Path, out: Path, seed: int, photos: Sequence[Path]
) -> list[Figure]:
    """The heat map of O(i, j) and, for each photo, what the systems of one seed find in it.

    Args:
        reproduction: `records/`, `vocabulary/` and `seed-S/` with its stages.
        data: the data folder that it was made from; none of its photos is opened.
        out: the folder of the pictures, made when it is not there.
        seed: S.
        photos: those that may be shown, each with a name of its own.

    Returns:
        The photos' figures in their order, then the heat map.

    Raises:
        UserError: our system is missing, a photo cannot be read, or two have one name.
    """
    annotations = annotations_of(Path(data))
    systems = open_systems(Path(reproduction) / f"seed-{seed}", annotations)
    return figures_elsewhere(
        Path(reproduction), Path(out), list(coco_categories(annotations)), systems, photos
    )


def figures_elsewhere(
    reproduction: Path, out: Path, concepts: Sequence[str], systems: Systems, photos: Sequence[Path]
) -> list[Figure]:
    """`make_figures_elsewhere` with the concepts to ask for, and with systems that are given."""
    named: dict[str, Path] = {}
    for path in photos:
        if path.stem in named:
            raise UserError(f"{path}: expected another name than that of {named[path.stem]}")
        named[path.stem] = path
    out.mkdir(parents=True, exist_ok=True)
    ours = systems[OURS]()
    answers = {path: _present(ours, path, concepts) for path in photos}
    columns = {OURS: {path: _panels(found, path, "mask") for path, found in answers.items()}}
    del ours  # one system is in memory at a time
    for name in tqdm([name for name in systems if name != OURS], "figures", unit="system", leave=False):
        system = systems[name]()
        shows = "attention" if name in FOLDERS else "mask"
        columns[name] = {
            path: _panels(_ask(system, path, [one.name for one in found]), path, shows)
            for path, found in answers.items()
        }
    order = [*(name for name in _MAPS if name in columns), *(n for n in columns if n not in FOLDERS)]
    figures = [_figure(path, found, columns, order, out) for path, found in answers.items()]
    return [*figures, overlap_figure(reproduction, out)]


def _present(ours: System, path: Path, concepts: Sequence[str]) -> list[Prediction]:
    """What is found of all concepts, the surest first."""
    found = [one for one in _ask(ours, path, concepts) if one.present]
    return sorted(found, key=lambda one: -one.score)[:MOST]


def _ask(system: System, path: Path, names: Sequence[str]) -> list[Prediction]:
    known = [name for name in names if system.answers(name)]
    return list(system.predict(path, read_image(path), known)) if known else []


def _panels(answers: Sequence[Prediction], path: Path, shows: str) -> dict[str, Panel]:
    small, panels = fitted(read_image(path), SIDE), {}
    for one in answers:
        if shows == "mask" and one.probability is not None:
            panels[one.name] = Panel(cut_out(small, one.probability >= 0.5))
        if shows == "attention" and one.attention is not None:
            panels[one.name] = Panel(heat_map(one.attention, small.shape[:2]))
    return panels


def _figure(
    path: Path, found: Sequence[Prediction], columns: dict, order: Sequence[str], out: Path
) -> Figure:
    file, title = f"photo-{path.stem}.png", f"{path.stem}, a photo from elsewhere"
    photo = Panel(fitted(read_image(path), SIDE))
    rows = [
        Row(
            (one.name, f"score {one.score:.2f}"),
            (photo, *(columns[name][path].get(one.name, Panel(None)) for name in order)),
        )
        for one in found
    ]
    nothing = "None of the concepts is found in it."
    save(draw_grid(["photo", *order], rows) if rows else notice(nothing), out / file)
    caption = (
        f"Of the test set's concepts those that are found, at most {MOST}, the surest first, by their score. "
        "Attention maps are stretched to their range; an empty place: the system does not know the concept."
    )
    return Figure(file, title, caption if rows else nothing, "Fig. 4 and 5")
