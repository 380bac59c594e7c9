"""The verification network learns from tags whether a concept is in the photo (supplement 5).

Beyond the paper, whose embedding network is asked: see `models.verification.build_verification`. The networks
of Stage 2 are frozen. A photo's features are pooled by each concept's refined map, and the cosine of what one
network makes of them with what another makes of the concept is a logistic regression's one variable.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from cmask_tf import model_directory
from cmask_tf.data import pipelines
from cmask_tf.data.sampled import at_most
from cmask_tf.models import refinement, verification
from cmask_tf.models.embedding import embed_map
from cmask_tf.training.best import Measure
from cmask_tf.training.concepts import trained_spellings
from cmask_tf.training.validation import true_masks

_BATCH = 8  # validation photos at a time
_CHUNK = 64  # and concepts
_SLOPE = 10.0  # of the logistic regression, to begin with


class VerificationTask:
    """Cross entropy of "is the photo tagged with it?", the mean over the concepts asked about."""

    stage, better = "Verification", Measure("val_auc")

    def __init__(self, run, frozen: dict[str, keras.Model]):
        """Args:
        run: of Stage 3.
        frozen: "backbone", "embedding", "refinement" of Stage 2.
        """
        config, self.run, self._frozen = run.config, run, frozen
        self.plan, self.size = config.verify, config.attention.sizes[0]
        self.records, val = run.record_set("tags"), run.record_set("val")
        self.held_out = at_most(val.files, val.examples, self.plan.validation_photos)
        self.spellings = trained_spellings(run.concepts, run.vocabulary)
        self.steps_per_epoch = pipelines.steps(self.records.examples, self.plan.batch)
        vectors = run.vocabulary.vectors[[run.vocabulary.index(c["name"]) for c in run.concepts]]
        with run.strategy.scope():
            # Variables, so that each device has them and no step copies them there.
            matrix, bias = refinement.fold(frozen["refinement"], vectors)
            columns, column_bias = refinement.columns(frozen["refinement"], np.arange(len(vectors)))
            tables = (matrix, bias, columns, column_bias, tf.nn.l2_normalize(vectors, -1))
            self._fold, self._bias, self._columns, self._column_bias, self._words = (
                tf.Variable(table, dtype=tf.float32, trainable=False) for table in tables
            )
            channels = frozen["backbone"].output["c5"].shape[-1]
            hidden = config.verification.hidden
            self.parts = {
                model_directory.VERIFICATION: verification.build_verification(channels, hidden),
                model_directory.VERIFICATION_WORDS: verification.build_words(
                    run.vocabulary.dim, hidden, len(vectors)
                ),
            }
            # From a cosine to a logit: a slope and the share of concepts that a photo has.
            slope = keras.layers.Dense(
                1, kernel_initializer=keras.initializers.Constant(_SLOPE), name="logit"
            )
            regression = keras.Sequential([keras.Input((1,)), slope], name="regression")
        self.models = {**self.parts, "regression": regression}

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        return pipelines.verification_batches(
            self.records, self.spellings, self.size, self.plan.batch, self.plan.negatives,
            **self.run.order(epoch, skip),
        )  # fmt: skip

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Per-example cross entropy, float32 [b]."""
        mean = self._entropy(self._cosines(batch["image"], batch["concepts"], training=True), batch)
        return mean, {"presence": mean}

    def _entropy(self, cosines: tf.Tensor, batch: dict) -> tf.Tensor:
        """Mean cross entropy float32 [b] over the concepts asked about, of cosines float32 [b, M]."""
        logits = tf.reshape(self.models["regression"](tf.reshape(cosines, [-1, 1])), tf.shape(cosines))
        target = tf.cast(batch["present"], tf.float32)
        each = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits)
        asked = tf.cast(batch["concepts"] >= 0, tf.float32)
        return tf.reduce_sum(each * asked, axis=1) / tf.maximum(tf.reduce_sum(asked, axis=1), 1.0)

    def validate(self) -> dict[str, float]:
        """ROC AUC of each concept that some validation photos show and some do not: the mean by level."""
        scores, present = [], []
        every = np.arange(len(self.run.concepts), dtype=np.int32)
        chunks = [every[i : i + _CHUNK] for i in range(0, len(every), _CHUNK)]
        for batch in pipelines.photo_batches(self.held_out, (self.size,), _BATCH):
            image = batch[f"image_{self.size}"]
            scores.append(np.concatenate([self._score(image, chunk).numpy() for chunk in chunks], axis=1))
            shown = [list(true_masks(one, self.spellings)) for one in batch["serialized"].numpy()]
            present += [np.isin(every, concepts) for concepts in shown]
        return _auc_by_level(
            np.concatenate(scores), np.array(present), [c["level"] for c in self.run.concepts]
        )

    def pictures(self) -> dict[str, np.ndarray]:
        return {}

    @tf.function(reduce_retracing=True)
    def _score(self, image: tf.Tensor, concepts: tf.Tensor) -> tf.Tensor:
        return self._cosines(image, tf.tile(concepts[None], [tf.shape(image)[0], 1]), training=False)

    def _cosines(self, image: tf.Tensor, concepts: tf.Tensor, training: bool) -> tf.Tensor:
        """float32 [b, M] of concepts int32 [b, M]; of -1 that of some concept."""
        concepts = tf.maximum(concepts, 0)
        e, features = embed_map(self._frozen["backbone"], self._frozen["embedding"], image, training=False)
        hidden = tf.nn.relu(tf.tensordot(tf.nn.l2_normalize(e, -1), self._fold, 1) + self._bias)
        maps = tf.einsum("bhwf,bmf->bmhw", hidden, tf.gather(self._columns, concepts))
        maps = tf.sigmoid(maps + tf.gather(self._column_bias, concepts)[..., None, None])
        pooled = verification.pool(tf.stop_gradient(maps), tf.stop_gradient(features))
        network, words = self.parts.values()
        found = network(pooled[:, :, None], training=training)[:, :, 0]  # [b, M, H]
        flat = tf.reshape(concepts, [-1])
        sought = words({"vector": tf.gather(self._words, flat), "place": flat}, training=training)
        sought = tf.reshape(tf.nn.l2_normalize(sought, -1), tf.shape(found))
        return tf.reduce_sum(tf.nn.l2_normalize(found, -1) * sought, axis=-1)


def _auc_by_level(scores: np.ndarray, present: np.ndarray, levels: list[str]) -> dict[str, float]:
    """{"val_auc_<level>": mean} of scores float [P, V] and bool [P, V]."""
    found: dict[str, list[float]] = {}
    for concept, level in enumerate(levels):
        truth = present[:, concept]
        if 0 < truth.sum() < len(truth):
            found.setdefault(f"val_auc_{level}", []).append(roc_auc_score(truth, scores[:, concept]))
    return {name: float(np.mean(values)) for name, values in sorted(found.items())}
