"""Stage 2: attention map refinement from boxes, without forgetting (section 4.2)."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import tensorflow as tf

from cmask_tf import losses, model_directory, overlap
from cmask_tf.data import pipelines, schema
from cmask_tf.data.balance import Balanced, balanced
from cmask_tf.data.records import RecordSet
from cmask_tf.models.embedding import embed_map
from cmask_tf.models.refinement import build_refinement, chosen_maps, forms_product, hidden_maps
from cmask_tf.training.concepts import trained_spellings, with_level
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

    def __init__(self, run):
        config, self.run = run.config, run
        self.plan = config.refine
        self.size, self.stride = config.attention.sizes[0], config.backbone.output_stride
        self.spellings = trained_spellings(run.concepts, run.vocabulary)
        self.records = self._records()
        self.steps_per_epoch = pipelines.steps(self.records.examples, self.plan.batch)
        self.boxed = self._boxed()
        place = np.full(len(run.concepts), -1, np.int32)
        place[self.boxed] = np.arange(len(self.boxed))
        self.place = tf.constant(place)
        self.gamma = tf.constant(self._discrimination_weights(place), tf.float32)
        self.image_level = with_level(run.concepts, "image")
        trained = [run.vocabulary.index(c["name"]) for c in run.concepts]
        vectors = run.vocabulary.vectors[trained].astype(np.float32)
        with run.strategy.scope():
            self.models = model_directory.load_parts(run.start, _START)
            self.models["refinement"] = build_refinement(len(run.concepts), config.refinement.bottleneck)
            # A variable, so that each device has it and no step copies it there.
            self.words = tf.Variable(tf.nn.l2_normalize(vectors, -1), trainable=False)
            self.teacher = self._teacher() if self.plan.literal else None
        self.matched = None if self.plan.literal else self._targets(vectors)
        self.validation = AttentionValidation(
            run.record_set("val"), self.size, self.spellings, [c["level"] for c in run.concepts]
        )

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        return pipelines.refinement_batches(
            self.records, self.spellings, self.size, self.stride, self.plan.batch, self.matched,
            **self.run.order(epoch, skip),
        )  # fmt: skip

    def logits(self, image: tf.Tensor, training: bool) -> tf.Tensor:
        """Refined maps before the sigmoid, float32 [B, h, w, V]."""
        return self.models["refinement"](self._coarse(self.models, image, training), training=training)

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Per-example Eqn. 2 plus spatial discrimination (and Dice), each term apart, float32 [b]."""
        plan, targets = self.plan, batch["targets"]
        logits, concepts, boxed, matching = (self._literal if plan.literal else self._chosen)(batch)
        terms = {
            "annotated": losses.annotated(logits, concepts, targets),
            "matching": matching,
            "discrimination": losses.spatial_discrimination(
                logits, concepts, targets, self.gamma, plan.keep_positives, boxed
            ),
        }
        total = (
            terms["annotated"]
            + plan.matching_weight * terms["matching"]
            + plan.discrimination_weight * terms["discrimination"]
        )
        if plan.dice_weight:
            terms["dice"] = losses.dice(logits, concepts, targets)
            total += plan.dice_weight * terms["dice"]
        return total, terms

    def _chosen(self, batch: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """The maps that the losses look at, and no others.

        Returns:
            Logits of the box-supervised concepts float32 [B, h, w, J]; the places of the annotated ones among
            them int32 [B, A]; the places of the box-supervised ones, int32 [J], all in order; the matching
            loss float32 [B].
        """
        e, _ = embed_map(self.models["backbone"], self.models["embedding"], batch["image"], True)
        network, count = self.models["refinement"], len(self.run.concepts)
        images = -(-self.plan.batch // self.run.strategy.num_replicas_in_sync)
        sizes = count, e.shape[3], self.run.config.refinement.bottleneck
        product = forms_product(images * e.shape[1] * e.shape[2], *sizes)
        hidden = hidden_maps(network, e, tf.convert_to_tensor(self.words), product)
        every = count <= 2 * self.plan.matching_maps
        boxed, own = chosen_maps(network, hidden, tf.constant(self.boxed), batch["matched"], every)
        matching = losses.matching_chosen(own, batch["binary"], batch["matched"])
        return boxed, self._slots(batch["concepts"]), tf.range(len(self.boxed)), matching

    def _literal(self, batch: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Like `_chosen`, from all V refined maps [B, h, w, V] and the teacher's of the same image."""
        logits = self.logits(batch["image"], training=True)
        original = tf.stop_gradient(self._coarse(self.teacher, batch["image"], False))
        matching = losses.matching(
            logits, original, batch["concepts"], self.plan.matching_maps, self.plan.threshold,
            allowed=self._allowed(batch["tags"]),
        )  # fmt: skip
        return logits, batch["concepts"], tf.constant(self.boxed), matching

    def validate(self) -> dict[str, float]:
        return self.validation.score(self._refined)

    def pictures(self) -> dict[str, np.ndarray]:
        return self.validation.pictures(self._refined)

    @tf.function(reduce_retracing=True)
    def _refined(self, image: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(self.logits(image, training=False))

    def _coarse(self, parts: dict, image: tf.Tensor, training: bool) -> tf.Tensor:
        """Eqn. 1's cosines of all V concepts, float32 [B, h, w, V]."""
        e, _ = embed_map(parts["backbone"], parts["embedding"], image, training)
        return tf.tensordot(tf.nn.l2_normalize(e, -1), tf.convert_to_tensor(self.words), ((3,), (1,)))

    def _slots(self, concepts: tf.Tensor) -> tf.Tensor:
        """Trained indices -> places in `boxed`, -1 for padding; int32 [B, A]."""
        return tf.where(concepts >= 0, tf.gather(self.place, tf.maximum(concepts, 0)), -1)

    def _allowed(self, tags: tf.Tensor) -> tf.Tensor | None:
        if self.plan.matching_scope == "all":
            return None
        hot = partial(tf.one_hot, depth=len(self.run.concepts), on_value=True, off_value=False, dtype=tf.bool)
        return tf.reduce_any(hot(tags), axis=1) & tf.reduce_any(hot(self.image_level), axis=0)

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
        choice = Choice(
            plan.matching_maps, self.spellings, self.image_level if plan.matching_scope == "tagged" else None
        )
        cached = cache_teacher(
            lambda: Teacher(self._teacher(), self.words, plan.threshold),
            choice, self.size, run.record_set("boxes"), run.work / "teacher",
            made_from=made_from, share=share(run.strategy),
        )  # fmt: skip
        return pipelines.Teacher(cached.files, plan.matching_maps)

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
        return balanced(records.files, self.spellings, self.plan.balance, cache)

    def _discrimination_weights(self, place: np.ndarray) -> np.ndarray:
        """gamma of Eqn. 4 from the training boxes, float32 [J, J] over the box-supervised concepts."""
        known = {name: place[i] for name, i in self.spellings.items()}
        counter = overlap.OverlapCounter(len(self.boxed))
        for serialized in tf.data.TFRecordDataset(self.records.files):
            record = schema.parse(serialized)
            concepts = np.array([known.get(name.decode(), -1) for name in record["names"].numpy()], np.int32)
            counter.add(np.where(record["crowd"], -1, concepts), record["boxes"].numpy())
        return overlap.discrimination_weights(
            counter.overlap_matrix(), counter.images, self.plan.min_cooccurrence
        )
