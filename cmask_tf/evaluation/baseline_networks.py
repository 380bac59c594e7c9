"""The trained baselines (`cmask baseline`) as systems that can be scored (Table 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.evaluation.systems import Prediction, System
from cmask_tf.models import dss
from cmask_tf.training import baseline_directory
from cmask_tf.training.baseline_directory import Baseline
from cmask_tf.vocabulary.text import fold


def open_baseline(directory: str | Path) -> System:
    """The system that `cmask baseline` wrote.

    Raises:
        UserError: no such directory, a file of it is missing or broken, or the weights do not fit.
    """
    baseline = baseline_directory.load(Path(directory))
    return SaliencyNetwork(baseline) if baseline.kind == "saliency" else ClosedSetNetwork(baseline)


class _Network:
    """Runs the network on photos squashed to its size, as in training."""

    def __init__(self, baseline: Baseline):
        self._network, self._size = baseline.network, baseline.config.segmentation.size

    @tf.function(reduce_retracing=True)
    def logits(self, image: tf.Tensor) -> tf.Tensor:
        """float32 [1, S, S, outputs] of a photo uint8 RGB [H, W, 3]."""
        return self._network(geometry.resize_image(image, self._size)[tf.newaxis], training=False)


class SaliencyNetwork(_Network):
    """The same map whatever is asked for: mask and attention; it does not say whether a concept is there."""

    def answers(self, name: str) -> bool:
        return True

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        small = dss.saliency(self.logits(tf.constant(image)))[0]
        full = geometry.resize_maps(small, *image.shape[:2]).numpy()[..., 0]
        for name in names:
            yield Prediction(name, full, full)


class ClosedSetNetwork(_Network):
    """Its own concepts only, by any spelling that the model knew.

    The score is the map's maximum at the network's size: a concept is present where its mask has a cell. A
    mean over the mask would be 0.5 or more wherever there is one, and nothing where there is none.
    """

    def __init__(self, baseline: Baseline):
        super().__init__(baseline)
        self._planes = {
            form: plane
            for plane, concept in enumerate(baseline.concepts)
            for form in (concept["name"], *concept["spellings"])
        }

    def answers(self, name: str) -> bool:
        return self._plane(name) is not None

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        maps = tf.sigmoid(self.logits(tf.constant(image)))[0]
        for name in names:
            small = maps[..., self._plane(name), tf.newaxis]
            full = geometry.resize_maps(small, *image.shape[:2]).numpy()[..., 0]
            score = float(tf.reduce_max(small))
            yield Prediction(name, full, full, score, score >= 0.5)

    def _plane(self, name: str) -> int | None:
        return self._planes.get(name.strip(), self._planes.get(fold(name)))
