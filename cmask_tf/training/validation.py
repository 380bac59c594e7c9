"""What a stage is measured by while it trains: pointing game and soft IoU of its maps (5.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import tensorflow as tf

from cmask_tf import metrics
from cmask_tf.data import pipelines, schema
from cmask_tf.data.records import RecordSet

_PICTURES = 4  # photos shown in TensorBoard
_BATCH = 8


def true_masks(serialized: bytes, spellings: dict[str, int]) -> dict[int, np.ndarray]:
    """The union of each known concept's masks in one record: {index: bool [H, W]}, crowds counted."""
    record = schema.parse(serialized)
    masks: dict[int, np.ndarray] = {}
    for name, png in zip(record["names"].numpy(), record["masks"].numpy(), strict=True):
        concept = spellings.get(name.decode())
        if concept is None or not png:
            continue
        mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) > 0
        masks[concept] = masks.get(concept, np.zeros_like(mask)) | mask
    return masks


def upsample(attention: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map float [h, w] at a photo's shape (H, W), bilinearly."""
    return cv2.resize(np.asarray(attention, np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)


class Means:
    """Means of metrics over photos, then over the concepts of a level."""

    def __init__(self, levels: list[str]):
        self._levels = levels
        self._values = defaultdict(lambda: defaultdict(list))

    def add(self, concept: int, scores: dict[str, float]) -> None:
        for name, value in scores.items():
            self._values[name][concept].append(value)

    def by_level(self) -> dict[str, float]:
        """`{"val_<metric>_<level>": mean}` for the levels that were seen."""
        found = {}
        for name, concepts in self._values.items():
            for level in sorted(set(self._levels)):
                means = [np.mean(v) for c, v in concepts.items() if self._levels[c] == level]
                if means:
                    found[f"val_{name}_{level}"] = float(np.mean(means))
        return found


class AttentionValidation:
    """Scores a function from photos to attention maps on the validation records."""

    def __init__(self, records: RecordSet, size: int, spellings: dict[str, int], levels: list[str]):
        """Args:
        records: photos with the masks of all their concepts.
        size: the photos' side in px, as the function wants them.
        spellings: folded name -> index of a map.
        levels: the level of each map.
        """
        self._records, self._size = records, size
        self._spellings, self._levels = spellings, levels

    def score(self, attend: Callable[[tf.Tensor], tf.Tensor]) -> dict[str, float]:
        """Args:
        attend: float32 RGB [B, S, S, 3], 0 to 255 -> maps [B, h, w, V], 0 to 1.
        """
        means = Means(self._levels)
        for _, maps, masks in self._photos(attend):
            for concept, truth in masks.items():
                attention = upsample(maps[..., concept], truth.shape)
                means.add(concept, metrics.attention_scores(attention, truth))
        return means.by_level()

    def pictures(self, attend: Callable[[tf.Tensor], tf.Tensor]) -> dict[str, np.ndarray]:
        """Each of the first photos beside the maps of its four largest concepts, uint8 [N, S, 5 S, 3]."""
        rows = []
        for image, maps, masks in self._photos(attend):
            largest = sorted(masks, key=lambda c: -masks[c].sum())[:4]
            panels = [heat(image, maps[..., c]) for c in largest]
            blank = [np.zeros_like(image)] * (4 - len(panels))
            rows.append(np.concatenate([image, *panels, *blank], axis=1))
            if len(rows) == _PICTURES:
                break
        return {"attention": np.stack(rows)} if rows else {}

    def _photos(self, attend) -> Iterator[tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]]:
        for batch in pipelines.photo_batches(self._records, (self._size,), _BATCH):
            images = batch[f"image_{self._size}"]
            maps = attend(images).numpy()
            for image, photo, serialized in zip(
                images.numpy(), maps, batch["serialized"].numpy(), strict=True
            ):
                yield image.round().astype(np.uint8), photo, true_masks(serialized, self._spellings)


def heat(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """A map float [h, w] in [0, 1] laid over a photo uint8 RGB [H, W, 3], same shape out."""
    values = (np.clip(upsample(attention, image.shape[:2]), 0, 1) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(values, cv2.COLORMAP_TURBO)[..., ::-1]
    return cv2.addWeighted(image, 0.4, np.ascontiguousarray(colours), 0.6, 0)
