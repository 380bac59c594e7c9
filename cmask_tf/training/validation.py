"""What a stage is measured by while it trains: pointing game and soft IoU of its maps (5.2); and an alarm.

A training has collapsed when its maps or masks no longer depend on the photo: all black, all white, or even.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import cv2
import numpy as np
import tensorflow as tf

from cmask_tf import metrics
from cmask_tf.data import pipelines, schema
from cmask_tf.data.records import RecordSet
from cmask_tf.data.sampled import at_most

PICTURES = 4  # photos shown in TensorBoard
_BATCH = 8
_FEW = 0.001  # share of pixels above 0.5, or below, that are as good as none
_EVEN = 1e-3  # standard deviation within a map that is as good as none


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


class Contrast:
    """Whether maps of values in [0, 1] still show something."""

    def __init__(self):
        self._lit, self._deviation = [], []

    def add(self, values: np.ndarray) -> None:
        """One map of a concept that the photo shows, float [h, w]."""
        self._lit.append(np.mean(values > 0.5))
        self._deviation.append(np.std(values))

    def measures(self) -> dict[str, float]:
        """Means over maps: "val_lit", of the share of pixels above 0.5, and "val_deviation", within a map."""
        if not self._lit:
            return {}
        return {"val_lit": float(np.mean(self._lit)), "val_deviation": float(np.mean(self._deviation))}


def collapse(measures: Mapping[str, float]) -> str | None:
    """What is wrong with maps of such a `Contrast`, in words; None when nothing is.

    Args:
        measures: of `Contrast.measures`, or one of them; others do not matter.
    """
    lit, deviation = measures.get("val_lit", 0.5), measures.get("val_deviation", 1.0)
    share = f"{lit:.2%} of the pixels are above 0.5"
    for found, fault in (
        (lit < _FEW, f"the maps have gone black: {share}"),
        (lit > 1 - _FEW, f"the maps have gone white: {share}"),
        (deviation < _EVEN, f"the maps are even: their standard deviation is {deviation:.1g}"),
    ):
        if found:
            return fault + " (see val_lit and val_deviation; a lower learning rate may help)"
    return None


class AttentionValidation:
    """Scores a function from photos to attention maps on the validation records."""

    def __init__(
        self, records: RecordSet, size: int, spellings: dict[str, int], levels: list[str], photos: int = 0
    ):
        """Args:
        records: photos with the masks of all their concepts.
        size: the photos' side in px, as the function wants them.
        spellings: folded name -> index of a map.
        levels: the level of each map.
        photos: at most so many of them are looked at; 0: all.
        """
        self._records = at_most(records.files, records.examples, photos)
        self._size = size
        self._spellings, self._levels = spellings, levels

    def score(self, attend: Callable[[tf.Tensor], tf.Tensor]) -> dict[str, float]:
        """Pointing game and soft IoU by level, and the maps' contrast.

        Args:
            attend: float32 RGB [B, S, S, 3], 0 to 255 -> maps [B, h, w, V], 0 to 1.
        """
        means, contrast = Means(self._levels), Contrast()
        for _, maps, masks in self._photos(attend):
            for concept, truth in masks.items():
                contrast.add(maps[..., concept])
                attention = upsample(maps[..., concept], truth.shape)
                means.add(concept, metrics.attention_scores(attention, truth))
        return {**means.by_level(), **contrast.measures()}

    def pictures(self, attend: Callable[[tf.Tensor], tf.Tensor]) -> dict[str, np.ndarray]:
        """Each of the first photos beside the maps of its four largest concepts, uint8 [N, S, 5 S, 3].

        A white line is drawn around the true masks.
        """
        rows = []
        for image, maps, masks in self._photos(attend):
            largest = sorted(masks, key=lambda c: -masks[c].sum())[:4]
            panels = [outlined(heat(image, maps[..., c]), masks[c]) for c in largest]
            blank = [np.zeros_like(image)] * (4 - len(panels))
            rows.append(np.concatenate([image, *panels, *blank], axis=1))
            if len(rows) == PICTURES:
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


def outlined(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture uint8 RGB [H, W, 3] with a white line around a mask bool [h, w] of the same scene."""
    there = cv2.resize(mask.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    lines, _ = cv2.findContours(there, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(picture), lines, -1, (255, 255, 255), 1)
