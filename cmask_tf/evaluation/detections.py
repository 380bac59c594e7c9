"""The rows of detectors in Table 2 (Mask R-CNN, FCIS, Mask R-CNN*), from their COCO results files.

"The model generates instance mask for a given concept, and we merge all the instances of one concept to one
binary mask" (Table 2): the union of a concept's instances whose score is high enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from cmask_tf.data import coco, fields, run_lengths
from cmask_tf.data.streams import holds_a_list, json_entries
from cmask_tf.errors import UserError
from cmask_tf.evaluation.systems import Prediction
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.imageio import as_seen
from cmask_tf.vocabulary.text import fold

_NO_MASK = "expected a segmentation, polygons or an RLE; a box is no mask"


class Detections:
    """A detector that has answered already: a System (`evaluation/systems.py`).

    The file is read record by record. In memory stays one run-length mask and one score a (photo, concept)
    that has an instance, some hundred bytes each, whatever the number of instances.

    Args:
        file: COCO results, also .gz: a list of {"image_id", "category_id" or "category" (its name),
            "segmentation" (polygons in px, or an RLE of either form), "score" in [0, 1]}, or an object with
            that list as "annotations" and "categories" of its own. Other keys ("bbox") are not read.
        least_score: an instance belongs to the mask, and its concept is present, from this score on.
        annotations: the COCO file that the detector's ids are from: its `images`, and its `categories` where
            the results have none.

    Raises:
        UserError: a file that is not as said, with the entry: an image or category that the annotations do
            not have, no segmentation, an RLE of another size than its photo, a score that is none.
    """

    def __init__(self, file: Path, least_score: float = 0.5, *, annotations: Path):
        self._file, self._annotations, self._least = Path(file), Path(annotations), least_score
        self._sizes, self._by_name = _images(self._annotations)
        own = not holds_a_list(self._file)
        faults = Faults(strict=True)
        self._names = coco.read_categories(self._file if own else self._annotations, faults)
        self._concepts = set(self._names.values())
        self._masks: dict[tuple[str, str], dict] = {}  # of instances from the least score on
        self._scores: dict[tuple[str, str], float] = {}  # the highest, of any instance
        for where, entry in _entries(self._file, "annotations" if own else None):
            try:
                self._add(entry, where)
            except BadRecord as bad:
                raise UserError(str(bad)) from None

    def answers(self, name: str) -> bool:
        """Whether the detector could have found it: a category of the results, or of the annotations."""
        return fold(name) in self._concepts

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        """The merged instances of each concept; without any, an empty mask and the score 0.

        Raises:
            UserError: a photo that the annotations do not have, or have with other sides.
        """
        number = self._image_of(Path(path))
        height, width = self._sizes[number]
        for name in names:
            key = number, fold(name)
            found = self._masks.get(key)
            mask = rle.decode(found) if found else np.zeros((height, width), np.uint8)
            mask = as_seen(mask > 0, path)
            if mask.shape != image.shape[:2]:
                raise UserError(
                    f"{path}: {image.shape[1]} x {image.shape[0]} pixels; "
                    f"{self._annotations} has {width} x {height}"
                )
            score = self._scores.get(key, 0.0)
            yield Prediction(name, mask.astype(np.float32), None, score, found is not None)

    def _add(self, entry: object, where: str) -> None:
        entry = fields.mapping(entry, where)
        number = fields.identifier(entry, ("image_id",), where)
        if number not in self._sizes:
            raise BadRecord(f"no such image in {self._annotations}", where, f"image_id {number[:80]}")
        key, score = (number, self._category(entry, where)), _score(entry, where)
        counts = _counts(entry.get("segmentation"), *self._sizes[number], where)
        self._scores[key] = max(score, self._scores.get(key, 0.0))
        if score >= self._least:
            parts = [{"size": list(self._sizes[number]), "counts": counts}] if counts else []
            parts += [self._masks[key]] if self._masks.get(key) else []
            self._masks[key] = rle.merge(parts) if parts else {}

    def _category(self, entry: dict, where: str) -> str:
        if entry.get("category_id") is None and entry.get("category") is not None:
            name = fold(fields.text(entry["category"], "category", where))
            if name in self._concepts:
                return name
        else:
            name = fields.identifier(entry, ("category_id",), where)
            if name in self._names:
                return self._names[name]
        raise BadRecord("expected one of the file's categories", where, fields.shown(name))

    def _image_of(self, path: Path) -> str:
        """The id of the annotated photo whose name shares the longest end with a path."""
        found = self._by_name.get(path.name, [])
        shared = [_shared_end(path.parts, parts) for parts, _ in found]
        if not found or shared.count(max(shared)) > 1:
            problem = "several photos of that name" if found else "no such photo"
            raise UserError(f"{path}: {problem} in {self._annotations}")
        return found[int(np.argmax(shared))][1]


def _images(path: Path) -> tuple[dict[str, tuple[int, int]], dict[str, list]]:
    """Image id -> (height, width), and file name without folders -> [(parts of the whole name, image id)]."""
    sizes, by_name = {}, {}
    for where, entry in coco.entries(path, "image"):
        try:
            image = coco.parse_image(entry, where)
        except BadRecord as bad:
            raise UserError(str(bad)) from None
        if image.number in sizes:
            raise UserError(f"{where}: expected one entry an image id")
        sizes[image.number] = image.height, image.width
        parts = tuple(image.names[0].replace("\\", "/").split("/"))
        by_name.setdefault(parts[-1], []).append((parts, image.number))
    return sizes, by_name


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


def _entries(path: Path, key: str | None) -> Iterator[tuple[str, object]]:
    """("file: result number 7", entry) of a results file; what is no JSON is told with its place."""
    number = 0
    try:
        for number, entry in enumerate(json_entries(path, key, "an object of results"), 1):
            yield f"{path}: result number {number}", entry
    except UserError as error:
        if "not JSON" not in str(error):
            raise
        raise UserError(f"{error}, after result number {number}") from None


def _score(entry: dict, where: str) -> float:
    score = entry.get("score")
    if type(score) not in (int, float) or not isfinite(score) or not 0 <= score <= 1:
        raise BadRecord("expected a score from 0 to 1", where, fields.shown(score))
    return float(score)


def _counts(shape: object, height: int, width: int, where: str) -> bytes | None:
    if isinstance(shape, list) and shape:
        return run_lengths.from_polygons(shape, height, width, where)
    if isinstance(shape, dict) and shape:
        return run_lengths.from_rle(shape, height, width, where)
    raise BadRecord(_NO_MASK, where, fields.shown(shape))
