"""Stage 2: attention map refinement from boxes, without forgetting (section 4.2)."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from cmask_tf import model_directory
from cmask_tf.data import pipelines
from cmask_tf.data.balance import Balanced, balanced
from cmask_tf.data.records import RecordSet
from cmask_tf.models.embedding import embed_map
from cmask_tf.models.refinement import build_refinement
from cmask_tf.overlap import box_gamma
from cmask_tf.training.best import Measure
from cmask_tf.training.cluster import chief_first
from cmask_tf.training.concepts import trained_spellings, with_level
from cmask_tf.training.refine_loss import RefinementLoss
from cmask_tf.training.strategy import share
from cmask_tf.training.teacher_cache import Choice, Teacher, cache_teacher, fingerprint
from cmask_tf.training.validation import AttentionValidation

_START = ("backbone", "embedding")


class RefinementTask:
    """Eqn. 2 and the spatial discrimination loss; the teacher is the frozen network of Stage 1.

    A step forms only the maps that a loss looks at, and the teacher's are computed once (`teacher_cache`);
    loss and gradients are those of the paper's form, which `refine.literal` keeps. They differ in one thing:
    the literal teacher sees the photo as cropped and lit, the cached one the whole photo (`teacher_records`).
    """

    # Of the image level an untrained map, even and gray, has a higher soft IoU than a map that has learnt.
    stage, better = "Stage 2", Measure("val_soft_iou", levels=("mask", "box"))

    def __init__(self, run):
        config, self.run = run.config, run
        self.plan = config.refine
        self.size, self.stride = config.attention.training_size, config.backbone.output_stride
        self.spellings = trained_spellings(run.concepts, run.vocabulary)
        self.records = self._records()
        self.steps_per_epoch = pipelines.steps(self.records.examples, self.plan.batch)
        boxed, vectors = self._boxed(), self._vectors()
        place = {int(concept): j for j, concept in enumerate(boxed)}
        named = {name: place[i] for name, i in self.spellings.items() if i in place}
        gamma = box_gamma(self.records.files, named, self.plan.min_cooccurrence)
        with run.strategy.scope():
            self.models = model_directory.load_parts(run.start, _START)
            self.models["refinement"] = build_refinement(len(run.concepts), config.refinement.bottleneck)
            # A variable, so that each device has it and no step copies it there.
            words = tf.Variable(tf.nn.l2_normalize(vectors, -1), trainable=False)
            self.teacher = self._teacher() if self.plan.literal else None
        self.of_maps = RefinementLoss(
            self.plan,
            self.models["refinement"],
            words,
            boxed,
            gamma,
            with_level(run.concepts, "image"),
            -(-self.plan.batch // run.strategy.num_replicas_in_sync),
        )
        self.matched = None if self.plan.literal else self._targets(vectors)
        self.validation = AttentionValidation(
            run.record_set("val"), self.size, self.spellings, [c["level"] for c in run.concepts],
            self.plan.validation_photos,
        )  # fmt: skip

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        return pipelines.refinement_batches(
            self.records, self.spellings, self.size, self.stride, self.plan.batch, self.matched,
            **self.run.order(epoch, skip),
        )  # fmt: skip

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Per-example Eqn. 2 plus spatial discrimination (and Dice), each term apart, float32 [b]."""
        original = _embedding(self.teacher, batch["image"], False) if self.teacher else None
        return self.of_maps(_embedding(self.models, batch["image"], True), batch, original)

    def validate(self) -> dict[str, float]:
        return self.validation.score(self._refined)

    def pictures(self) -> dict[str, np.ndarray]:
        return self.validation.pictures(self._refined)

    @tf.function(reduce_retracing=True)
    def _refined(self, image: tf.Tensor) -> tf.Tensor:
        coarse = self.of_maps.coarse(_embedding(self.models, image, False))
        return tf.sigmoid(self.models["refinement"](coarse, training=False))

    def _teacher(self) -> dict[str, keras.Model]:
        teacher = model_directory.load_parts(self.run.start, _START)
        for part in teacher.values():
            part.trainable = False
        return teacher

    def _targets(self, vectors: np.ndarray) -> pipelines.Teacher:
        """What the frozen network of Stage 1 says of every photo, computed unless it lies there."""
        run, plan = self.run, self.plan
        made_from = {
            "inputs": run.inputs,
            "concepts": fingerprint(run.concepts, vectors),
            "size": self.size,
            "stride": self.stride,
            "maps": plan.matching_maps,
            "scope": plan.matching_scope,
            "threshold": plan.threshold,
        }
        tagged = self.of_maps.image_level if plan.matching_scope == "tagged" else None
        cached = cache_teacher(
            lambda: Teacher(self._teacher(), self.of_maps.words, plan.threshold),
            Choice(plan.matching_maps, self.spellings, tagged),
            self.size, run.record_set("boxes"), run.work / "teacher",
            made_from=made_from, share=share(run.strategy),
        )  # fmt: skip
        return pipelines.Teacher(cached.files, plan.matching_maps)

    def _vectors(self) -> np.ndarray:
        """Word vectors of the trained concepts, float32 [V, D]."""
        vocabulary = self.run.vocabulary
        trained = [vocabulary.index(concept["name"]) for concept in self.run.concepts]
        return vocabulary.vectors[trained].astype(np.float32)

    def _boxed(self) -> np.ndarray:
        """The box-supervised concepts, int32 [J]: by level, or because these records have boxes of them."""
        named = {self.spellings.get(name, -1) for name in self.run.record_set("boxes").concepts}
        ids = (named - {-1}).union(with_level(self.run.concepts, "mask", "box"))
        return np.array(sorted(ids), np.int32)

    def _records(self) -> RecordSet | Balanced:
        records = self.run.record_set("boxes")
        if not self.plan.balance:
            return records
        cache = self.run.work / "box_concepts.npz"
        with chief_first(self.run.strategy, "balance"):
            return balanced(records.files, self.spellings, self.plan.balance, cache)


def _embedding(parts: dict, image: tf.Tensor, training: bool) -> tf.Tensor:
    """The dense embedding float32 [B, h, w, D]."""
    return embed_map(parts["backbone"], parts["embedding"], image, training)[0]
