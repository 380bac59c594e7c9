"""How much of concept i lies inside concept j: Eqn. 3's overlap ratios and Eqn. 4's weights (4.2, supp. 2.2).

a_n(i) is the union of the boxes of concept i in image n. Areas are shares of the image, exact (no raster), so
every image weighs the same, as it does when all are squashed to one size. Ratios are not symmetric: a face
lies wholly in its person, the person hardly in the face.

Memory is quadratic: 20 bytes a pair. Count box-supervised concepts only (750 of them: 11 MB), numbered
0..J-1, and give their ids to `losses.spatial_discrimination` as `boxed`; 18,000 would take 6.5 GB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from cmask_tf.data import schema


class OverlapCounter:
    """Sums of Eqn. 3 over images, one `add` an image.

    Attributes:
        images: int32 [J, J], the number of images that hold both i and j.
    """

    def __init__(self, concepts: int):
        """Args:
        concepts: J; ids are 0..J-1.
        """
        self._shared = np.zeros((concepts, concepts))
        self._area = np.zeros((concepts, concepts))
        self.images = np.zeros((concepts, concepts), np.int32)

    def add(self, concepts: np.ndarray, boxes: np.ndarray) -> None:
        """Counts one image.

        Args:
            concepts: int [N], the concept of each box; a concept may have several, -1 is ignored.
            boxes: float [N, 4], (ymin, xmin, ymax, xmax), 0 to 1.
        """
        concepts = np.asarray(concepts)
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)[concepts >= 0]
        present, slots = np.unique(concepts[concepts >= 0], return_inverse=True)
        if len(present) == 0:
            return
        cells, covered = _cells(boxes, slots, len(present))
        shared = (covered * cells) @ covered.T
        pairs = np.ix_(present, present)
        self._shared[pairs] += shared
        self._area[pairs] += np.diag(shared)[:, None]
        self.images[pairs] += 1

    def overlap_matrix(self) -> np.ndarray:
        """O(i, j) of Eqn. 3, over the images that hold both.

        Returns:
            float32 [J, J], 0 to 1; NaN where a pair was never seen together (no entry) or has no area.
        """
        with np.errstate(invalid="ignore"):
            return (self._shared / self._area).astype(np.float32)


def discrimination_weights(
    overlap: np.ndarray, cooccurrence: np.ndarray, min_cooccurrence: int, boxed: np.ndarray | None = None
) -> np.ndarray:
    """gamma of Eqn. 4: 1 - O(i, j) below an overlap of 0.5, else 0.

    Args:
        overlap: float32 [J, J], NaN where there is no entry.
        cooccurrence: int [J, J], images that hold both (`OverlapCounter.images`).
        min_cooccurrence: a pair in fewer images has no entry.
        boxed: bool [J], the box-supervised concepts; the others get no weight. All by default.

    Returns:
        float32 [J, J], 0 or 0.5 to 1; 0 on the diagonal and where there is no entry.
    """
    known = (cooccurrence >= min_cooccurrence) & (overlap < 0.5)  # NaN < 0.5 is False
    if boxed is not None:
        known &= boxed[:, None] & boxed[None, :]
    np.fill_diagonal(known, False)
    return np.where(known, 1.0 - overlap, 0.0).astype(np.float32)


def _cells(boxes: np.ndarray, slots: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The image cut at every box edge: the cells' areas [C], and which concepts cover them [count, C]."""
    rows, columns = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    covered = np.zeros((count, len(rows) - 1, len(columns) - 1))
    top, bottom = np.searchsorted(rows, boxes[:, 0]), np.searchsorted(rows, boxes[:, 2])
    left, right = np.searchsorted(columns, boxes[:, 1]), np.searchsorted(columns, boxes[:, 3])
    for slot, y0, y1, x0, x1 in zip(slots, top, bottom, left, right, strict=True):
        covered[slot, y0:y1, x0:x1] = 1.0
    return np.outer(np.diff(rows), np.diff(columns)).ravel(), covered.reshape(count, -1)


def box_gamma(files: Sequence[str], place: Mapping[str, int], min_cooccurrence: int) -> np.ndarray:
    """gamma of Eqn. 4 from the boxes of records, crowds left out.

    Args:
        files: TFRecord files.
        place: folded name -> 0..J-1, each number by at least one name.
        min_cooccurrence: photos that must hold a pair before O(i, j) exists.

    Returns:
        float32 [J, J].
    """
    counter = count_overlaps(files, place)
    return discrimination_weights(counter.overlap_matrix(), counter.images, min_cooccurrence)


def count_overlaps(files: Sequence[str], place: Mapping[str, int]) -> OverlapCounter:
    """Eqn. 3's sums over the boxes of records, crowds left out; the arguments are those of `box_gamma`."""
    counter = OverlapCounter(1 + max(place.values(), default=-1))
    for serialized in tf.data.TFRecordDataset(files):
        record = schema.parse(serialized)
        numbers = np.array([place.get(name.decode(), -1) for name in record["names"].numpy()], np.int32)
        counter.add(np.where(record["crowd"], -1, numbers), record["boxes"].numpy())
    return counter
