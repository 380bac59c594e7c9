"""Two predictions that never look at the photo; a model that is any good beats both.

*Whole image*: every pixel. *Position prior*: where the concept lies in the training data, the mean of
its training masks; of its training boxes when it has no masks; of all training boxes when it has
neither. The prior is cut at the share of its maximum that gives the best mean IoU on those same
training examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cmask_tf import geometry
from cmask_tf.data import pipelines, schema
from cmask_tf.data.records import RecordSet
from cmask_tf.vocabulary.artefact import Vocabulary

GRID = 64  # photos are squashed to GRID x GRID cells
SHARES = np.arange(1, 20) / 20  # of the prior's maximum
ANY = -1  # stands for every concept

Prediction = tuple[np.ndarray, np.ndarray]


def whole_image(name: str, height: int, width: int) -> Prediction:
    """Every pixel: (bool [H, W], float32 [H, W] of ones)."""
    return np.ones((height, width), bool), np.ones((height, width), np.float32)


class PositionPrior:
    """The mean training mask, or box, of each concept.

    Attributes:
        maps: (source, vocabulary index or ANY) -> float32 [GRID, GRID], the share of training examples
            that cover a cell; the source is "masks" or "boxes".
        cuts: the same keys -> the value from which a cell is predicted.
    """

    def __init__(self, records: Path, vocabulary: Vocabulary):
        """Reads the training records twice: for the means, then for the cuts.

        Args:
            records: what `cmask data prepare` wrote; its `masks/` and `boxes/` are used.
            vocabulary: tells which names mean the same concept.
        """
        sets = {source: RecordSet.open(records / source) for source in ("masks", "boxes")}
        self._vocabulary = vocabulary
        self.maps = _means(lambda: _examples(sets, vocabulary, "position prior, means"))
        self.cuts = _best_cuts(self.maps, lambda: _examples(sets, vocabulary, "position prior, cuts"))

    def __call__(self, name: str, height: int, width: int) -> Prediction:
        """Mask bool [H, W] and map float32 [H, W] of a concept."""
        index = self._vocabulary.index(name)
        keys = (("masks", index), ("boxes", index), ("boxes", ANY))
        key = next((key for key in keys if key in self.maps), None)
        if key is None:
            return np.zeros((height, width), bool), np.zeros((height, width), np.float32)
        full = geometry.resize_maps(self.maps[key][..., None], height, width).numpy()[..., 0]
        return full >= self.cuts[key], full


def _examples(
    sets: dict[str, RecordSet], vocabulary: Vocabulary, title: str
) -> Iterator[tuple[str, int, np.ndarray]]:
    """(source, vocabulary index, bool [GRID, GRID]) of each training photo and concept."""
    table = pipelines.name_table(vocabulary.spellings())
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
    """Vocabulary indices int32 [A] of a record's concepts and the unions of their boxes
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
