"""How well Stage 2 tells siblings apart: concepts with boxes that seldom lie in the same place (4.2).

j is a sibling of i when gamma_ij > 0 (Eqn. 4, from the training boxes). On photos with true masks we look at
i's own region, the part of its mask that no sibling's mask covers, and ask what the refined maps say there.
The paper has no such measure: it shows the spatial discrimination loss by its effect on other measures only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from cmask_tf import model_directory
from cmask_tf.data import pipelines
from cmask_tf.data.records import RecordSet
from cmask_tf.overlap import box_gamma
from cmask_tf.training.attention_cache import RefinedMaps
from cmask_tf.training.concepts import trained_spellings, with_level
from cmask_tf.training.validation import true_masks

MEASURES = ("own", "leak", "confused")
_ATTENTION_PARTS = ("backbone", "embedding", "refinement")
_BATCH = 8


class Siblings:
    """Gathers, photo by photo, what the maps of J concepts say in each other's regions."""

    def __init__(self, gamma: np.ndarray):
        """Args:
        gamma: float [J, J] of Eqn. 4; above 0 where j is a sibling of i.
        """
        self._siblings = [np.flatnonzero(row > 0) for row in np.asarray(gamma)]
        self._found: dict[int, list[tuple[float, float, float]]] = defaultdict(list)

    def add(self, maps: np.ndarray, masks: Mapping[int, np.ndarray]) -> None:
        """Counts one photo.

        Args:
            maps: float [J, h, w], refined maps, 0 to 1.
            masks: the true mask, bool [H, W], of each concept that is in the photo, by its number 0..J-1.
        """
        for i, mask in masks.items():
            siblings = self._siblings[i]
            region = mask & ~np.any([masks[j] for j in siblings if j in masks], axis=0)
            if len(siblings) and region.any():
                self._found[i].append(_compare(maps[i], maps[siblings], _cells(region, maps.shape[1:])))

    def means(self) -> dict[str, float]:
        """Over the photos of each concept i, then over the concepts; each 0 to 1.

        Returns:
            own: the mean of i's map in its own region.
            leak: the mean of a sibling's map there, over all siblings; the loss asks for 0.
            confused: the share of that region where some sibling's map is above i's.
            Empty when no photo shows a concept that has siblings.
        """
        if not self._found:
            return {}
        means = np.mean([np.mean(rows, axis=0) for rows in self._found.values()], axis=0)
        return dict(zip(MEASURES, means.tolist(), strict=True))


def sibling_scores(model: Path, records: Path) -> dict[str, float]:
    """Measures the first-scale refined maps of a model directory on the validation photos.

    Args:
        model: what Stage 2 or 3 wrote.
        records: what `cmask data prepare` wrote: boxes for gamma, `val/` with the true masks.

    Returns:
        `Siblings.means`.
    """
    config, vocabulary = model_directory.load_config(model), model_directory.load_vocabulary(model)
    concepts = model_directory.load_concepts(model)
    boxed = with_level(concepts, "mask", "box")
    place = {concept: j for j, concept in enumerate(boxed)}
    known = {n: place[i] for n, i in trained_spellings(concepts, vocabulary).items() if i in place}
    gamma = box_gamma(RecordSet.open(records / "boxes").files, known, config.refine.min_cooccurrence)
    trained = [vocabulary.index(concept["name"]) for concept in concepts]
    parts = model_directory.load_parts(model, _ATTENTION_PARTS)
    refined, siblings = RefinedMaps(parts, vocabulary.vectors[trained]), Siblings(gamma)
    size = config.attention.training_size
    for batch in pipelines.photo_batches(RecordSet.open(records / "val"), (size,), _BATCH):
        hidden = refined.hidden(batch[f"image_{size}"]).numpy()
        for photo, serialized in zip(hidden, batch["serialized"].numpy(), strict=True):
            siblings.add(refined.select(photo, boxed), true_masks(serialized, known))
    return siblings.means()


def _cells(region: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The share of each cell of a grid (h, w) that a region bool [H, W] covers, as weights that sum to 1."""
    shares = cv2.resize(region.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    return shares / shares.sum()


def _compare(own: np.ndarray, others: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """`MEASURES` of one region: maps [h, w] and [S, h, w], weights [h, w]."""
    leak = np.mean(np.sum(others * weights, axis=(1, 2)))
    return (own * weights).sum(), leak, weights[others.max(axis=0) > own].sum()
