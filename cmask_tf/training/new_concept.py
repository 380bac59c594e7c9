"""A finished model learns one concept more from a few photos with masks or boxes; beyond the paper.

All that a concept has of its own in the networks is a column of the refinement's second layer (4.2); Stage 3
is label-agnostic (4.3). So that column is learnt (`concept_column`) and everything else stays as it is: all
other concepts keep their masks and scores to the bit. Which pull serves best is chosen by cross validation:
each photo's mask is drawn by columns that were learnt without the photo.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cmask_tf import metrics, model_directory
from cmask_tf.data.records import INDEX, RecordSet
from cmask_tf.errors import UserError
from cmask_tf.model_directory import VERIFICATION_WORDS
from cmask_tf.models import weights
from cmask_tf.models.combined import ConceptMaskModel
from cmask_tf.models.mixing import DIRECT, ConceptTable
from cmask_tf.models.neighbour_table import BOXED
from cmask_tf.models.refinement import with_column
from cmask_tf.models.verification import with_places
from cmask_tf.training import concept_column
from cmask_tf.training.calibration import MIN_POSITIVES
from cmask_tf.training.concept_column import Anchor, Examples
from cmask_tf.training.concept_photos import ConceptPhotos
from cmask_tf.training.validation import upsample
from cmask_tf.vocabulary.artefact import Vocabulary

FOLDS = 5


@dataclass(frozen=True)
class Learnt:
    """What was found out.

    Attributes:
        column: float32 [F + 1], weights and bias.
        level: "mask" or "box".
        threshold: of presence (supplement 5), raw cosine; None where there are too few photos to tell.
        report: how, for `provenance.json`.
    """

    column: np.ndarray
    level: str
    threshold: float | None
    report: dict


def check_word(source: Path, vocabulary: Vocabulary, word: str) -> int:
    """The vocabulary entry of a word that may be learnt.

    Raises:
        UserError: the vocabulary does not have it, or the concept has learnt from masks or boxes already.
    """
    entry = vocabulary.find(word)
    if entry is None:
        raise UserError(
            f"{word!r}: not in the vocabulary of {source}; add it first: "
            f"cmask vocabulary add {source} --word {word!r} ..."
        )
    levels = {vocabulary.find(c["name"]): c["level"] for c in model_directory.load_concepts(source)}
    if levels.get(entry) in BOXED:
        raise UserError(
            f"{word!r}: has level {levels[entry]} in {source}, a column learnt from masks or boxes already; "
            "expected a word of level image or zero"
        )
    return entry


def add_concept(source: Path, records: RecordSet, word: str, out: Path) -> dict:
    """Learns a word's column and writes the model that has it: whole, or not at all.

    Args:
        source: a complete model directory, or a preset's.
        records: photos with masks or boxes of the word; those without it show where it is not.
        word: any spelling of a word of the vocabulary, of level image or zero.
        out: the model directory to write.

    Returns:
        The report, as in `provenance.json`: {"name", "level", "photos": {"with", "without"}, ...}.

    Raises:
        UserError: `check_word`'s, too few photos, or a file of the model is missing or damaged.
    """
    vocabulary = model_directory.load_vocabulary(source)
    entry = check_word(source, vocabulary, word)
    name = vocabulary.names[entry]
    photos = ConceptPhotos.read(
        records, name, [form for form, place in vocabulary.spellings().items() if place == entry]
    )
    concepts = model_directory.load_concepts(source)
    texts = {text: model_directory.load_json(source / f"{text}.json") for text in ("mixing", "thresholds")}
    config, parts = model_directory.load_config(source), model_directory.load_parts(source, inference=True)
    table = ConceptTable.build(vocabulary, concepts, **texts)
    model = ConceptMaskModel(config, parts, table)
    anchors = _neighbour(model, entry, concepts)
    learnt = learn(model, entry, photos, anchors, config.refine.dice_weight)
    report = {
        "name": name,
        **learnt.report,
        "records": {f"{records.directory.name}/{INDEX}": weights.checksum(records.directory / INDEX)},
        "version": importlib.metadata.version("cmask-tf"),
    }
    place = int(table.column[entry])
    place = len(concepts) if place < 0 else place
    network = with_column(parts["refinement"], place, learnt.column[:-1], learnt.column[-1])
    provenance = model_directory.load_provenance(source)
    provenance["added"] = [*provenance.get("added", []), report]
    kept = {"kind": vocabulary.kinds[entry], **(concepts[place] if place < len(concepts) else {})}
    concepts[place : place + 1] = [{**kept, "name": name, "level": learnt.level}]
    texts = {"concepts": concepts, **_tables(texts, name, learnt.threshold), "provenance": provenance}
    changed = {"refinement": network}
    if VERIFICATION_WORDS in parts and place == len(table.trained):  # a concept more
        changed[VERIFICATION_WORDS] = with_places(parts[VERIFICATION_WORDS], len(concepts))
    model_directory.save_changed(source, out, texts=texts, parts=changed)
    return report


def learn(
    model: ConceptMaskModel, entry: int, photos: ConceptPhotos, anchors: list[Anchor], dice_weight: float
) -> Learnt:
    """A column from photos, by the pull that serves best in cross validation.

    Args:
        model: that has the concept without boxes so far.
        entry: of the vocabulary.
        photos: with and without it.
        anchors: concepts whose column this one may be like; zero is always tried.
        dice_weight: of the loss.
    """
    examples = _examples(model, photos)
    anchors = [*anchors, Anchor.zero(examples)]
    count = min(FOLDS, int(photos.shows.sum()))
    dealt = concept_column.folds(photos.shows, count)
    progress = tqdm(range(count), "learning the column", unit="fold")
    left_out = [concept_column.columns(_both(examples, dealt != f), anchors, dice_weight) for f in progress]
    scores, raw = _judge(model, entry, photos, np.array(left_out)[dealt])
    before, means = float(scores[:, 0].mean()), scores[:, 1:].mean(axis=0)
    best = int(np.argmax(means))  # of equal ones the stronger pull
    anchor, strength = concept_column.candidates(anchors)[best]
    every = concept_column.columns(_both(examples, np.ones(len(photos), bool)), anchors, dice_weight)
    threshold = _threshold(raw[:, best], photos.shows)
    report = {
        "level": photos.level,
        "photos": {"with": int(photos.shows.sum()), "without": int((~photos.shows).sum())},
        "pull": {"towards": anchor.name or 0, "strength": strength if np.isfinite(strength) else "whole"},
        "cross_validation": {"folds": count, "iou": float(means[best]), "iou_before": before},
        "threshold": threshold,
    }
    return Learnt(every[best], photos.level, threshold, report)


def _neighbour(model: ConceptMaskModel, entry: int, concepts: list[dict]) -> list[Anchor]:
    """p(q), whose map the concept has borrowed; none where no concept has boxes."""
    p = int(model.neighbour[entry])
    if p < 0:
        return []
    parameters = model.resolve_entries(tf.constant([entry]))
    weights, bias = parameters["p_weights"].numpy()[0], parameters["p_bias"].numpy()[0]
    return [Anchor(concepts[p]["name"], weights, float(bias))]


def _examples(model: ConceptMaskModel, photos: ConceptPhotos) -> Examples:
    """Hidden maps and targets of every photo and, behind all of them, of every photo mirrored."""
    scales = [f"hidden_{number}" for number in range(1, 1 + len({*model.sizes}))]
    hidden = {scale: ([], []) for scale in scales}
    targets = {scale: ([], []) for scale in scales}
    for index in tqdm(range(len(photos)), "looking at photos", unit="photo"):
        image = photos.image(index)[np.newaxis]
        for side, view in enumerate((image, image[:, :, ::-1])):
            features = model.encode(view)
            for scale in scales:
                maps = features[scale].numpy()[0]
                target = photos.target(index, len(maps))
                hidden[scale][side].append(maps.reshape(-1, maps.shape[-1]))
                targets[scale][side].append((target[:, ::-1] if side else target).ravel())
    return Examples(*([np.stack(a + b) for a, b in values.values()] for values in (hidden, targets)))


def _both(examples: Examples, photos: np.ndarray) -> Examples:
    """Of photos bool [N]: they and their mirror images."""
    return examples.some(np.tile(photos, 2))


def _judge(
    model: ConceptMaskModel, entry: int, photos: ConceptPhotos, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Masks and scores of photos as the model has them and as columns make them.

    Args:
        columns: float32 [N, C, F + 1], the columns that each of the N photos is judged by.

    Returns:
        IoU of the masks, float64 [M, 1 + C], of the M photos that show the concept: before, then by column.
        Raw scores float32 [N, C] by column (supplement 5).
    """
    overlaps, raw = [], []
    old = model.resolve_entries(tf.constant([entry]))
    for index in tqdm(range(len(photos)), "photos left out", unit="photo"):
        features = model.encode(photos.image(index)[np.newaxis])
        parameters = _as_columns(old, columns[index])
        rows = tf.zeros_like(parameters["path"])
        if not photos.shows[index]:
            raw.append(model.raw_scores(features, parameters, rows).numpy()[1:])
            continue
        masks, _, found = model.decode(features, parameters, rows)
        truth = photos.truth(index)
        masks = [upsample(mask, truth.shape) > 0.5 for mask in masks.numpy()]
        overlaps.append([metrics.mask_scores(mask, truth)["iou"] for mask in masks])
        raw.append(found.numpy()[1:])
    return np.array(overlaps), np.array(raw)


