"""Trains a baseline beside a model: its config, its concepts, its records, by the same loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from cmask_tf import model_directory
from cmask_tf.config import Config, SegmentationTraining
from cmask_tf.data.records import RecordSet
from cmask_tf.errors import UserError
from cmask_tf.models import weights
from cmask_tf.models.precision import precision
from cmask_tf.training import baseline_directory
from cmask_tf.training.closed_set import ClosedSetTask
from cmask_tf.training.cluster import is_chief, told_agreement, wait_for_all
from cmask_tf.training.concepts import check_supervision, trained_spellings, with_level
from cmask_tf.training.failures import told
from cmask_tf.training.run import Run, claim, provenance
from cmask_tf.training.saliency import SaliencyTask
from cmask_tf.training.starting_weights import origins, vgg16_origins
from cmask_tf.training.strategy import make_strategy, set_determinism
from cmask_tf.vocabulary.artefact import Vocabulary

SETS = ("masks", "boxes", "val")
_OF_MODEL = ("concepts.json", "vocabulary/concepts.tsv")


def train_baseline(
    kind: str,
    config: Config,
    records: Path,
    like: Path,
    out: Path,
    vgg16: str | None = None,
    checkpoint_every: int = 500,
) -> None:
    """Trains a baseline and publishes its directory at `out` by one rename, or goes on with it.

    Args:
        kind: "saliency" or "closed-set".
        config: backbone, sizes, seed, Stage 3's schedule.
        records: what `cmask data prepare` wrote.
        like: the model directory to be compared with, of any stage; its concepts are the baseline's.
        out: the directory of the baseline; work in progress is in `out`.run.
        vgg16: as in `models.baselines.build_baseline`.
        checkpoint_every: steps between checkpoints, besides one each epoch.

    Raises:
        UserError: what a person has to put right, as in `run.train_stage`.
        LostHost: another host is gone.
    """
    work = out.with_name(out.name + ".run")
    with told(out, lambda: [str(f) for d in (records, work) for f in sorted(d.glob("*/*.tfrecord"))]):
        set_determinism(config.seed, kernels=False)
        run = _start(config, records, like, out, vgg16, checkpoint_every)
        claim(run, baseline=kind, vgg16=vgg16)
        masked = _spellings(run.concepts, run.vocabulary)
        schedule = comparable(config, run.record_set("masks"), run.record_set("boxes"), masked)
        with precision(config.precision):
            if kind == "saliency":
                task = SaliencyTask(run, schedule, vgg16)
            else:
                task = ClosedSetTask(run, schedule)
        history = run.train(task, schedule)
        network = task.models["network"]
        told_agreement(run.strategy, [v.value for v in network.variables])
        if is_chief(run.strategy):
            made = {**provenance(run, history), "epochs": schedule.epochs, "minutes": _minutes(history)}
            concepts = _planes(run) if kind == "closed-set" else []
            baseline_directory.save(out, kind, config, concepts, network, made, vgg16 is not None)
        wait_for_all(run.strategy, "published")


def comparable(
    config: Config, masks: RecordSet, boxes: RecordSet, masked: Collection[str]
) -> SegmentationTraining:
    """Stage 3's schedule with so many epochs that a baseline sees as many photos as Stages 2 and 3 together.

    A system is not better because it was trained longer. In an epoch Stage 3 of the paper's design sees a
    photo once for each of its concepts, `lite` and a baseline see it once. Stage 1 is left out: its photos
    need no boxes or masks.

    Args:
        config: the design, and the epochs of Stages 2 and 3.
        masks, boxes: the record sets that they train on.
        masked: every spelling of the mask-level concepts, the ones whose masks Stage 3 trains on.
    """
    shown = masks.examples
    if config.segmentation.design == "paper":
        shown = sum(photos for name, photos in masks.concepts.items() if name in masked)
    seen = config.refine.epochs * boxes.examples + config.segment.epochs * shown
    return dataclasses.replace(config.segment, epochs=max(1, round(seen / masks.examples)))


def _start(config: Config, records: Path, like: Path, out: Path, vgg16: str | None, every: int) -> Run:
    strategy = make_strategy()
    vocabulary = model_directory.load_vocabulary(like)
    concepts = model_directory.load_concepts(like)
    check_supervision(concepts, records)
    masked = _spellings(concepts, vocabulary)
    if not masked & RecordSet.open(records / "masks").concepts.keys():
        raise UserError(f"{records / 'masks'}: no concept that {like} has masks of is in these records")
    found = origins("embedding", config, (), None) if vgg16 is None else vgg16_origins(vgg16)
    inputs = [like / name for name in _OF_MODEL] + [records / name / "dataset.json" for name in SETS]
    inputs += [f for origin in found for f in origin.files if not origin.source.startswith("keras")]
    return Run(
        config=config,
        records=records,
        start=like,
        out=out,
        strategy=strategy,
        vocabulary=vocabulary,
        concepts=concepts,
        origins=found,
        inputs={f"{file.parent.name}/{file.name}": weights.checksum(file) for file in inputs},
        deterministic=False,
        checkpoint_every=every,
    )


def _spellings(concepts: list[dict], vocabulary: Vocabulary) -> set[str]:
    """Every spelling of the mask-level concepts."""
    masked = set(with_level(concepts, "mask"))
    return {form for form, i in trained_spellings(concepts, vocabulary).items() if i in masked}


def _planes(run: Run) -> list[dict]:
    """The concepts of a closed set in the order of its planes, with every folded form of their names."""
    forms: dict[int, list[str]] = {}
    for form, concept in trained_spellings(run.concepts, run.vocabulary).items():
        forms.setdefault(concept, []).append(form)
    return [{**run.concepts[i], "spellings": forms[i]} for i in with_level(run.concepts, "mask")]


def _minutes(history: dict) -> float:
    """What the epochs took, however often the training was stopped between them."""
    return sum(epoch["minutes"] for epoch in history["validation"])
