"""Evaluates a segmenter on photos whose concepts' true masks are known (5.2, 5.3, supplement 5).

Three things apart: quality where the concept is present, presence over all (photo, concept) pairs, and
the area of masks of absent concepts. Masks are cut at 0.5 at the photo's size. The attention measures
are taken on the mean of the two scales' maps as they are given to Stage 3 but before min-max, each
upsampled bilinearly to the photo's size.

Annotations lie on the stored pixels; where a photo's EXIF turns it, its masks are turned along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from cmask_tf import geometry
from cmask_tf.data.coco import coco_categories, load_concept_masks
from cmask_tf.data.sources import read_json
from cmask_tf.errors import UserError
from cmask_tf.evaluation import report
from cmask_tf.evaluation.aggregate import MINIMUM_PHOTOS, Example, by_concept, by_group
from cmask_tf.evaluation.presence import presence
from cmask_tf.imageio import read_image
from cmask_tf.metrics import attention_scores, mask_scores

Predictor = Callable[[str, int, int], tuple[np.ndarray, np.ndarray]]


@dataclass
class _Results:
    """What is kept of the photos: numbers alone."""

    examples: list[Example] = field(default_factory=list)
    baselines: dict[str, list[Example]] = field(default_factory=dict)
    scores: list[np.ndarray] = field(default_factory=list)  # of each photo [K]
    found: list[np.ndarray] = field(default_factory=list)
    areas: list[np.ndarray] = field(default_factory=list)
    truth: list[np.ndarray] = field(default_factory=list)
    photo_iou: dict[Path, float] = field(default_factory=dict)


def evaluate(
    segmenter, images: Path, annotations: Path, out: Path, baselines_records: Path | None = None
) -> dict:
    """Scores a segmenter and writes `metrics.json`, `report.md` and pictures.

    Args:
        segmenter: a ConceptSegmenter, or what offers its `encode`, `iterate`, `attention`, `vocabulary`
            and `concepts`.
        images: the folder of photos.
        annotations: a COCO instances file; a category's annotations in a photo are one mask.
        out: the folder to write, whole or not at all; an earlier report there is replaced.
        baselines_records: what `cmask data prepare` wrote, for the position prior; without it no
            baselines are reported.

    Returns:
        what `metrics.json` holds.
    """
    report.check_place(out)
    photos = load_concept_masks(annotations, images)
    total = len(read_json(Path(annotations), dict, "a COCO object")["images"])
    about, unknown = _about(segmenter, coco_categories(annotations))
    if not about:
        raise UserError(f"{annotations}: none of its categories is in the model's vocabulary")
    predictors = _baselines(baselines_records, segmenter.vocabulary)
    results = _Results(baselines={name: [] for name in predictors})
    for path, truths in tqdm(photos, "evaluate", total, unit="photo"):
        _score_photo(segmenter, path, _known(truths, about, path), list(about), predictors, results)
    metrics = _summary(results, about, _frequency(segmenter.vocabulary, about))
    metrics |= {"photos": total, "minimum_photos": MINIMUM_PHOTOS, "not_in_vocabulary": unknown}
    chosen = report.choose_photos(results.photo_iou)
    pictures = _pictures(segmenter, load_concept_masks(annotations, images), chosen, about)
    report.write_report(out, metrics, pictures, len(chosen))
    return metrics


def _about(segmenter, categories: dict[str, dict]) -> tuple[dict[str, dict], list[str]]:
    """Name -> level and kind of the categories in the vocabulary, and the names of the others.

    The file's word counts; where it is silent, the model's.
    """
    vocabulary = segmenter.vocabulary
    trained = {concept["name"]: concept for concept in segmenter.concepts}
    about, unknown = {}, []
    for name, entry in categories.items():
        index = vocabulary.find(name)
        if index is None:
            unknown.append(name)
            continue
        concept = trained.get(vocabulary.names[index], {})
        level = entry.get("level") or concept.get("level", "zero")
        kind = entry.get("kind") or concept.get("kind") or vocabulary.kinds[index]
        about[name] = {"level": level, "kind": kind}
    return about, unknown


def _baselines(records: Path | None, vocabulary) -> dict[str, Predictor]:
    if records is None:
        return {}
    from cmask_tf.evaluation.baselines import PositionPrior, whole_image

    return {"whole image": whole_image, "position prior": PositionPrior(records, vocabulary)}


def _known(truths: dict[str, np.ndarray], about: dict[str, dict], path: Path) -> dict[str, np.ndarray]:
    """The true masks of the evaluated concepts, as a person sees the photo."""
    return {name: _as_seen(mask, path) for name, mask in truths.items() if name in about and mask.any()}


def _as_seen(mask: np.ndarray, path: Path) -> np.ndarray:
    with Image.open(path) as photo:
        exif = photo.getexif()
    turned = Image.fromarray(mask.astype(np.uint8))
    turned.getexif().update(exif)
    return np.asarray(ImageOps.exif_transpose(turned)) > 0


def _score_photo(
    segmenter, path: Path, truths: dict, names: list[str], predictors: dict[str, Predictor], results: _Results
) -> None:
    image = read_image(path)
    height, width = image.shape[:2]
    for name, truth in truths.items():
        if truth.shape != (height, width):
            raise UserError(f"{path}: {width} x {height} pixels, but the mask of {name} has other sides")
    features = segmenter.encode(image)
    shown = [name for name in names if name in truths]
    maps = _attention(segmenter, shown, features, height, width)
    scores, found, areas, ious = [], [], [], []
    for name, probability, score, present in segmenter.iterate(names, features):
        mask = probability >= 0.5
        scores.append(score)
        found.append(present)
        areas.append(mask.mean())
        if name in truths:
            results.examples.append(_example(path, name, mask, next(maps), truths[name]))
            ious.append(results.examples[-1].scores["iou"])
    for baseline, predict in predictors.items():
        for name in shown:
            example = _example(path, name, *predict(name, height, width), truths[name])
            results.baselines[baseline].append(example)
    results.scores.append(np.array(scores, np.float32))
    results.found.append(np.array(found, bool))
    results.areas.append(np.array(areas, np.float32))
    results.truth.append(np.array([name in truths for name in names]))
    if ious:
        results.photo_iou[path] = float(np.mean(ious))


def _example(path: Path, name: str, mask: np.ndarray, attention: np.ndarray, truth: np.ndarray) -> Example:
    return Example(str(path), name, mask_scores(mask, truth) | attention_scores(attention, truth))


def _attention(segmenter, names: list[str], features, height: int, width: int) -> Iterator[np.ndarray]:
    """The mean of both scales at the photo's size, float32 [H, W], one concept at a time."""
    if not names:
        return
    for maps in zip(*segmenter.attention(names, features), strict=True):
        full = [geometry.resize_maps(small[..., np.newaxis], height, width) for small in maps]
        yield np.mean([one.numpy()[..., 0] for one in full], axis=0)


