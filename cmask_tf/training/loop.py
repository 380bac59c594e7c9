"""The one training loop of the three stages: step, log, checkpoint, evaluate.

Our own over `strategy.run`: one device, several and several hosts run the same code (Keras 3.15's `fit` fails
on several hosts). A training that was stopped goes on when it is started again; a finished one returns.

The weights that a training gives are those of its best epoch (`best`). A result is read when the next step is
under way, so that a device never waits for its reader; one that is not finite is noticed a step later, and
before anything is saved.

The global batch decides: every loss is divided by the number of examples over all replicas, so that with
synchronized batch normalization any number of replicas makes the same step, also on a smaller last batch.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from cmask_tf.config import Schedule
from cmask_tf.errors import UserError
from cmask_tf.training.averages import Averages
from cmask_tf.training.best import BestWeights, Measure
from cmask_tf.training.checkpoints import Checkpoints, Position
from cmask_tf.training.cluster import is_chief
from cmask_tf.training.loss_scale import LossScale
from cmask_tf.training.optimizers import clip, groups, make_optimizers
from cmask_tf.training.progress import Pace, ProgressBar, TensorBoard
from cmask_tf.training.strategy import distribute
from cmask_tf.training.validation import collapse

_LOG_EVERY_STEPS = 10
_LATE = 1  # steps that are under way when a result is read


class Task(Protocol):
    """What a stage gives to the loop. Its models are created under the strategy's scope.

    Attributes:
        stage: its name, for messages.
        models: what is trained and checkpointed, by name.
        steps_per_epoch: the number of batches of an epoch, a smaller last one included.
        better: which epoch is the best one.
    """

    stage: str
    models: Mapping[str, keras.Model]
    steps_per_epoch: int
    better: Measure

    def loss(self, batch: dict) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The loss [b] of each example of a replica's batch, and its terms [b] by name, to be shown."""

    def batches(self, epoch: int, skip: int) -> tf.data.Dataset:
        """The global batches of an epoch but the first `skip`; a function of its arguments alone.

        On one of several hosts they may hold that host's rows only: see `strategy.distribute`.
        """

    def validate(self) -> dict[str, float]:
        """Measures on held-out data, by name; `validation.collapse` says which of them raise an alarm."""

    def pictures(self) -> dict[str, np.ndarray]:
        """Pictures for TensorBoard, uint8 [N, H, W, 3], by name; of the same photos each time."""


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
        schedule: epochs, batch, rates, patience.
        out: receives `checkpoints/`, `tensorboard/` and `history.json`.
        strategy: from `make_strategy`.
        checkpoint_every_steps: checkpoints beside the one after every epoch.
        deterministic: data in a fixed order; `set_determinism` makes the kernels reproducible too.

    Returns:
        {"train": [{"epoch", "loss", every term}], "validation": [{"epoch", every measure}]}, one record an
        epoch, and "kept": {"epoch", "measure", "value"}, the best epoch. Its weights, the averaged ones where
        `schedule.ema` asks for them, are in the models.

    Raises:
        UserError: a loss that is not finite, naming step and term; a folder with another training.
    """
    steps, out = task.steps_per_epoch, Path(out)
    with strategy.scope():
        optimizers = make_optimizers(task.models, schedule, schedule.epochs * steps)
        averages = Averages(task.models, schedule.ema)
        scale = LossScale(task.models.values())
    position = Position({**dataclasses.asdict(schedule), "steps_per_epoch": steps})
    learners = {**optimizers, "averages": averages, "loss_scale": scale}
    checkpoints = Checkpoints(out / "checkpoints", task.models, learners, position, strategy)
    best = BestWeights(out / "checkpoints", task.models, strategy)
    checkpoints.restore()
    if _over(position, schedule):
        print(f"{out}: this training is finished", file=sys.stderr)
    else:
        with closing(Watch(task, schedule, position, optimizers, out, is_chief(strategy))) as watch:
            step = None
            while not _over(position, schedule):
                elements = distribute(task.batches(position.epoch, position.step), strategy, deterministic)
                step = step or _make_step(
                    task, schedule, optimizers, averages, scale, strategy, elements.element_spec
                )
                for made in watch.steps(step, elements):
                    if made % checkpoint_every_steps == 0:
                        watch.read()
                        checkpoints.save()
                _end_epoch(watch, averages, checkpoints, best, position)
    best.restore(position.history["kept"]["epoch"])
    return position.history


def _end_epoch(
    watch: Watch, averages: Averages, checkpoints: Checkpoints, best: BestWeights, position: Position
) -> None:
    """The weights that a checkpoint names as the best are there before it, and as long as it."""
    before = position.history.get("kept")
    with averages.in_place():
        watch.finish_epoch(best)
    checkpoints.save()
    best.forget(but=[kept["epoch"] for kept in (before, position.history["kept"]) if kept])


def _over(position: Position, schedule: Schedule) -> bool:
    """Whether all epochs are made, or so many since the best one that nothing better is to be expected."""
    since = position.epoch - position.history["kept"]["epoch"] if position.epoch else 0
    return position.epoch == schedule.epochs or bool(schedule.patience) and since >= schedule.patience


def _make_step(
    task: Task,
    schedule: Schedule,
    optimizers: Mapping[str, keras.optimizers.Optimizer],
    averages: Averages,
    scale: LossScale,
    strategy: tf.distribute.Strategy,
    spec,
) -> Callable:
    """The function that trains on an element of `distribute` -> (its size, the mean of loss and terms)."""
    trained = groups(task.models)

    def differentiate(batch, _, weight):
        with tf.GradientTape() as tape:
            per_example, terms = task.loss(batch)
            loss = weight * tf.reduce_sum(per_example)
            scaled = scale.up(loss)
        gradients = scale.down(tape.gradient(scaled, trained))
        terms = {"loss": loss, **{name: weight * tf.reduce_sum(value) for name, value in terms.items()}}
        if not scale.needed:  # the scale has a check of its own
            terms["gradient"] = _total(gradients)
        return gradients, terms

    def apply(gradients):
        if schedule.clip_norm:
            gradients = clip(gradients, schedule.clip_norm)
        for name, optimizer in optimizers.items():
            optimizer.apply(gradients[name], trained[name])  # sums the gradients over the replicas

    @tf.function(input_signature=[spec])
    def step(element):
        gradients, terms = strategy.run(differentiate, args=element)
        means = {name: strategy.reduce("SUM", value, axis=None) for name, value in terms.items()}

        def update():
            strategy.run(apply, args=(gradients,))
            averages.update(strategy)

        means |= scale.guard(strategy, gradients, means["loss"], update)
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
        if not math.isfinite(terms.get(name, 0.0)):
            raise UserError(
                f"{out}: epoch {position.epoch + 1}, step {position.step + 1}: {name} is {terms[name]}; "
                "expected a finite number (a lower learning_rate may help)"
            )
    terms.pop("gradient", None)
    position.add(terms, float(result[0]))
    return terms


class Watch:
    """Reads what steps and evaluations give, files it in the position, and shows it."""

    def __init__(
        self,
        task: Task,
        schedule: Schedule,
        position: Position,
        optimizers: Mapping[str, keras.optimizers.Optimizer],
        out: Path,
        written: bool = True,
    ):
        """Args:
        task, schedule, position, optimizers: of the training.
        out: where history and TensorBoard's files go.
        written: False on every host but the chief: nothing is written or shown there.
        """
        self._task, self._position, self._optimizers = task, position, optimizers
        self._out, self._written = out, written
        self._late: deque = deque()
        self._pace = Pace()
        self._bar = ProgressBar(
            schedule.epochs, task.steps_per_epoch, schedule.batch, position.all_steps, written
        )
        self._board = TensorBoard(out / "tensorboard", written)

    def steps(self, step: Callable, elements: Iterable) -> Iterator[int]:
        """Makes a step of each element, and yields how many were made since the training began."""
        for element in self._pace.over(elements):
            self._late.append(step(element))
            yield self._position.all_steps + len(self._late)
            self.read(but=_LATE)
        self.read()

    def read(self, but: int = 0) -> None:
        """Reads the results of all steps but the last so many; the position is then that of the weights."""
        position = self._position
        while len(self._late) > but:
            before = position.examples
            terms = _count(self._late.popleft(), position, self._out)
            self._pace.count(position.examples - before)
            if position.all_steps % _LOG_EVERY_STEPS == 0:
                pace, rates = self._pace.lap(), _rates(self._optimizers)
                self._board.scalars("train", {**terms, **rates, **pace}, position.all_steps)
                self._bar.pace(**pace, learning_rate=max(rates.values()))
            self._bar.update(position.epoch, position.step, terms)

    def finish_epoch(self, best: BestWeights) -> None:
        """Validates, writes down what the epoch brought, and keeps the weights if they are the best yet."""
        task, position, out = self._task, self._position, self._out
        if position.step != task.steps_per_epoch:
            raise UserError(f"{out}: an epoch had {position.step} batches; expected {task.steps_per_epoch}")
        measures = task.validate()
        fault = collapse(measures)
        self._board.scalars("validation", {**measures, "collapsed": float(bool(fault))}, position.all_steps)
        self._board.pictures(task.pictures(), position.all_steps)
        if fault:
            self._bar.warn(f"warning: {out}: {task.stage}, epoch {position.epoch + 1}: {fault}")
        position.finish_epoch(measures)
        position.history["kept"] = task.better.kept(position.history)
        if position.history["kept"]["epoch"] == position.epoch:
            best.keep(position.epoch)
        if self._written:
            partial = out / "history.json.partial"
            partial.write_text(json.dumps(position.history, indent=2) + "\n")
            os.replace(partial, out / "history.json")

    def close(self) -> None:
        """Ends the line and flushes TensorBoard's files."""
        self._bar.close()
        self._board.close()
