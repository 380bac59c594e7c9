"""The closed-set baseline: full supervision of the mask-level concepts and no other (the tables' ceiling)."""

from __future__ import annotations

import tensorflow as tf

from cmask_tf import losses
from cmask_tf.config import Schedule
from cmask_tf.models.baselines import build_baseline
from cmask_tf.training.concepts import trained_spellings, with_level
from cmask_tf.training.mask_task import MaskTask


class ClosedSetTask(MaskTask):
    """One plane for each mask-level concept, in the order of the model's concepts; planes may overlap.

    A concept without a mask in a training photo is taken to be absent from it.
    """

    stage = "closed-set"

    def __init__(self, run, schedule: Schedule):
        masked = with_level(run.concepts, "mask")
        with run.strategy.scope():
            network = build_baseline("closed-set", run.config, len(masked))
        place = {concept: plane for plane, concept in enumerate(masked)}
        known = trained_spellings(run.concepts, run.vocabulary)
        planes = {name: place[i] for name, i in known.items() if i in place}
        super().__init__(run, schedule, network, planes, planes)

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Cross entropy over all planes, and Stage 3's share of Dice over those that show something, [b]."""
        logits = self.logits(batch["image"], training=True)
        mask, weight = (tf.cast(batch[plane], tf.float32) for plane in ("mask", "weight"))
        terms = {"mask": losses.mask_loss(logits, mask, weight)}
        total = terms["mask"]
        if self.plan.dice_weight:
            terms["dice"] = losses.present_dice(logits, mask, weight)
            total += self.plan.dice_weight * terms["dice"]
        return total, terms

    def probabilities(self, logits: tf.Tensor) -> tf.Tensor:
        """float32 [B, S, S, K]."""
        return tf.sigmoid(logits)
