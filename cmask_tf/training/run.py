"""One training run: what every stage needs to know, and how a stage becomes a model directory."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from cmask_tf import model_directory
from cmask_tf.config import Config
from cmask_tf.data.records import RecordSet
from cmask_tf.data.unreadable import UNREADABLE
from cmask_tf.errors import UserError
from cmask_tf.models import weights
from cmask_tf.models.precision import precision
from cmask_tf.training.arguments import PARTS
from cmask_tf.training.cluster import chief_first, is_chief, told_agreement, wait_for_all
from cmask_tf.training.concepts import check_supervision, trained_concepts
from cmask_tf.training.failures import told
from cmask_tf.training.loop import Task, train
from cmask_tf.training.starting_weights import Origin, begin, described, origins
from cmask_tf.training.strategy import make_strategy, set_determinism, share
from cmask_tf.vocabulary.artefact import Vocabulary


@dataclass(frozen=True)
class Run:
    """A stage at work.

    Attributes:
        start: the model directory of the stage before, None for Stage 1.
        origins: the weights that its networks begin with, but for those of the stage before.
        inputs: checksums of the files that the run starts from.
    """

    config: Config
    records: Path
    start: Path | None
    out: Path
    strategy: tf.distribute.Strategy
    vocabulary: Vocabulary
    concepts: list[dict[str, str]]
    origins: list[Origin]
    inputs: dict[str, str]
    deterministic: bool
    checkpoint_every: int

    @property
    def work(self) -> Path:
        """Checkpoints, logs and caches, beside `out`; removed by the user, not by us."""
        return self.out.with_name(self.out.name + ".run")

    def record_set(self, name: str) -> RecordSet:
        return RecordSet.open(self.records / name)

    def order(self, epoch: int, skip: int) -> dict:
        """How a pipeline passes over the training records: the fields of `data.order.Order`."""
        return {
            "seed": self.config.seed,
            "epoch": epoch,
            "skip": skip,
            "deterministic": self.deterministic,
            "share": share(self.strategy),
        }

    def train(self, task: Task, schedule, folder: str = "") -> dict:
        return train(
            task,
            schedule,
            self.work / folder,
            self.strategy,
            checkpoint_every_steps=self.checkpoint_every,
            deterministic=self.deterministic,
        )


def train_stage(stage: str, config: Config, args: argparse.Namespace) -> None:
    """Trains a stage and publishes its model directory at `args.out` by one rename.

    Raises:
        UserError: what a person has to put right: a full disk, a damaged file, another run's work.
        LostHost: another host is gone, or never came.
    """
    stages = {"embedding": _embedding, "refine": _refine, "segmentation": _segmentation}
    with told(args.out, lambda: _record_files(args)):
        set_determinism(config.seed, args.deterministic)
        run = _start(stage, config, args)
        parts, results = stages[stage](run)
        told_agreement(run.strategy, [v.value for part in parts.values() for v in part.variables])
        if is_chief(run.strategy):
            _publish(run, stage, parts, results)
        wait_for_all(run.strategy, "published")  # a host that ends before the others counts as lost


def _publish(run: Run, stage: str, parts: dict, results: dict) -> None:
    earlier = model_directory.load_provenance(run.start) if run.start else {}
    made = {**earlier, stage: provenance(run, results.pop("history"))}
    model_directory.save(run.out, run.config, run.vocabulary, run.concepts, parts, provenance=made, **results)


def _record_files(args: argparse.Namespace) -> list[str]:
    """All that a stage may have read: the record sets, and what was made of them in the work folder."""
    work = args.out.with_name(args.out.name + ".run")
    return [str(file) for folder in (args.data, work) for file in sorted(folder.glob("*/*.tfrecord"))]


def _start(stage: str, config: Config, args: argparse.Namespace) -> Run:
    strategy = make_strategy(wait=args.wait)  # several hosts: before TensorFlow does anything else
    start = getattr(args, "start", None)
    if start is None:
        vocabulary = Vocabulary.load(args.vocabulary)
        concepts = trained_concepts(args.data, vocabulary)
        check_supervision(concepts, args.data)
        inputs = [args.vocabulary / "vectors.npy"]
    else:
        vocabulary = model_directory.load_vocabulary(start)
        concepts = model_directory.load_concepts(start)
        inputs = sorted(start.glob("*.weights.h5"))
    inputs += sorted(args.data.glob("*/dataset.json"))
    found = origins(stage, config, PARTS[stage], args.start_from)
    # What keras.applications downloads is known by its own checksum, and may not be there yet.
    inputs += [f for origin in found for f in origin.files if not origin.source.startswith("keras")]
    run = Run(
        config=config,
        records=args.data,
        start=start,
        out=args.out,
        strategy=strategy,
        vocabulary=vocabulary,
        concepts=concepts,
        origins=found,
        inputs={f"{file.parent.name}/{file.name}": weights.checksum(file) for file in inputs},
        deterministic=args.deterministic,
        checkpoint_every=args.checkpoint_every,
    )
    claim(run)
    return run


def claim(run: Run, **more: str | None) -> None:
    """Makes the work folder this run's own: checkpoints of other inputs are never taken up.

    Args:
        run: its config and inputs decide.
        more: what else has to be the same.

    Raises:
        UserError: the folder has the work of another run.
    """
    mine = {
        "config": dataclasses.asdict(run.config),
        "inputs": run.inputs,
        "deterministic": run.deterministic,
        **more,
    }
    file, text = run.work / "claim.json", json.dumps(mine, indent=2)
    with chief_first(run.strategy, "claim"):
        if file.exists() and file.read_text() != text:
            raise UserError(
                f"{run.work}: work of a run with another config or other data; "
                "remove it, or give another --out"
            )
        if is_chief(run.strategy):
            run.work.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(file.name + ".partial")
            partial.write_text(text)
            os.replace(partial, file)
        elif not file.exists():
            raise UserError(
                f"{run.work}: the chief's work is not seen here; expected an --out that all hosts share"
            )


def _embedding(run: Run) -> tuple[dict, dict]:
    from cmask_tf.training.embedding import EmbeddingTask

    task = _begin(run, EmbeddingTask)
    history = run.train(task, run.config.embed)
    return task.models, {"history": history}


def _refine(run: Run) -> tuple[dict, dict]:
    from cmask_tf.training.refine import RefinementTask

    task = _begin(run, RefinementTask)
    history = run.train(task, run.config.refine)
    return task.models, {"history": history}


def _segmentation(run: Run) -> tuple[dict, dict]:
    from cmask_tf.training.calibration import calibrate
    from cmask_tf.training.segmentation import SegmentationTask
    from cmask_tf.training.verification import VerificationTask

    task = _begin(run, SegmentationTask)
    history = run.train(task, run.config.segment)
    parts = {**task.attention_parts, **task.models}
    if run.config.verification.hidden:
        verification = VerificationTask(run, task.attention_parts)
        learnt = run.train(verification, run.config.verify, "verification")
        history["verification"] = _kept(learnt)
        parts |= verification.parts
    if not is_chief(run.strategy):
        return parts, {"history": history}
    if run.config.precision != "float32":  # thresholds and theta hold for the networks that will be served
        parts = model_directory.copies(run.config, parts)
    mixing, thresholds = calibrate(run, parts)
    return parts, {"history": history, "mixing": mixing, "thresholds": thresholds}


def _begin(run: Run, task: type) -> Task:
    """The task with its networks in the run's precision, those of the stage from `--start-from` if given."""
    with precision(run.config.precision):
        begun = task(run)
    begin(begun.models, run.origins)
    return begun


def provenance(run: Run, history: dict) -> dict:
    """What a training was made from (`provenance.json`)."""
    versions = {
        name: importlib.metadata.version(name) for name in ("cmask-tf", "tensorflow", "keras", "numpy")
    }
    sets = [d.name for d in sorted(run.records.iterdir()) if (d / "dataset.json").is_file()]
    return {
        "seed": run.config.seed,
        "deterministic": run.deterministic,
        "replicas": run.strategy.num_replicas_in_sync,
        "versions": versions,
        "records": {name: run.record_set(name).examples for name in sets},
        "inputs": run.inputs,
        "weights": described(run.origins),
        "undecodable_photos": list(UNREADABLE.names),  # since the stage was last started
        "validation": _kept(history),
        **({"verification": history["verification"]} if "verification" in history else {}),
    }


def _kept(history: dict) -> list[dict]:
    """The validation measures of the epoch that was kept."""
    return [record for record in history["validation"] if record["epoch"] == history["kept"]["epoch"]]
