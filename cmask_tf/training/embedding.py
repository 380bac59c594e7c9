"""Stage 1: the embedding network learns from tags (section 4.1)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cmask_tf import losses
from cmask_tf.data import pipelines
from cmask_tf.data.sampled import at_most
from cmask_tf.data.topics import Topics
from cmask_tf.models.attention import coarse_maps
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.embedding import build_head, embed_map, embed_photo
from cmask_tf.training.best import Measure
from cmask_tf.training.concepts import trained_spellings
from cmask_tf.training.validation import AttentionValidation


class EmbeddingTask:
    """L_embed(e, t) between a photo's embedding e and the soft topic embedding t of its tags."""

    stage, better = "Stage 1", Measure("val_cosine", higher=False)

    def __init__(self, run):
        config, self.run = run.config, run
        self.plan, self.size = config.embed, config.attention.training_size
        self.records, val = run.record_set("tags"), run.record_set("val")
        self.held_out = at_most(val.files, val.examples, self.plan.validation_photos)
        vocabulary = run.vocabulary
        self.topics = Topics(vocabulary.spellings(), vocabulary.idf, vocabulary.vectors)
        self.steps_per_epoch = pipelines.steps(self.records.examples, self.plan.batch)
        with run.strategy.scope():
            backbone = build_backbone(config.backbone)
            head = build_head(backbone.output["c5"].shape[-1], config.embedding, vocabulary.dim)
        self.models = {"backbone": backbone, "embedding": head}
        self._prepare_maps(val)

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        return self._batches(self.records, **self.run.order(epoch, skip))

    def loss(self, batch: dict, training: bool = True) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """L_embed of each example, float32 [b]; 0 for a photo without a known tag."""
        embedding = embed_photo(self.models["backbone"], self.models["embedding"], batch["image"], training)
        cosine = losses.cosine_embedding(embedding, batch["topic"])
        return cosine, {"cosine": cosine}

    def validate(self) -> dict[str, float]:
        """Mean cosine loss on the validation photos, whose tags are the concepts that they show.

        And how well the coarse maps of Eqn. 1 point at these concepts, which no loss asks of them here. Of
        the maps' contrast only the deviation counts: cosines may all lie below 0.5.
        """
        batches = self._batches(self.held_out, seed=0, epoch=0, train=False)
        cosine = float(np.concatenate([self._cosine(b).numpy() for b in batches]).mean())
        maps = self.validation.score(self._maps)
        maps.pop("val_lit", None)
        return {"val_cosine": cosine, **maps}

    def pictures(self) -> dict[str, np.ndarray]:
        return self.validation.pictures(self._maps)

    @tf.function(reduce_retracing=True)
    def _cosine(self, batch: dict) -> tf.Tensor:
        return self.loss(batch, training=False)[0]

    @tf.function(reduce_retracing=True)
    def _maps(self, image: tf.Tensor) -> tf.Tensor:
        embedding, _ = embed_map(self.models["backbone"], self.models["embedding"], image, training=False)
        return tf.nn.relu(coarse_maps(embedding, self._word_vectors))

    def _prepare_maps(self, val) -> None:
        """Only concepts that validation photos show have a map: 18,000 would cost more than the network."""
        run = self.run
        shown = {
            name: i
            for name, i in trained_spellings(run.concepts, run.vocabulary).items()
            if name in val.concepts
        }
        columns = {concept: column for column, concept in enumerate(sorted(set(shown.values())))}
        rows = [run.vocabulary.index(run.concepts[concept]["name"]) for concept in columns]
        self._word_vectors = tf.constant(run.vocabulary.vectors[rows], tf.float32)
        self.validation = AttentionValidation(
            val,
            self.size,
            {name: columns[i] for name, i in shown.items()},
            [run.concepts[concept]["level"] for concept in columns],
            self.plan.validation_photos,
        )

    def _batches(self, records, **order):
        plan = self.plan
        return pipelines.embedding_batches(records, self.topics, self.size, plan.batch, plan.tags, **order)
