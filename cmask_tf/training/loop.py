"""The one training loop of the three stages: step, log, checkpoint, evaluate.

Our own over `strategy.run`: one device, several and several hosts run the same code (Keras 3.15's `fit` fails
on several hosts). A training that was stopped goes on when it is started again; a finished one returns.

The global batch decides: every loss is divided by the number of examples over all replicas, so that with
synchronized batch normalization any number of replicas makes the same step, also on a smaller last batch.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from cmask_tf.config import Schedule
from cmask_tf.errors import UserError
from cmask_tf.training.checkpoints import Checkpoints, Position
from cmask_tf.training.optimizers import groups, make_optimizers
from cmask_tf.training.progress import ProgressBar, TensorBoard
from cmask_tf.training.strategy import distribute, is_chief

_LOG_EVERY_STEPS = 10


class Task(Protocol):
    """What a stage gives to the loop. Its models are created under the strategy's scope.

    Attributes:
        models: what is trained and checkpointed, by name.
        steps_per_epoch: the number of batches of an epoch, a smaller last one included.
    """

    models: Mapping[str, keras.Model]
    steps_per_epoch: int

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The loss [b] of each example of a replica's batch, and its terms [b] by name, to be shown."""

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        """The global batches of an epoch but the first `skip`; a function of its arguments alone.

        On one of several hosts they may hold that host's rows only: see `strategy.distribute`.
        """

    def validate(self) -> dict[str, float]:
        """Measures on held-out data, by name."""

    def pictures(self) -> dict[str, np.ndarray]:
        """Pictures for TensorBoard, uint8 [N, H, W, 3], by name."""


def train(
    task: Task,
    schedule: Schedule,
    out: Path,
    strategy: tf.distribute.Strategy,
    *,
    checkpoint_every_steps: int = 1000,
    deterministic: bool = False,
) -> dict:
    """Trains the task's models, or goes on where an earlier run in the same folder stopped.

    Args:
        task: the stage; its models were created under the strategy's scope.
        schedule: epochs, batch, rates.
        out: receives `checkpoints/`, `tensorboard/` and `history.json`.
        strategy: from `make_strategy`.
        checkpoint_every_steps: checkpoints beside the one after every epoch.
        deterministic: data in a fixed order; `set_determinism` makes the kernels reproducible too.

    Returns:
        {"train": [{"epoch", "loss", every term}], "validation": [{"epoch", every measure}]}, one record an
        epoch. The weights are in the models.

    Raises:
        UserError: a loss that is not finite, naming step and term; a folder with another training.
    """
    steps, out = task.steps_per_epoch, Path(out)
    with strategy.scope():
        optimizers = make_optimizers(task.models, schedule, schedule.epochs * steps)
    position = Position({**dataclasses.asdict(schedule), "steps_per_epoch": steps})
    checkpoints = Checkpoints(out / "checkpoints", task.models, optimizers, position, strategy)
    checkpoints.restore()
    if position.epoch == schedule.epochs:
        print(f"{out}: this training is finished", file=sys.stderr)
        return position.history

    step, written = None, is_chief(strategy)
    bar = ProgressBar(schedule.epochs, steps, schedule.batch, position.all_steps, written)
    with closing(bar), closing(TensorBoard(out / "tensorboard", written)) as board:
        while position.epoch < schedule.epochs:
            elements = distribute(task.batches(position.epoch, position.step), strategy, deterministic)
            step = step or _make_step(task, optimizers, strategy, elements.element_spec)
            for element in elements:
                terms = _count(step(element), position, out)
                bar.update(position.epoch, position.step, terms)
                if position.all_steps % _LOG_EVERY_STEPS == 0:
                    board.scalars("train", {**terms, **_rates(optimizers)}, position.all_steps)
                if position.all_steps % checkpoint_every_steps == 0:
                    checkpoints.save()
            _finish_epoch(task, position, board, out, written)
            checkpoints.save()
    return position.history


def _make_step(
    task: Task, optimizers: Mapping[str, keras.optimizers.Optimizer], strategy: tf.distribute.Strategy, spec
) -> Callable:
    """The function that trains on an element of `distribute` -> (its size, the mean of loss and terms)."""
    trained = groups(task.models)

    def replica(batch, _, weight):
        with tf.GradientTape() as tape:
            per_example, terms = task.loss(batch)
            loss = weight * tf.reduce_sum(per_example)
        gradients = tape.gradient(loss, trained)
        for name, optimizer in optimizers.items():
            optimizer.apply(gradients[name], trained[name])  # sums the gradients over the replicas
        terms = {name: weight * tf.reduce_sum(value) for name, value in terms.items()}
        return {"loss": loss, **terms, "gradient": _total(gradients)}

    @tf.function(input_signature=[spec])
    def step(element):
        terms = strategy.run(replica, args=element)
        means = {name: strategy.reduce("SUM", value, axis=None) for name, value in terms.items()}
        return strategy.experimental_local_results(element[1])[0], means

    return step


def _total(gradients: Mapping[str, list]) -> tf.Tensor:
    """The sum of all gradients' entries, float32 []: not finite when one of them is not."""
    flat = [g.values if isinstance(g, tf.IndexedSlices) else g for g in tf.nest.flatten(gradients)]
    return tf.add_n([tf.reduce_sum(tf.cast(g, tf.float32)) for g in flat if g is not None])


def _rates(optimizers: Mapping[str, keras.optimizers.Optimizer]) -> dict[str, float]:
    return {f"learning_rate_{name}": float(o.learning_rate) for name, o in optimizers.items()}


def _count(result: tuple[tf.Tensor, dict[str, tf.Tensor]], position: Position, out: Path) -> dict[str, float]:
    """Files a step's terms, unless one is not finite: then the checkpoints, all older, stay as they are.

    The gradient is looked at, too: with a finite loss it can still spoil the weights.
    """
    terms = {name: float(value) for name, value in result[1].items()}
    for name in (*(n for n in terms if n not in ("loss", "gradient")), "loss", "gradient"):
        if not math.isfinite(terms[name]):
            raise UserError(
                f"{out}: epoch {position.epoch + 1}, step {position.step + 1}: {name} is {terms[name]}; "
                "expected a finite number (a lower learning_rate may help)"
            )
    del terms["gradient"]
    position.add(terms, float(result[0]))
    return terms


def _finish_epoch(task: Task, position: Position, board: TensorBoard, out: Path, written: bool) -> None:
    """Validates, and writes down what the epoch brought."""
    if position.step != task.steps_per_epoch:
        raise UserError(f"{out}: an epoch had {position.step} batches; expected {task.steps_per_epoch}")
    measures = task.validate()
    board.scalars("validation", measures, position.all_steps)
    board.pictures(task.pictures(), position.all_steps)
    position.finish_epoch(measures)
    if written:
        partial = out / "history.json.partial"
        partial.write_text(json.dumps(position.history, indent=2) + "\n")
        os.replace(partial, out / "history.json")
