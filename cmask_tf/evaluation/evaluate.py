"""Scores a system on photos whose concepts' true masks are known (5.2, 5.3, supplement 5).

Three things apart: quality where the concept is present, presence over all (photo, concept) pairs, and
the area of masks of absent concepts. Masks are cut at 0.5 at the photo's size. What `annotated` says is not
fully annotated takes part in the first alone.

Annotations lie on the stored pixels; where a photo's EXIF turns it, its masks are turned along. Memory does
not grow with the number of photos: means are running sums, rows go to `examples.csv` as they come, and scores
wait on disk for their curves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tqdm import tqdm

from cmask_tf.data.coco import coco_categories, entries, load_concept_masks
from cmask_tf.errors import UserError
from cmask_tf.evaluation import report
from cmask_tf.evaluation.aggregate import MINIMUM_PHOTOS, Means, by_group
from cmask_tf.evaluation.annotated import told_absent
from cmask_tf.evaluation.examples import ExampleFile, Pair
from cmask_tf.evaluation.presence import Presence
from cmask_tf.evaluation.ranking import Ranking
from cmask_tf.evaluation.semantic import Semantic
from cmask_tf.evaluation.systems import Describing, Prediction, System, ask
from cmask_tf.imageio import as_seen, read_image
from cmask_tf.metrics import attention_scores, boundary_iou, mask_scores


@dataclass(frozen=True)
class Photo:
    """One photo as a person sees it.

    Attributes:
        number: its place in the annotations, from 0.
        path: of the file.
        image: uint8 RGB [H, W, 3].
        truths: concept -> bool [H, W], of the concepts in the photo.
        told: the concepts whose absence the annotations tell; None: of all.
    """

    number: int
    path: Path
    image: np.ndarray
    truths: Mapping[str, np.ndarray]
    told: frozenset[str] | None = None

    def tells(self, name: str) -> bool:
        """Whether the photo is fully annotated for the concept."""
        return self.told is None or name in self.told

    def holds(self, name: str) -> bool | None:
        """Whether the concept is in the photo; None: the annotations do not tell."""
        return True if name in self.truths else False if self.tells(name) else None


def evaluate(
    system: System,
    images: Path,
    annotations: Path,
    out: Path,
    *,
    title: str | None = None,
    floors: Mapping[str, System] | None = None,
) -> dict:
    """Scores a system and writes `metrics.json`, `examples.csv`, `report.md` and pictures.

    Args:
        system: what is scored; with `describe` it tells a concept's level and kind where the file is silent.
        images: the folder of photos.
        annotations: a COCO instances file; a category's annotations in a photo are one mask.
        out: the folder to write, whole or not at all; an earlier report there is replaced.
        title: what the report and errors call the system; its class by default.
        floors: title -> a system whose means stand beside.

    Returns:
        what `metrics.json` holds.

    Raises:
        UserError: the input is not as it should be, or a system leaves a question unanswered.
    """
    title, floors = title or type(system).__name__, floors or {}
    report.check_place(out)
    photos = load_concept_masks(annotations, images)
    about, unknown = _about(system, coco_categories(annotations))
    told = told_absent(annotations, about)
    asked = [name for name in about if name not in unknown]
    if not asked:
        raise UserError(f"{annotations}: none of its categories is in the vocabulary of {title}")
    total = sum(1 for _ in entries(Path(annotations), "image"))
    if not total:
        raise UserError(f"{annotations}: expected photos in `images`")
    with report.whole_folder(out) as partial, TemporaryDirectory(prefix="cmask-") as scratch:
        scores = Scores(system, title, about, asked, total, Path(scratch))
        beside = {name: FloorScores(floor, name, asked) for name, floor in floors.items()}
        with open(partial / "examples.csv", "w", encoding="utf-8", newline="") as file:
            rows = ExampleFile(file, about)
            for photo in read_photos(tqdm(photos, "evaluate", total, unit="photo"), set(about), told=told):
                for pair in scores.add(photo):
                    rows.add(_within(photo.path, images), pair)
                for floor in beside.values():
                    floor.add(photo)
        metrics = {"system": title, **scores.figures(_frequency(system, asked))}
        metrics |= {"photos": total, "minimum_photos": MINIMUM_PHOTOS, "not_in_vocabulary": unknown}
        if beside:
            metrics["baselines"] = {name: _groups(floor.means, about) for name, floor in beside.items()}
        chosen = scores.ranking.chosen()
        photos = read_photos(load_concept_masks(annotations, images), set(about), chosen)
        pictures = _pictures(system, title, photos, chosen, asked)
        report.write_report(partial, metrics, pictures, len(chosen))
    return metrics


def _about(system: System, categories: dict[str, dict]) -> tuple[dict[str, dict], list[str]]:
    """Name -> level and kind of the categories, and the names of those that the system does not answer.

    The file's word counts; where it is silent, the system's.
    """
    about, unknown = {}, []
    for name, entry in categories.items():
        own = {"level": "unknown", "kind": "unknown"}
        if not system.answers(name):
            unknown.append(name)
        elif isinstance(system, Describing):
            own = {key: getattr(system.describe(name), key) for key in own}
        about[name] = {key: entry.get(key) or own[key] for key in own}
    return about, unknown


def _frequency(system: System, names: Sequence[str]) -> dict[str, float] | None:
    """What a score knows that never sees the photo."""
    if not isinstance(system, Describing):
        return None
    return {name: system.describe(name).frequency for name in names}


def _within(path: Path, images: Path) -> Path:
    return path.relative_to(images) if path.is_relative_to(images) else path


def read_photos(
    photos,
    names: set[str],
    only: Mapping[int, str] | None = None,
    told: Sequence[frozenset[str]] | None = None,
) -> Iterator[Photo]:
    """Reads photos and turns their masks as EXIF turns them.

    Args:
        photos: what `load_concept_masks` returns.
        names: of the concepts whose masks are kept.
        only: numbers of the photos to read; None: all.
        told: what `told_absent` returns.

    Raises:
        UserError: a photo cannot be read, or its size is not that of its masks.
    """
    for number, (path, masks) in enumerate(photos):
        if only is not None and number not in only:
            continue
        image = read_image(path)
        height, width = image.shape[:2]
        masks = {name: mask for name, mask in masks.items() if name in names and mask.any()}
        truths = {name: as_seen(mask, path) for name, mask in masks.items()}
        for name, truth in truths.items():
            if truth.shape != (height, width):
                raise UserError(f"{path}: {width} x {height} pixels, but the mask of {name} has other sides")
        yield Photo(number, path, image, truths, None if told is None else told[number])


class Scores:
    """The running figures of one system."""

    def __init__(
        self,
        system: System,
        title: str,
        about: Mapping[str, Mapping[str, str]],
        asked: Sequence[str],
        photos: int,
        scratch: Path,
    ):
        """Args:
        system: what is scored.
        title: what errors call it.
        about: name -> {"level", "kind"} of the evaluated concepts.
        asked: those of them that the system answers.
        photos: how many there will be.
        scratch: an empty folder for scores (9 bytes a pair and 8 a photo); who made it removes it.
        """
        self._system, self._title, self._about, self._asked = system, title, about, list(asked)
        self.means = Means()
        self._presence = Presence(asked, photos, scratch)
        self._semantic = Semantic(asked)
        self.ranking = Ranking(photos, scratch)

    def add(self, photo: Photo) -> Iterator[Pair]:
        """Asks for every concept and yields a pair for each, those that the system does not answer last."""
        ious, complete = [], photo.told is None
        if complete:
            self._semantic.start(photo.image.shape[:2])
        for prediction in ask(self._system, self._title, photo.path, photo.image, self._asked):
            pair = measure(prediction, photo.truths.get(prediction.name))
            pair = replace(pair, truth=photo.holds(pair.concept))
            if photo.tells(pair.concept):
                self._presence.add(photo.number, pair)
            if complete and prediction.probability is not None:
                self._semantic.add(prediction.name, prediction.probability, prediction.present)
            if pair.truth:
                self.means.add(pair.concept, pair.scores)
            if "iou" in pair.scores:
                ious.append(pair.scores["iou"])
            yield pair
        if complete:
            self._semantic.finish(photo.truths)
        if ious:
            self.ranking.add(photo.number, float(np.mean(ious)))
        for name in self._about:
            if name not in self._asked:
                yield Pair(name, photo.holds(name))

    def figures(self, frequency: Mapping[str, float] | None) -> dict:
        """`levels`, `kinds`, `concepts`, `presence` and `semantic` of metrics.json."""
        return {
            **_groups(self.means, self._about),
            "concepts": self.means.by_concept(self._about),
            "presence": self._presence.figures(frequency),
            "semantic": self._semantic.figures(),
        }


class FloorScores:
    """The means of a system that stands beside: where concepts are present, nothing else."""

    def __init__(self, system: System, title: str, asked: Sequence[str]):
        """Args:
        system: what is scored.
        title: what errors call it.
        asked: the concepts that the scored system answers.
        """
        self._system, self._title = system, title
        self._asked = [name for name in asked if system.answers(name)]
        self.means = Means()

    def add(self, photo: Photo) -> None:
        """Scores the photo's concepts."""
        shown = [name for name in self._asked if name in photo.truths]
        for prediction in ask(self._system, self._title, photo.path, photo.image, shown):
            pair = measure(prediction, photo.truths[prediction.name])
            self.means.add(pair.concept, pair.scores)


