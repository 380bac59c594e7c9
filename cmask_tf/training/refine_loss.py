"""Stage 2's loss from the dense embedding on: in the paper's form, and forming only what it needs (4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from cmask_tf import losses
from cmask_tf.config import RefinementTraining
from cmask_tf.models.refinement import chosen_maps, forms_product, hidden_maps

Terms = dict[str, tf.Tensor]


@dataclass(frozen=True)
class RefinementLoss:
    """Eqn. 2, spatial discrimination, and Dice if the plan has it.

    Attributes:
        plan: the weights of the terms; `plan.literal` chooses the form.
        network: from `build_refinement`.
        words: float32 [V, D], L2-normalised word vectors of the trained concepts.
        boxed: int32 [J], the box-supervised concepts; every annotated concept is one of them.
        gamma: float32 [J, J], Eqn. 4 over them.
        image_level: the concepts that `plan.matching_scope` "tagged" lets in.
        images: of a replica's batch.
    """

    plan: RefinementTraining
    network: keras.Model
    words: tf.Variable
    boxed: np.ndarray
    gamma: np.ndarray
    image_level: Sequence[int]
    images: int

    def __call__(
        self, e: tf.Tensor, batch: dict, original: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, Terms]:
        """The loss of each example.

        Args:
            e: float32 [B, h, w, D], the student's dense embedding.
            batch: "concepts", "targets", and "matched" and "binary" of `pipelines.refinement_batches`; "tags"
                instead of the latter two in the literal form.
            original: float32 [B, h, w, D], the frozen network's embedding; the literal form's only.

        Returns:
            The loss float32 [B], and its terms before their weights.
        """
        plan, targets = self.plan, batch["targets"]
        if plan.literal:
            logits, concepts, boxed, matching = self._literal(e, batch, original)
        else:
            logits, concepts, boxed, matching = self._chosen(e, batch)
        terms = {
            "annotated": losses.annotated(logits, concepts, targets),
            "matching": matching,
            "discrimination": losses.spatial_discrimination(
                logits, concepts, targets, tf.constant(self.gamma), plan.keep_positives, boxed
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

    def coarse(self, e: tf.Tensor) -> tf.Tensor:
        """Eqn. 1's cosines of all V concepts, float32 [B, h, w, V]."""
        return tf.tensordot(tf.nn.l2_normalize(e, -1), tf.convert_to_tensor(self.words), ((3,), (1,)))

    def forms_product(self, e: tf.Tensor) -> bool:
        """Whether the word vectors times the first layer are cheaper than coarse maps of this shape."""
        locations = self.images * e.shape[1] * e.shape[2]
        return forms_product(locations, *self.words.shape, self.network.get_layer("bottleneck").filters)

    def _literal(self, e, batch, original) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """From all V coarse, V refined and V original maps.

        Returns:
            Logits float32 [B, h, w, V]; the annotated concepts among them int32 [B, A]; the box-supervised
            ones among them int32 [J]; the matching loss float32 [B].
        """
        logits = self.network(self.coarse(e), training=True)
        matching = losses.matching(
            logits, self.coarse(tf.stop_gradient(original)), batch["concepts"], self.plan.matching_maps,
            self.plan.threshold, self.allowed(batch["tags"]),
        )  # fmt: skip
        return logits, batch["concepts"], tf.constant(self.boxed), matching

    def _chosen(self, e, batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Like `_literal`, of the maps that the losses look at: [B, h, w, J], and places among the J."""
        hidden = hidden_maps(self.network, e, tf.convert_to_tensor(self.words), self.forms_product(e))
        every = self.words.shape[0] <= 2 * self.plan.matching_maps
        logits, own = chosen_maps(self.network, hidden, tf.constant(self.boxed), batch["matched"], every)
        matching = losses.matching_chosen(own, batch["binary"], batch["matched"])
        return logits, self._places(batch["concepts"]), tf.range(len(self.boxed)), matching

    def _places(self, concepts: tf.Tensor) -> tf.Tensor:
        """Trained concepts -> their places in `boxed`, -1 for padding; int32 [B, A]."""
        place = np.full(self.words.shape[0], -1, np.int32)
        place[self.boxed] = np.arange(len(self.boxed))
        return tf.where(concepts >= 0, tf.gather(tf.constant(place), tf.maximum(concepts, 0)), -1)

    def allowed(self, tags: tf.Tensor) -> tf.Tensor | None:
        """Which concepts may enter Psi_N of photos with tags int32 [B, T]: bool [B, V]; None for all."""
        if self.plan.matching_scope == "all":
            return None
        hot = partial(tf.one_hot, depth=self.words.shape[0], on_value=True, off_value=False, dtype=tf.bool)
        return tf.reduce_any(hot(tags), axis=1) & tf.reduce_any(hot(self.image_level), axis=0)
