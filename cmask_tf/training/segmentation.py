"""Stage 3: the label-agnostic segmentation network learns from masks (section 4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from cmask_tf import losses, metrics, model_directory
from cmask_tf.data import attention_records, pipelines
from cmask_tf.data.concept_batches import concept_batches
from cmask_tf.data.order import Order, serialized
from cmask_tf.data.sampled import at_most
from cmask_tf.models.segmentation import build_segmentation, encode
from cmask_tf.training.attention_cache import RefinedMaps, cache_attention
from cmask_tf.training.best import Measure
from cmask_tf.training.cluster import chief_first
from cmask_tf.training.concepts import trained_spellings, with_level
from cmask_tf.training.validation import PICTURES, Contrast, Means, heat

_BATCH = 4  # validation photos at a time
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
        # A network that encodes the photo apart from its concepts does so once for all of them.
        self.by_photo = config.segmentation.design == "lite"
        count = (
            sum(run.record_set(name).examples for name in self._sets())
            if self.by_photo
            else attention_records.count_pairs(self.examples.files)
        )
        self.steps_per_epoch = pipelines.steps(count, self.plan.batch)
        with run.strategy.scope():
            encoder, decoder = build_segmentation(config.segmentation, self.attention_parts["backbone"])
        self.models = {"segmentation_encoder": encoder, "segmentation_decoder": decoder}

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        plan, order = self.plan, self.run.order(epoch, skip)
        if self.by_photo:
            return concept_batches(
                self.examples, self.size, plan.batch, plan.concepts, plan.attention_noise, **order
            )
        return pipelines.segmentation_batches(
            self.examples, self.size, plan.batch, plan.attention_noise, **order
        )

    def logits(
        self, image: tf.Tensor, attention: tf.Tensor, training: bool, rows: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Of P pairs of a photo and a concept, float32 [P, S, S, 1].

        Args:
            image: float32 RGB [B, S, S, 3], 0 to 255.
            attention: float32 [P, S, S, 2], of both scales.
            training: as Keras means it.
            rows: int32 [P], the photo of each pair; by default pair i has photo i.
        """
        features = self.attention_parts["backbone"](image, training=False) if self.by_photo else {}
        features = {name: tf.stop_gradient(value) for name, value in features.items()}
        maps = encode(self.models["segmentation_encoder"], image, features, training)
        if rows is not None:
            maps = {name: tf.gather(value, rows) for name, value in maps.items()}
        return self.models["segmentation_decoder"]({**maps, "attention": attention}, training=training)

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Per-example cross entropy of the mask (and Dice; of boxes the projection), each term apart,
        float32 [b].

        Of an example with several concepts it is the mean over them.
        """
        rows, pairs = _pairs(batch)
        logits = self.logits(batch["image"], pairs["attention"], True, rows)
        mask, weight = (tf.cast(pairs[plane], tf.float32) for plane in ("mask", "weight"))
        terms = {"mask": losses.mask_loss(logits, mask, weight)}
        if self.plan.dice_weight:
            terms["dice"] = losses.mask_dice(logits, mask, weight)
        if self.plan.box_weight and rows is not None:
            boxed = tf.cast(pairs["boxed"], tf.float32)
            terms = {name: (1 - boxed) * term for name, term in terms.items()}
            terms["box"] = boxed * losses.box_projection(logits, mask)
        if rows is not None:
            count = tf.shape(batch["image"])[0]
            terms = {name: tf.math.unsorted_segment_mean(term, rows, count) for name, term in terms.items()}
        weights = {"mask": 1.0, "dice": self.plan.dice_weight, "box": self.plan.box_weight}
        return sum(weights[name] * term for name, term in terms.items()), terms

    def validate(self) -> dict[str, float]:
        """Precision, recall, IoU and pointing game at the network's size, by level; the masks' contrast."""
        means, contrast = Means([c["level"] for c in self.run.concepts]), Contrast()
        names = self._validation_concepts()
        for batch in self._validation_batches():
            masks = self._masks(batch).numpy()
            rows, pairs = _pairs(batch)
            known = [next(names) for _ in batch["image"]]
            places = zip(rows.numpy(), pairs["concepts"].numpy(), strict=True)
            for (row, place), mask, truth in zip(places, masks, pairs["mask"].numpy(), strict=True):
                if truth.any():
                    contrast.add(mask)
                    pointing = metrics.pointing_game(mask, truth)
                    scores = metrics.mask_scores(mask > 0.5, truth)
                    means.add(known[row][place], {**scores, "pointing_game": pointing})
        return {**means.by_level(), **contrast.measures()}

    def pictures(self) -> dict[str, np.ndarray]:
        """Photo, first-scale attention, predicted and true mask of some validation pairs."""
        batch = next(iter(self._validation_batches()))
        masks, (rows, pairs) = self._masks(batch).numpy(), _pairs(batch)
        shown = []
        for i in range(min(PICTURES, len(masks))):
            image = batch["image"][int(rows[i])].numpy().round().astype(np.uint8)
            layers = (pairs["attention"][i, ..., 0], masks[i, ..., 0], pairs["mask"][i, ..., 0])
            shown.append(
                np.concatenate([image, *(heat(image, np.asarray(layer)) for layer in layers)], axis=1)
            )
        return {"masks": np.stack(shown)}

    @tf.function(reduce_retracing=True)
    def _masks(self, batch: dict) -> tf.Tensor:
        """Probabilities float32 [P, S, S, 1] of the pairs of `_pairs`."""
        rows, pairs = _pairs(batch)
        return tf.sigmoid(self.logits(batch["image"], pairs["attention"], False, rows))

    def _validation_batches(self) -> tf.data.Dataset:
        return concept_batches(self.validation, self.size, _BATCH, seed=0, epoch=0, train=False)

    def _validation_concepts(self) -> Iterator[list[int]]:
        """The trained indices of each validation photo's concepts, in their order in the record."""
        for record in serialized(self.validation, Order(0, 0, train=False)):
            names = attention_records.parse(record)["concepts"].numpy()
            yield [self._spellings[name.decode()] for name in names]

    def _attention(self):
        run = self.run
        self._spellings = trained_spellings(run.concepts, run.vocabulary)
        shown = set(with_level(run.concepts, "mask", "box"))
        trained = [run.vocabulary.index(c["name"]) for c in run.concepts]
        maps = RefinedMaps(self.attention_parts, run.vocabulary.vectors[trained])

        def cache(name: str, concepts: set[int]):
            known = {form: i for form, i in self._spellings.items() if i in concepts}
            where, records = run.work / f"attention-{name}", run.record_set(name)
            with chief_first(run.strategy, f"attention {name}"):
                return cache_attention(
                    maps, run.config.attention.sizes, records, known, where, boxed=name == "boxes"
                )

        learned = [cache(name, concepts) for name, concepts in self._sets().items()]
        files = [file for records in learned for file in records.files]
        return SimpleNamespace(files=files), cache("val", shown)

    def _sets(self) -> dict[str, set[int]]:
        """The record sets that teach, and the concepts that each does."""
        sets = {"masks": set(with_level(self.run.concepts, "mask"))}
        if self.plan.box_weight:
            sets["boxes"] = set(with_level(self.run.concepts, "box"))
        return sets


def _pairs(batch: dict) -> tuple[tf.Tensor | None, dict]:
    """Photos and concepts as pairs.

    Args:
        batch: of `pipelines.segmentation_batches`, whose examples are pairs, or of `concept_batches`.

    Returns:
        rows: int32 [P], the photo of each pair; None where pair i has photo i.
        pairs: "attention", "mask", "weight" [P, S, S, ...], "concepts" and "boxed" [P]; one pair of weight 0
            when there is none.
    """
    if "concepts" not in batch:
        return None, batch
    used = batch["concepts"] >= 0
    first = tf.scatter_nd([[0, 0]], [True], tf.shape(used))
    used |= first & ~tf.reduce_any(used)
    names = ("attention", "mask", "weight", "concepts", "boxed")
    pairs = {name: tf.boolean_mask(batch[name], used) for name in names}
    return tf.cast(tf.where(used)[:, 0], tf.int32), pairs
