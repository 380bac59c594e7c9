"""What is chosen on the validation photos once all networks stand: theta (4.4) and thresholds (supp. 5).

theta of image-level concepts maximises their mean IoU. theta of words outside the vocabulary is found by
treating image-level concepts as if they were such words; no mask of a zero-level concept is looked at.
A concept's presence threshold maximises its F1; one with too few validation photos takes the pooled one.
That of words that were never trained is found as their theta is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from cmask_tf import metrics
from cmask_tf.data import pipelines
from cmask_tf.models.combined import ConceptMaskModel
from cmask_tf.models.mixing import COARSE, ConceptTable
from cmask_tf.models.neighbour_table import build_mixing
from cmask_tf.training.concepts import trained_spellings, with_level
from cmask_tf.training.validation import Means, true_masks, upsample

THETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
THETA_PHOTOS = 64  # every pair of photo and concept costs a mask for each theta
MIN_POSITIVES = 5  # validation photos that show (and that do not show) a concept with a threshold of its own
_CHUNK = 64  # concepts decoded at a time


def calibrate(run, parts: dict) -> tuple[dict, dict]:
    """Chooses the contents of `mixing.json` and `thresholds.json`.

    Args:
        run: a Stage 3 run.
        parts: all five networks.

    Returns:
        mixing (see `neighbour_table.build_mixing`) and thresholds
        `{"pooled": t, "outside": t, "concepts": {name: t}, "slope": s}`.
    """
    mixing = build_mixing(run.vocabulary, run.concepts, run.config.mixing.neighbours)
    model = _model(run, parts, mixing)
    mixing["theta"] = _choose_thetas(run, model)
    model = _model(run, parts, mixing)
    return mixing, _choose_thresholds(run, model)


def _model(run, parts: dict, mixing: dict) -> ConceptMaskModel:
    table = ConceptTable.build(run.vocabulary, run.concepts, mixing)
    return ConceptMaskModel(run.config, parts, table)


def _photos(run, model: ConceptMaskModel, what: str) -> Iterator[tuple[dict, dict[int, np.ndarray]]]:
    """Features of each validation photo and its true masks by trained index."""
    spellings = trained_spellings(run.concepts, run.vocabulary)
    records = run.record_set("val")
    sizes = sorted({*model.sizes, model.size})
    progress = tqdm(pipelines.photo_batches(records, sizes, 1), what, records.examples, unit="photo")
    for batch in progress:
        features = model.encode_squares({str(s): batch[f"image_{s}"] for s in sizes})
        yield features, true_masks(batch["serialized"].numpy()[0], spellings)


def _entries(run) -> np.ndarray:
    """Each trained concept's place in the vocabulary, int32 [V]."""
    return np.array([run.vocabulary.index(concept["name"]) for concept in run.concepts], np.int32)


def _choose_thetas(run, model: ConceptMaskModel) -> dict[str, float]:
    image_level = set(with_level(run.concepts, "image"))
    ways = [(way, theta) for way in ("image", "zero") for theta in THETAS]
    means = {way: Means([c["level"] for c in run.concepts]) for way in ways}
    entries = _entries(run)
    for features, masks in itertools.islice(_photos(run, model, "choosing theta"), THETA_PHOTOS):
        for concept in sorted(image_level & set(masks)):
            parameters = _in_all_ways(model.resolve_entries(entries[concept : concept + 1]), ways)
            probabilities, _, _ = model.decode(features, parameters, tf.zeros([len(ways)], tf.int32))
            for way, probability in zip(ways, probabilities.numpy(), strict=True):
                mask = upsample(probability, masks[concept].shape) > 0.5
                means[way].add(concept, metrics.mask_scores(mask, masks[concept]))
    chosen = {}
    for kind in ("image", "zero"):
        scores = [means[kind, theta].by_level().get("val_iou_image", 0.0) for theta in THETAS]
        chosen[kind] = THETAS[int(np.argmax(scores))]
    return chosen


def _in_all_ways(parameters: dict, ways: list[tuple[str, float]]) -> dict:
    """One concept's parameters [1, ...] repeated for each (treated as, theta)."""
    changed = {name: tf.repeat(value, len(ways), axis=0) for name, value in parameters.items()}
    paths = [COARSE if kind == "zero" else int(parameters["path"][0]) for kind, _ in ways]
    changed["path"] = tf.constant(paths, tf.int32)
    changed["theta"] = tf.constant([theta for _, theta in ways], tf.float32)
    return changed


def _choose_thresholds(run, model: ConceptMaskModel) -> dict:
    raw, untrained, present = [], [], []
    entries, image_level = _entries(run), with_level(run.concepts, "image")
    parameters = _resolved(model, entries)
    as_untrained = [model.as_untrained(one) for one in _resolved(model, entries[image_level])]
    for features, masks in _photos(run, model, "choosing thresholds"):
        raw.append(_raw(model, features, parameters))
        untrained.append(_raw(model, features, as_untrained))
        present.append(np.isin(np.arange(len(entries)), list(masks)))
    raw, present = np.array(raw), np.array(present)
    own = {}
    for concept, entry in enumerate(run.concepts):
        positives = int(present[:, concept].sum())
        if MIN_POSITIVES <= positives <= len(present) - MIN_POSITIVES:
            own[entry["name"]] = best_f1_threshold(raw[:, concept], present[:, concept])
    pooled, shown = best_f1_threshold(raw.ravel(), present.ravel()), present[:, image_level]
    outside = best_f1_threshold(np.array(untrained).ravel(), shown.ravel()) if shown.any() else pooled
    distance = raw - [own.get(entry["name"], pooled) for entry in run.concepts]
    slope = best_slope(distance.ravel(), present.ravel())
    return {"pooled": pooled, "outside": outside, "concepts": own, "slope": slope}


def _resolved(model: ConceptMaskModel, entries: np.ndarray) -> list[dict]:
    return [model.resolve_entries(entries[i : i + _CHUNK]) for i in range(0, len(entries), _CHUNK)]


def _raw(model: ConceptMaskModel, features: dict, parameters: list[dict]) -> np.ndarray:
    """One photo's raw scores, float32 [K]."""
    scores = [model.raw_scores(features, one, tf.zeros_like(one["path"])) for one in parameters]
    return np.concatenate(scores) if scores else np.zeros(0, np.float32)


def best_slope(distance: np.ndarray, present: np.ndarray) -> float:
    """The slope of a logistic curve through 0.5 at distance 0 that explains best what is present.

    Args:
        distance: float [N], cosine minus threshold.
        present: bool [N].

    Returns:
        At least 1, at most 100: what can be told apart without an error would ask for an endless slope.
    """
    signed = np.where(present, distance, -distance)

    def log_loss(logarithm: float) -> float:
        return float(np.logaddexp(0, -np.exp(logarithm) * signed).mean())

    found = minimize_scalar(log_loss, bounds=(0.0, np.log(100.0)), method="bounded")
    return float(np.exp(found.x))


def best_f1_threshold(scores: np.ndarray, present: np.ndarray) -> float:
    """The threshold with the best F1 of `score >= threshold`, half-way to the next lower score.

    Args:
        scores: float [N].
        present: bool [N].

    Returns:
        The threshold; 0 when nothing is present.
    """
    if not present.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    hits = np.cumsum(present[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + present.sum())
    last_of_equal = np.append(ranked[1:] != ranked[:-1], True)
    best = int(np.argmax(np.where(last_of_equal, f1, -1.0)))
    below = ranked[best + 1] if best + 1 < len(ranked) else ranked[best]
    return float((ranked[best] + below) / 2)