def _summary(results: _Results, about: dict[str, dict], frequency: np.ndarray) -> dict:
    columns = (results.scores, results.found, results.truth, results.areas)
    concepts = by_concept(results.examples, about)
    metrics = {
        "levels": by_group(concepts, "level"),
        "kinds": by_group(concepts, "kind"),
        "concepts": concepts,
        "presence": presence(*(np.array(column) for column in columns), frequency),
    }
    if results.baselines:
        metrics["baselines"] = {}
        for baseline, examples in results.baselines.items():
            rows = by_concept(examples, about)
            metrics["baselines"][baseline] = {
                "levels": by_group(rows, "level"),
                "kinds": by_group(rows, "kind"),
            }
    return metrics


def _frequency(vocabulary, about: dict[str, dict]) -> np.ndarray:
    """How many training photos have each concept's tag: what a score knows that never sees the photo."""
    return np.array([vocabulary.counts[vocabulary.index(name)] for name in about], np.float64)


def _pictures(segmenter, photos, chosen: dict[Path, str], about: dict[str, dict]) -> Iterator[report.Picture]:
    """The chosen photos again, with their masks."""
    for path, truths in photos:
        if path in chosen:
            image, truths = read_image(path), _known(truths, about, path)
            shown = sorted(truths, key=lambda name: -truths[name].sum())[: report.MOST_CONCEPTS]
            found = segmenter.iterate(shown, segmenter.encode(image))
            panels = [
                (name, mask >= 0.5, score, present, truths[name]) for name, mask, score, present in found
            ]
            yield report.Picture(list(chosen).index(path), path, chosen[path], image, panels)