def _as_columns(old: Mapping[str, tf.Tensor], columns: np.ndarray) -> dict[str, tf.Tensor]:
    """One concept's parameters as they are, and with each of columns [C, F + 1] as its own map."""
    repeated = {name: tf.repeat(value, 1 + len(columns), axis=0) for name, value in old.items()}
    changed = {"q_weights": columns[:, :-1], "q_bias": columns[:, -1]}
    changed["path"] = np.full(len(columns), DIRECT, np.int32)
    return repeated | {name: tf.concat([old[name], value], axis=0) for name, value in changed.items()}


def _threshold(raw: np.ndarray, shows: np.ndarray) -> float | None:
    """Where the share of photos found that show the concept exceeds that of the others by most.

    Not the best F1, as of the other concepts (`calibration`): that depends on how many photos show it, and
    photos that were gathered for the concept do not tell how common it is.
    """
    if not MIN_POSITIVES <= shows.sum() <= len(shows) - MIN_POSITIVES:
        return None
    ranked = np.unique(raw)
    between = (ranked[1:] + ranked[:-1]) / 2
    if not len(between):
        return None
    found = [np.mean(raw[shows] >= t) - np.mean(raw[~shows] >= t) for t in between]
    return float(between[np.argmax(found)])


def _tables(texts: Mapping[str, dict], name: str, threshold: float | None) -> dict[str, dict]:
    """mixing.json, where the concept borrows no more, and thresholds.json, without its old threshold."""
    mixing, thresholds = texts["mixing"], texts["thresholds"]
    neighbours = {q: p for q, p in mixing["p"].items() if q != name}
    own = {word: value for word, value in thresholds["concepts"].items() if word != name}
    if threshold is not None:
        own[name] = threshold
    return {"mixing": {**mixing, "p": neighbours}, "thresholds": {**thresholds, "concepts": own}}
