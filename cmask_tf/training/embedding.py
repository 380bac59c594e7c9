"""Stage 1: the embedding network learns from tags (section 4.1)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cmask_tf import losses
from cmask_tf.data import pipelines
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.embedding import build_head, embed_photo


class EmbeddingTask:
    """L_embed(e, t) between a photo's embedding e and the soft topic embedding t of its tags."""

    def __init__(self, run):
        config, self.run = run.config, run
        self.records, self.validation = run.record_set("tags"), run.record_set("val")
        self.size, self.batch = config.attention.sizes[0], config.embed.batch
        self.spellings = run.vocabulary.spellings()
        self.idf = tf.constant(run.vocabulary.idf, tf.float32)
        self.vectors = tf.constant(run.vocabulary.vectors, tf.float32)
        self.steps_per_epoch = pipelines.steps(self.records.examples, self.batch)
        with run.strategy.scope():
            backbone = build_backbone(config.backbone)
            head = build_head(backbone.output["c5"].shape[-1], config.embedding, run.vocabulary.dim)
        self.models = {"backbone": backbone, "embedding": head}

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        return self._batches(self.records, **self.run.order(epoch, skip))

    def loss(self, batch: dict, training: bool = True) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """L_embed of each example, float32 [b]; 0 for a photo without a known tag."""
        topic = losses.soft_topic(batch["tags"], self.idf, self.vectors)
        embedding = embed_photo(self.models["backbone"], self.models["embedding"], batch["image"], training)
        cosine = losses.cosine_embedding(embedding, topic)
        return cosine, {"cosine": cosine}

    def validate(self) -> dict[str, float]:
        """Mean cosine loss on the validation photos, whose tags are the concepts that they show."""
        batches = self._batches(self.validation, seed=0, epoch=0, train=False)
        return {"val_cosine": float(np.concatenate([self._held_out(b).numpy() for b in batches]).mean())}

    @tf.function(reduce_retracing=True)
    def _held_out(self, batch: dict) -> tf.Tensor:
        return self.loss(batch, training=False)[0]

    def pictures(self) -> dict[str, np.ndarray]:
        return {}

    def _batches(self, records, **order):
        return pipelines.embedding_batches(records, self.spellings, self.size, self.batch, **order)
