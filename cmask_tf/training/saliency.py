"""The saliency baseline learns where anything is that has a mask, whatever it is (Table 2, Saliency-DSS)."""

from __future__ import annotations

import tensorflow as tf

from cmask_tf import losses
from cmask_tf.config import Schedule
from cmask_tf.models import dss
from cmask_tf.models.baselines import build_baseline
from cmask_tf.training.concepts import trained_spellings, with_level
from cmask_tf.training.mask_task import MaskTask


class SaliencyTask(MaskTask):
    """The union of all masks of a photo; validated by the union of those of the mask-level concepts.

    Validation photos have masks of every level, those of sky and street too, which no training photo has.
    """

    stage = "saliency"

    def __init__(self, run, schedule: Schedule, vgg16: str | None = None):
        """`vgg16` as in `baselines.build_baseline`."""
        with run.strategy.scope():
            network = build_baseline("saliency", run.config, 1, vgg16)
        masked = set(with_level(run.concepts, "mask"))
        known = trained_spellings(run.concepts, run.vocabulary)
        validated = {name: 0 for name, i in known.items() if i in masked}
        super().__init__(
            run, schedule, network, dict.fromkeys(run.record_set("masks").concepts, 0), validated
        )

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The sum of the losses of six side outputs and of the fused one, each of them a term, float32 [b].

        Each is a cross entropy, as published, and Dice with Stage 3's weight (0 in `paper()`): what helps the
        model to learn of little data is not kept from what it is compared with.
        """
        logits = self.logits(batch["image"], training=True)
        mask, weight = (tf.cast(batch[plane], tf.float32) for plane in ("mask", "weight"))
        names = [*(f"side{side}" for side in range(1, dss.OUTPUTS)), "fused"]
        terms = {
            name: self._loss(one, mask, weight)
            for name, one in zip(names, tf.split(logits, dss.OUTPUTS, axis=-1), strict=True)
        }
        return tf.add_n(list(terms.values())), terms

    def _loss(self, logits: tf.Tensor, mask: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        loss = losses.mask_loss(logits, mask, weight)
        if self.plan.dice_weight:
            loss += self.plan.dice_weight * losses.mask_dice(logits, mask, weight)
        return loss

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """Saliency float32 [B, S, S, 1]."""
        return dss.saliency(logits)
