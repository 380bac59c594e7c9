"""Checkpoints from which a training goes on exactly: weights, optimizers, random state, and the position.

Shuffling and augmentation depend on (seed, epoch, index) only, so the position in the data is also their
random state; random generators inside models (dropout) are variables of theirs. With several hosts all take
part in a save (reading some variables is a collective), but only the chief's files stay.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import keras
import tensorflow as tf

from cmask_tf.errors import UserError
from cmask_tf.training.cluster import is_chief, told_by_chief, wait_for_all

_KEPT = 2
_POSITION = ("plan", "epoch", "step", "examples", "sums", "history")


class Position(tf.train.experimental.PythonState):
    """Where a training stands, and what it has seen; saved inside the checkpoint, in step with the weights.

    Attributes:
        plan: the schedule and the steps of an epoch that the run was started with.
        epoch: epochs finished.
        step: steps made in the running epoch.
        examples, sums: of the running epoch: the number of examples, the sum of each loss term over them.
        history: {"train": [{"epoch", the mean of every term}], "validation": [{"epoch", every measure}]}.
    """

    def __init__(self, plan: dict):
        self.plan = plan
        self.epoch = self.step = 0
        self.examples: float = 0.0
        self.sums: dict[str, float] = {}
        self.history: dict[str, list] = {"train": [], "validation": []}

    @property
    def all_steps(self) -> int:
        """Steps made since the training began."""
        return self.epoch * self.plan["steps_per_epoch"] + self.step

    def add(self, terms: Mapping[str, float], examples: float) -> None:
        """Counts one step with the mean of each term over its examples."""
        self.step += 1
        self.examples += examples
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * examples

    def finish_epoch(self, validation: Mapping[str, float]) -> None:
        """Files the means of the running epoch in the history and starts the next one."""
        self.epoch += 1
        means = {name: value / self.examples for name, value in self.sums.items()}
        self.history["train"].append({"epoch": self.epoch, **means})
        self.history["validation"].append({"epoch": self.epoch, **validation})
        self.step, self.examples, self.sums = 0, 0.0, {}

    def serialize(self) -> str:
        """The state as JSON, for TensorFlow's checkpoint."""
        return json.dumps({name: getattr(self, name) for name in _POSITION})

    def deserialize(self, string_value: bytes) -> None:
        """Takes over the state that `serialize` wrote."""
        for name, value in json.loads(string_value).items():
            setattr(self, name, value)


class Checkpoints:
    """The newest checkpoints of one training, in one folder."""

    def __init__(
        self,
        folder: Path,
        models: Mapping[str, keras.Model],
        optimizers: Mapping[str, keras.optimizers.Optimizer],
        position: Position,
        strategy: tf.distribute.Strategy,
    ):
        """Args:
        folder: holds the checkpoints, and nothing else.
        models, optimizers: all that changes in training; the optimizers are built.
        position: the position in the data and the history.
        strategy: tells whether this process is the chief.
        """
        self._folder = Path(folder)
        self._position = position
        # Variables in order, not the Keras objects: TensorFlow does not find dropout's random state in those.
        self._checkpoint = tf.train.Checkpoint(
            models={name: [v.value for v in model.variables] for name, model in models.items()},
            optimizers={name: [v.value for v in each.variables] for name, each in optimizers.items()},
            position=position,
        )
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder), max_to_keep=_KEPT)
        self._strategy = strategy

    def save(self) -> None:
        """Writes a checkpoint; the folder points at it only when it is whole. The chief's work alone."""
        if not is_chief(self._strategy):
            return
        try:
            self._manager.save()
        except tf.errors.OpError:
            for unfinished in self._folder.glob("*_temp"):  # a full disk: leave no more there than before
                shutil.rmtree(unfinished, ignore_errors=True)
            raise
        kept = {Path(path).name for path in self._manager.checkpoints}
        for stem in {
            path.stem for path in self._folder.glob("ckpt-*.index")
        } - kept:  # of a run that was killed
            for file in self._folder.glob(f"{stem}.*"):
                file.unlink()

    def restore(self) -> bool:
        """Goes back to the newest checkpoint that can be read.

        Returns:
            Whether there was one.

        Raises:
            UserError: it belongs to another model or another schedule; there are checkpoints, and none can be
                read; on another host than the chief: it is not there.
        """
        plan, paths = dict(self._position.plan), []
        if is_chief(self._strategy):
            # By the files' numbers: the list that TensorFlow keeps of them may be lost with the power, too.
            paths = sorted(self._folder.glob("ckpt-*.index"), key=lambda path: -int(path.stem.split("-")[1]))
        read = next((path.stem for path in paths if self._read(path.with_suffix(""))), "")
        if paths and not read:
            raise UserError(
                f"{self._folder}: none of the checkpoints can be read; remove the folder to start over"
            )
        told = told_by_chief(self._strategy, "checkpoint", read)
        if told and not is_chief(self._strategy) and not self._read(self._folder / told):
            raise UserError(
                f"{self._folder / told}: the chief goes on from it and it cannot be read here; "
                "expected a folder that all hosts share"
            )
        wait_for_all(self._strategy, "restored")
        for name, value in plan.items():
            if told and (was := self._position.plan.get(name)) != value:
                raise UserError(
                    f"{self._folder}: holds a training with {name} {was}, not {value}; use another folder"
                )
        return bool(told)

    def _read(self, path: Path) -> bool:
        """Takes over one checkpoint, or says that it is damaged."""
        try:
            self._checkpoint.restore(str(path)).assert_consumed()
        except (AssertionError, ValueError, tf.errors.InvalidArgumentError):
            raise UserError(f"{self._folder}: holds another model's training; use another folder") from None
        except (tf.errors.OpError, IndexError):  # cut off, altered or gone: a machine that lost its power
            print(f"{path}: damaged, or not all there; trying the checkpoint before it", file=sys.stderr)
            return False
        return True