def measure(prediction: Prediction, truth: np.ndarray | None) -> Pair:
    """One pair's row.

    Args:
        prediction: one that `ask` has looked at.
        truth: bool [H, W], not empty; None: the concept is absent.
    """
    mask = None if prediction.probability is None else prediction.probability >= 0.5
    scores = {}
    if truth is not None and mask is not None:
        scores |= mask_scores(mask, truth) | {"boundary_iou": boundary_iou(mask, truth)}
    if truth is not None and prediction.attention is not None:
        scores |= attention_scores(prediction.attention, truth)
    return Pair(
        prediction.name,
        truth is not None,
        {metric: float(value) for metric, value in scores.items()},
        None if mask is None else float(np.count_nonzero(mask) / mask.size),
        None if prediction.score is None else float(prediction.score),
        None if prediction.present is None else bool(prediction.present),
    )


def _groups(means: Means, about: Mapping[str, Mapping[str, str]]) -> dict:
    concepts = means.by_concept(about)
    return {"levels": by_group(concepts, "level"), "kinds": by_group(concepts, "kind")}


def _pictures(
    system: System, title: str, photos: Iterator[Photo], chosen: Mapping[int, str], asked: Sequence[str]
) -> Iterator[report.Picture]:
    """The chosen photos again, with their masks."""
    for photo in photos:
        known = [name for name in photo.truths if name in asked]
        shown = sorted(known, key=lambda name: -photo.truths[name].sum())[: report.MOST_CONCEPTS]
        panels = [
            report.Panel(
                found.name, found.probability >= 0.5, found.score, found.present, photo.truths[found.name]
            )
            for found in ask(system, title, photo.path, photo.image, shown)
            if found.probability is not None
        ]
        rank = list(chosen).index(photo.number)
        yield report.Picture(rank, photo.path, chosen[photo.number], photo.image, panels)
