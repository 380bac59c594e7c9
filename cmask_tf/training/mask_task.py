"""What the trained baselines share: photos with all their masks, and validation by the masks' IoU (5.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic

import keras
import numpy as np
import tensorflow as tf

from cmask_tf import metrics
from cmask_tf.config import Schedule
from cmask_tf.data import mask_batches, pipelines
from cmask_tf.training.best import Measure
from cmask_tf.training.validation import AttentionValidation, Contrast, Means, upsample


class MaskTask:
    """A network from photos to the logits of some planes, for the loop (`loop.Task`).

    A subclass says what the loss is, and which probabilities float32 [B, S, S, P] logits stand for.
    """

    stage, better = "", Measure("val_iou")

    def __init__(
        self,
        run,
        schedule: Schedule,
        network: keras.Model,
        planes: Mapping[str, int],
        validated: Mapping[str, int],
    ):
        """Args:
        run: the training's `run.Run`; `network` was built under its strategy's scope.
        schedule: with the number of epochs.
        planes: folded name -> plane that its masks belong to in training.
        validated: the same for the validation photos.
        """
        self.run, self.plan, self.planes = run, schedule, planes
        self.size, self.models = run.config.segmentation.size, {"network": network}
        self.records = run.record_set("masks")
        self.steps_per_epoch = pipelines.steps(self.records.examples, schedule.batch)
        levels = ["mask"] * (max(validated.values()) + 1)
        self.validation = MaskValidation(
            run.record_set("val"), self.size, dict(validated), levels, schedule.validation_photos
        )
        self._since = monotonic()

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        return mask_batches.mask_batches(
            self.records, self.planes, self.size, self.plan.batch, **self.run.order(epoch, skip)
        )

    def logits(self, image: tf.Tensor, training: bool) -> tf.Tensor:
        """float32 [B, S, S, outputs] from photos float32 RGB [B, S, S, 3], 0 to 255."""
        return self.models["network"](image, training=training)

    def validate(self) -> dict[str, float]:
        """Precision, recall and IoU at the photos' size; the masks' contrast; "minutes" since the last time.

        The minutes are filed with the epoch, so that those of a training that was stopped add up.
        """
        found = self.validation.score(self._probabilities)
        since, self._since = self._since, monotonic()
        return {**found, "minutes": (self._since - since) / 60}

    def pictures(self) -> dict[str, np.ndarray]:
        return self.validation.pictures(self._probabilities)

    @tf.function(reduce_retracing=True)
    def _probabilities(self, image: tf.Tensor) -> tf.Tensor:
        return self.probabilities(self.logits(image, training=False))


class MaskValidation(AttentionValidation):
    """Scores a function from photos to masks on the validation records."""

    def score(self, attend: Callable[[tf.Tensor], tf.Tensor]) -> dict[str, float]:
        """Precision, recall and IoU of masks cut at 0.5, at the photo's size, and their contrast.

        Args:
            attend: float32 RGB [B, S, S, 3], 0 to 255 -> probabilities [B, S, S, P].
        """
        means, contrast = Means(self._levels), Contrast()
        for _, maps, masks in self._photos(attend):
            for plane, truth in masks.items():
                if truth.any():
                    contrast.add(maps[..., plane])
                    means.add(
                        plane, metrics.mask_scores(upsample(maps[..., plane], truth.shape) >= 0.5, truth)
                    )
        return {**means.by_level(), **contrast.measures()}
