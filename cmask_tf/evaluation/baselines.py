"""Two predictions that never look at the photo; a model that is any good beats both.

*Whole image*: every pixel. *Position prior*: where the concept lies in the training data, the mean of
its training masks; of its training boxes when it has no masks; of all training boxes when it has
neither. The prior is cut at the share of its maximum that gives the best mean IoU on those same
training examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cmask_tf import geometry
from cmask_tf.data import pipelines, schema
from cmask_tf.data.records import RecordSet
from cmask_tf.evaluation.systems import Prediction
from cmask_tf.vocabulary.artefact import Vocabulary

GRID = 64  # photos are squashed to GRID x GRID cells
SHARES = np.arange(1, 20) / 20  # of the prior's maximum
ANY = -1  # stands for every concept


class WholeImage:
    """A System: every pixel, for every concept."""

    def answers(self, name: str) -> bool:
        return True

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        everywhere = np.ones(image.shape[:2], np.float32)
        for name in names:
            yield Prediction(name, everywhere, everywhere)


class PositionPrior:
    """A System: the mean training mask, or box, of each concept.

    Attributes:
        maps: (source, concept's number or ANY) -> float32 [GRID, GRID], the share of training examples
            that cover a cell; the source is "masks" or "boxes".
        cuts: the same keys -> the value from which a cell is predicted.
    """

    def __init__(self, records: Path, vocabulary: Vocabulary | None = None):
        """Reads the training records twice: for the means, then for the cuts.

        Args:
            records: what `cmask data prepare` wrote; its `masks/` and `boxes/` are used.
            vocabulary: tells which names mean the same concept; None: equal names do.
        """
        sets = {source: RecordSet.open(records / source) for source in ("masks", "boxes")}
        if vocabulary is None:
            names = sorted({name for records in sets.values() for name in records.concepts})
            numbers = {name: number for number, name in enumerate(names)}
            self._find = numbers.get
        else:
            numbers, self._find = vocabulary.spellings(), vocabulary.find
        self.maps = _means(lambda: _examples(sets, numbers, "position prior, means"))
        self.cuts = _best_cuts(self.maps, lambda: _examples(sets, numbers, "position prior, cuts"))

    def answers(self, name: str) -> bool:
        return True

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        for name in names:
            full, cut = self._map(name, *image.shape[:2])
            yield Prediction(name, (full >= cut).astype(np.float32), full)

    def _map(self, name: str, height: int, width: int) -> tuple[np.ndarray, float]:
        """A concept's map float32 [height, width] and where it is cut."""
        number = self._find(name)
        keys = (("masks", number), ("boxes", number), ("boxes", ANY))
        key = next((key for key in keys if key in self.maps), None)
        if key is None:
            return np.zeros((height, width), np.float32), 1.0
        full = geometry.resize_maps(self.maps[key][..., None], height, width).numpy()[..., 0]
        return full, self.cuts[key]


def _examples(
    sets: dict[str, RecordSet], numbers: Mapping[str, int], title: str
) -> Iterator[tuple[str, int, np.ndarray]]:
    """(source, concept's number, bool [GRID, GRID]) of each training photo and concept."""
    table = pipelines.name_table(numbers)
    for source, records in sets.items():
        unions = {"boxes": _box_unions, "masks": _mask_unions}[source]
        rows = tf.data.TFRecordDataset(records.files).map(
            lambda serialized, unions=unions: unions(schema.parse(serialized), table),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        rows = tqdm(rows.as_numpy_iterator(), title, records.examples, unit="photo", leave=False)
        for concepts, grids in rows:
            for index, grid in zip(concepts, grids, strict=True):
                yield source, int(index), grid


def _box_unions(row: dict, table: tf.lookup.StaticHashTable) -> tuple[tf.Tensor, tf.Tensor]:
    """Numbers int32 [A] of a record's concepts and the unions of their boxes
    bool [A, GRID, GRID]."""
    ids = table.lookup(row["names"])
    known = ids >= 0
    concepts, slots = tf.unique(tf.boolean_mask(ids, known))
    boxes = tf.boolean_mask(row["boxes"], known)
    grids = geometry.boxes_to_grid(boxes, slots, tf.size(concepts), GRID, GRID)
    return concepts, tf.transpose(grids, (2, 0, 1)) > 0


def _mask_unions(row: dict, table: tf.lookup.StaticHashTable) -> tuple[tf.Tensor, tf.Tensor]:
    """The same of its masks: cells of which half or more are covered."""
    ids = table.lookup(row["names"])
    known = (ids >= 0) & (row["masks"] != "")
    concepts, slots = tf.unique(tf.boolean_mask(ids, known))
    if tf.size(concepts) == 0:
        return concepts, tf.zeros([0, GRID, GRID], tf.bool)
    masks = tf.map_fn(
        lambda png: tf.io.decode_png(png, channels=1),
        tf.boolean_mask(row["masks"], known),
        fn_output_signature=tf.TensorSpec([None, None, 1], tf.uint8),
    )
    unions = tf.math.unsorted_segment_max(tf.cast(masks > 0, tf.int32), slots, tf.size(concepts))
    covered = geometry.resize_image(tf.cast(unions, tf.float32), GRID)
    return concepts, covered[..., 0] >= 0.5


def _keys(source: str, index: int) -> tuple[tuple[str, int], ...]:
    return ((source, index), (source, ANY)) if source == "boxes" else ((source, index),)


def _means(examples: Callable[[], Iterator]) -> dict[tuple[str, int], np.ndarray]:
    sums: dict[tuple[str, int], np.ndarray] = {}
    counts: dict[tuple[str, int], int] = {}
    for source, index, grid in examples():
        if grid.any():
            for key in _keys(source, index):
                sums[key] = sums.get(key, np.float32(0)) + grid
                counts[key] = counts.get(key, 0) + 1
    return {key: (total / counts[key]).astype(np.float32) for key, total in sums.items()}


def _best_cuts(maps: dict[tuple[str, int], np.ndarray], examples: Callable[[], Iterator]) -> dict:
    levels = {key: SHARES * value.max() for key, value in maps.items()}
    cut = {key: (maps[key].ravel() >= levels[key][:, None]).astype(np.float32) for key in maps}
    totals = {key: np.zeros(len(SHARES)) for key in maps}
    for source, index, grid in examples():
        if grid.any():
            for key in _keys(source, index):
                hit = cut[key] @ grid.ravel().astype(np.float32)
                totals[key] += hit / (cut[key].sum(axis=1) + grid.sum() - hit)
    return {key: float(levels[key][np.argmax(total)]) for key, total in totals.items()}
