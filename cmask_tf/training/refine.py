"""Stage 2: attention map refinement from boxes, without forgetting (section 4.2)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cmask_tf import losses, model_directory, overlap
from cmask_tf.data import pipelines, schema
from cmask_tf.data.balance import Balanced, balanced
from cmask_tf.data.records import RecordSet
from cmask_tf.models.attention import coarse_maps
from cmask_tf.models.embedding import embed_map
from cmask_tf.models.refinement import build_refinement
from cmask_tf.training.best import Measure
from cmask_tf.training.cluster import chief_first
from cmask_tf.training.concepts import trained_spellings, with_level
from cmask_tf.training.validation import AttentionValidation


class RefinementTask:
    """Eqn. 2 and the spatial discrimination loss; the teacher is the frozen network of Stage 1."""

    # Of the image level an untrained map, even and gray, has a higher soft IoU than a map that has learnt.
    stage, better = "Stage 2", Measure("val_soft_iou", levels=("mask", "box"))

    def __init__(self, run):
        config, self.run = run.config, run
        self.plan = config.refine
        self.size, self.stride = config.attention.sizes[0], config.backbone.output_stride
        self.spellings = trained_spellings(run.concepts, run.vocabulary)
        self.records = self._records()
        self.steps_per_epoch = pipelines.steps(self.records.examples, self.plan.batch)
        trained = [run.vocabulary.index(c["name"]) for c in run.concepts]
        self.word_vectors = tf.constant(run.vocabulary.vectors[trained], tf.float32)
        self.boxed = tf.constant(with_level(run.concepts, "mask", "box"), tf.int32)
        self.gamma = tf.constant(self._discrimination_weights(), tf.float32)
        self.image_level = tf.reduce_any(
            tf.one_hot(with_level(run.concepts, "image"), len(run.concepts), True, False, dtype=tf.bool),
            axis=0,
        )
        with run.strategy.scope():
            load = model_directory.load_parts
            self.models = load(run.start, ("backbone", "embedding"))
            self.teacher = load(run.start, ("backbone", "embedding"))
            self.models["refinement"] = build_refinement(len(run.concepts), config.refinement.bottleneck)
        for part in self.teacher.values():
            part.trainable = False
        self.validation = AttentionValidation(
            run.record_set("val"), self.size, self.spellings, [c["level"] for c in run.concepts],
            self.plan.validation_photos,
        )  # fmt: skip

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        return pipelines.refinement_batches(
            self.records, self.spellings, self.size, self.stride, self.plan.batch,
            **self.run.order(epoch, skip),
        )  # fmt: skip

    def logits(self, image: tf.Tensor, training: bool) -> tf.Tensor:
        """Refined maps before the sigmoid, float32 [B, h, w, V]."""
        embedding, _ = embed_map(self.models["backbone"], self.models["embedding"], image, training)
        return self.models["refinement"](coarse_maps(embedding, self.word_vectors), training=training)

    def original(self, image: tf.Tensor) -> tf.Tensor:
        """The frozen original maps of Eqn. 2 (cosines), float32 [B, h, w, V]."""
        embedding, _ = embed_map(self.teacher["backbone"], self.teacher["embedding"], image, False)
        return tf.stop_gradient(coarse_maps(embedding, self.word_vectors))

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Per-example Eqn. 2 plus spatial discrimination (and Dice), each term apart, float32 [b]."""
        plan, concepts, targets = self.plan, batch["concepts"], batch["targets"]
        logits = self.logits(batch["image"], training=True)
        terms = {
            "annotated": losses.annotated(logits, concepts, targets),
            "matching": losses.matching(
                logits, self.original(batch["image"]), concepts, plan.matching_maps, plan.threshold,
                allowed=self._allowed(batch["tags"]),
            ),
            "discrimination": losses.spatial_discrimination(
                logits, concepts, targets, self.gamma, plan.keep_positives, self.boxed
            ),
        }  # fmt: skip
        total = (
            terms["annotated"]
            + plan.matching_weight * terms["matching"]
            + plan.discrimination_weight * terms["discrimination"]
        )
        if plan.dice_weight:
            terms["dice"] = losses.dice(logits, concepts, targets)
            total += plan.dice_weight * terms["dice"]
        return total, terms

    def validate(self) -> dict[str, float]:
        return self.validation.score(self._refined)

    def pictures(self) -> dict[str, np.ndarray]:
        return self.validation.pictures(self._refined)

    @tf.function(reduce_retracing=True)
    def _refined(self, image: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(self.logits(image, training=False))

    def _allowed(self, tags: tf.Tensor) -> tf.Tensor | None:
        if self.plan.matching_scope == "all":
            return None
        tagged = tf.reduce_any(tf.one_hot(tags, len(self.run.concepts), True, False, dtype=tf.bool), axis=1)
        return tagged & self.image_level

    def _records(self) -> RecordSet | Balanced:
        records = self.run.record_set("boxes")
        if not self.plan.balance:
            return records
        cache = self.run.work / "box_concepts.npz"
        with chief_first(self.run.strategy, "balance"):
            return balanced(records.files, self.spellings, self.plan.balance, cache)

    def _discrimination_weights(self) -> np.ndarray:
        """gamma of Eqn. 4 from the training boxes, float32 [J, J] over the box-supervised concepts."""
        place = {int(concept): j for j, concept in enumerate(self.boxed)}
        known = {name: place[i] for name, i in self.spellings.items() if i in place}
        counter = overlap.OverlapCounter(len(place))
        for serialized in tf.data.TFRecordDataset(self.records.files):
            record = schema.parse(serialized)
            concepts = np.array([known.get(name.decode(), -1) for name in record["names"].numpy()], np.int32)
            counter.add(np.where(record["crowd"], -1, concepts), record["boxes"].numpy())
        return overlap.discrimination_weights(
            counter.overlap_matrix(), counter.images, self.plan.min_cooccurrence
        )
