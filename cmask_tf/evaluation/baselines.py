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
from cmask_tf.data import schema
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
    for source, records in sets.items():
        rows = tf.data.TFRecordDataset(records.files)
        for serialized in tqdm(rows, title, records.examples, unit="photo", leave=False):
            row = schema.parse(serialized)
            ids = [vocabulary.find(name.decode()) for name in row["names"].numpy()]
            for index in sorted({i for i in ids if i is not None}):
                slots = np.array([i == index for i in ids])
                yield source, index, _union(row, slots, source)


def _union(row: dict, chosen: np.ndarray, source: str) -> np.ndarray:
    """The union of the chosen objects' masks or boxes, bool [GRID, GRID]."""
    if source == "boxes":
        slots = np.where(chosen, 0, -1).astype(np.int32)
        return geometry.boxes_to_grid(row["boxes"], slots, 1, GRID, GRID).numpy()[..., 0] > 0
    union = np.zeros((GRID, GRID), bool)
    for png in row["masks"].numpy()[chosen]:
        if png:
            mask = tf.io.decode_png(png, channels=1) > 0
            covered = geometry.resize_image(tf.cast(mask, tf.float32), GRID)  # the share of each cell
            union |= covered.numpy()[..., 0] >= 0.5
    return union


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
