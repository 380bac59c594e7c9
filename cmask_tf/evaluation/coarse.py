"""Eqn. 1's coarse maps by themselves: Stage 1's own measure, and what Stage 2 leaves of them.

Stage 2 trains the embedding network on. Whether that spoils the maps of words without boxes, for which the
matching loss is there (4.2), is seen in the coarse maps too: Table 1 of the paper has them as "Original" and
"Original-Finetuned". How good maps are and whether they are still the same are two questions; `kept_scores`
answers the second, where Stage 1 has learned little that could be lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from cmask_tf import model_directory
from cmask_tf.data import pipelines
from cmask_tf.data.records import RecordSet
from cmask_tf.metrics import ATTENTION_METRICS
from cmask_tf.models.attention import coarse_maps
from cmask_tf.models.embedding import embed_map
from cmask_tf.training.attention_cache import RefinedMaps
from cmask_tf.training.concepts import trained_spellings, with_level
from cmask_tf.training.validation import AttentionValidation, true_masks

_PARTS = ("backbone", "embedding")
_BATCH = 8


def coarse_scores(model: Path, records: Path) -> dict[str, float]:
    """Scores the first-scale coarse maps, cosines cut at 0, on the validation photos.

    Args:
        model: what any stage wrote.
        records: what `cmask data prepare` wrote; `val/` has the true masks.

    Returns:
        {"pointing_game_LEVEL", "soft_iou_LEVEL"}: means over photos, then over a level's concepts. The level
        "zero" holds the words of the vocabulary that are not trained.
    """
    config, vocabulary = model_directory.load_config(model), model_directory.load_vocabulary(model)
    rows = model_directory.describe_concepts(vocabulary, model_directory.load_concepts(model))
    validation = AttentionValidation(
        RecordSet.open(records / "val"),
        config.attention.training_size,
        vocabulary.spellings(),
        [row["level"] for row in rows],
    )
    cosines = _coarse(model_directory.load_parts(model, _PARTS), vocabulary.vectors)
    scores = validation.score(lambda image: tf.maximum(cosines(image), 0.0))
    known = tuple(f"val_{metric}" for metric in ATTENTION_METRICS)
    return {name.removeprefix("val_"): value for name, value in scores.items() if name.startswith(known)}


def kept_scores(before: Path, after: Path, records: Path) -> dict[str, float]:
    """How much the maps of image-level concepts still resemble those of Stage 1, on the validation photos.

    Args:
        before: what Stage 1 wrote.
        after: what Stage 2 made of it.
        records: what `cmask data prepare` wrote.

    Returns:
        "coarse": the correlation, over the places of a map, of the coarse maps before and after;
        "refined": of the coarse maps before and the refined ones after. -1 to 1; means over the photos that
        show a concept, then over the image-level concepts. Empty when no photo shows any.
    """
    config, vocabulary = model_directory.load_config(after), model_directory.load_vocabulary(after)
    concepts = model_directory.load_concepts(after)
    vectors = vocabulary.vectors[[vocabulary.index(concept["name"]) for concept in concepts]]
    image_level = set(with_level(concepts, "image"))
    known = {n: i for n, i in trained_spellings(concepts, vocabulary).items() if i in image_level}
    parts = model_directory.load_parts(after, (*_PARTS, "refinement"))
    old = _coarse(model_directory.load_parts(before, _PARTS), vectors)
    new, refined = _coarse(parts, vectors), RefinedMaps(parts, vectors)
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    size = config.attention.training_size
    for batch in pipelines.photo_batches(RecordSet.open(records / "val"), (size,), _BATCH):
        image = batch[f"image_{size}"]
        maps = (old(image).numpy(), new(image).numpy(), refined.hidden(image).numpy())
        for was, coarse, hidden, record in zip(*maps, batch["serialized"].numpy(), strict=True):
            for concept in true_masks(record, known):
                map_before, fine = was[..., concept], refined.select(hidden, [concept])[0]
                pair = correlation(map_before, coarse[..., concept]), correlation(map_before, fine)
                found[concept].append(pair)
    if not found:
        return {}
    means = np.mean([np.mean(pairs, axis=0) for pairs in found.values()], axis=0)
    return dict(zip(("coarse", "refined"), means.tolist(), strict=True))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, of two arrays of one shape; 0 when either is constant."""
    if a.min() == a.max() or b.min() == b.max():
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _coarse(parts: dict, vectors: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Photos float32 [B, S, S, 3] -> cosines float32 [B, h, w, V] with the words' vectors [V, D]."""
    words = tf.constant(vectors, tf.float32)

    @tf.function(reduce_retracing=True)
    def attend(image: tf.Tensor) -> tf.Tensor:
        return coarse_maps(embed_map(parts["backbone"], parts["embedding"], image, False)[0], words)

    return attend
