"""Stage 3: the label-agnostic segmentation network learns from masks (section 4.3)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cmask_tf import losses, metrics, model_directory
from cmask_tf.data import attention_records, pipelines
from cmask_tf.data.order import Order, serialized
from cmask_tf.data.sampled import at_most
from cmask_tf.models.segmentation import build_segmentation
from cmask_tf.training.attention_cache import RefinedMaps, cache_attention
from cmask_tf.training.best import Measure
from cmask_tf.training.cluster import chief_first
from cmask_tf.training.concepts import trained_spellings, with_level
from cmask_tf.training.validation import PICTURES, Contrast, Means, heat

ATTENTION_PARTS = ("backbone", "embedding", "refinement")


class SegmentationTask:
    """A mask from the photo and the frozen attention of one concept, whatever the concept is."""

    stage, better = "Stage 3", Measure("val_iou")

    def __init__(self, run):
        config, self.run = run.config, run
        self.plan, self.size = config.segment, config.segmentation.size
        self.attention_parts = model_directory.load_parts(run.start, ATTENTION_PARTS)
        self.examples, held_out = self._attention()
        photos = run.record_set("val").examples
        self.validation = at_most(held_out.files, photos, self.plan.validation_photos)
        self.steps_per_epoch = pipelines.steps(
            attention_records.count_pairs(self.examples.files), self.plan.batch
        )
        with run.strategy.scope():
            encoder, decoder = build_segmentation(config.segmentation)
        self.models = {"segmentation_encoder": encoder, "segmentation_decoder": decoder}

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        return pipelines.segmentation_batches(
            self.examples, self.size, self.plan.batch, self.plan.attention_noise,
            **self.run.order(epoch, skip),
        )  # fmt: skip

    def logits(self, image: tf.Tensor, attention: tf.Tensor, training: bool) -> tf.Tensor:
        """float32 [B, S, S, 1] from photos [B, S, S, 3] and both scales' attention [B, S, S, 2]."""
        maps = self.models["segmentation_encoder"](image, training=training)
        return self.models["segmentation_decoder"]({**maps, "attention": attention}, training=training)

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Per-example cross entropy of the mask (and Dice), each term apart, float32 [b]."""
        logits = self.logits(batch["image"], batch["attention"], training=True)
        mask, weight = (tf.cast(batch[plane], tf.float32) for plane in ("mask", "weight"))
        terms = {"mask": losses.mask_loss(logits, mask, weight)}
        total = terms["mask"]
        if self.plan.dice_weight:
            terms["dice"] = losses.mask_dice(logits, mask, weight)
            total += self.plan.dice_weight * terms["dice"]
        return total, terms

    def validate(self) -> dict[str, float]:
        """Precision, recall, IoU and pointing game at the network's size, by level; the masks' contrast."""
        means, contrast = Means([c["level"] for c in self.run.concepts]), Contrast()
        order = self._concept_order()
        for batch in self._validation_batches():
            probabilities = self._masks(batch["image"], batch["attention"]).numpy()
            for probability, truth in zip(probabilities, batch["mask"].numpy(), strict=True):
                concept = next(order)
                if truth.any():
                    contrast.add(probability)
                    pointing = metrics.pointing_game(probability, truth)
                    scores = metrics.mask_scores(probability > 0.5, truth)
                    means.add(concept, {**scores, "pointing_game": pointing})
        return {**means.by_level(), **contrast.measures()}

    def pictures(self) -> dict[str, np.ndarray]:
        """Photo, first-scale attention, predicted and true mask of some validation pairs."""
        batch = next(iter(self._validation_batches()))
        predictions = self._masks(batch["image"], batch["attention"]).numpy()
        rows = []
        for i in range(min(PICTURES, len(predictions))):
            image = batch["image"][i].numpy().round().astype(np.uint8)
            layers = (batch["attention"][i, ..., 0], predictions[i, ..., 0], batch["mask"][i, ..., 0])
            rows.append(
                np.concatenate([image, *(heat(image, np.asarray(layer)) for layer in layers)], axis=1)
            )
        return {"masks": np.stack(rows)}

    @tf.function(reduce_retracing=True)
    def _masks(self, image: tf.Tensor, attention: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(self.logits(image, attention, training=False))

    def _validation_batches(self) -> tf.data.Dataset:
        return pipelines.segmentation_batches(
            self.validation, self.size, self.plan.batch, seed=0, epoch=0, train=False
        )

    def _concept_order(self):
        """The trained index of each validation example, in the pipeline's order."""
        names = (
            name.decode()
            for record in serialized(self.validation, Order(0, 0, train=False))
            for name in attention_records.parse(record)["concepts"].numpy()
        )
        return (self._spellings[name] for name in names)

    def _attention(self):
        run = self.run
        self._spellings = trained_spellings(run.concepts, run.vocabulary)
        boxed = set(with_level(run.concepts, "mask", "box"))
        masked = set(with_level(run.concepts, "mask"))
        trained = [run.vocabulary.index(c["name"]) for c in run.concepts]
        maps = RefinedMaps(self.attention_parts, run.vocabulary.vectors[trained])

        def cache(name: str, concepts: set[int]):
            known = {form: i for form, i in self._spellings.items() if i in concepts}
            where = run.work / f"attention-{name}"
            with chief_first(run.strategy, f"attention {name}"):
                return cache_attention(maps, run.config.attention.sizes, run.record_set(name), known, where)

        return cache("masks", masked), cache("val", boxed)
