"""The best epoch of a training: its weights are kept beside the checkpoints, and are what the training gives.

With a cosine down to zero the last epoch mostly is the best one. Which one it is stands in the history, which
the checkpoints hold: a run that was stopped between the two goes on with what its checkpoint says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cmask_tf.errors import UserError
from cmask_tf.training.cluster import is_chief, wait_for_all


@dataclass(frozen=True)
class Measure:
    """What decides which epoch is the best: the mean of the validation measures of this beginning.

    Attributes:
        prefix: as "val_iou", for the mean of "val_iou_mask" and "val_iou_box".
        higher: whether more is better.
        levels: of supervision that count; all by default.
    """

    prefix: str
    higher: bool = True
    levels: tuple[str, ...] = ()

    def of(self, validation: Mapping[str, float]) -> float | None:
        """The mean; None where the validation photos gave no such measure, or one that is not finite."""
        names = [name for name in validation if name.startswith(self.prefix)]
        values = [validation[name] for name in names if not self.levels or name.endswith(self.levels)]
        mean = float(np.mean(values)) if values else float("nan")
        return mean if np.isfinite(mean) else None

    def kept(self, history: Mapping[str, list]) -> dict | None:
        """Which epoch of a history is the best, the first of equals; without any measure the last.

        Args:
            history: {"validation": [{"epoch", every measure}]}, and more.

        Returns:
            {"epoch", "measure", "value"}, or None before the first epoch.
        """
        epochs = [(record["epoch"], self.of(record)) for record in history["validation"]]
        if not epochs:
            return None
        sign = 1 if self.higher else -1
        measured = [(sign * value, -epoch, value) for epoch, value in epochs if value is not None]
        if not measured:
            return {"epoch": epochs[-1][0], "measure": self.prefix, "value": None}
        _, epoch, value = max(measured)
        return {"epoch": -epoch, "measure": self.prefix, "value": value}


class BestWeights:
    """The weights of the best epochs of one training."""

    def __init__(self, folder: Path, models: Mapping[str, keras.Model], strategy: tf.distribute.Strategy):
        """Args:
        folder: where the checkpoints are.
        models: as they are evaluated.
        strategy: tells whether this process is the chief.
        """
        self._folder, self._strategy, self._chief = Path(folder), strategy, is_chief(strategy)
        self._weights = tf.train.Checkpoint(
            models={name: [v.value for v in model.variables] for name, model in models.items()}
        )

    def keep(self, epoch: int) -> None:
        """Writes the models' weights as those of `epoch`; the chief's work alone."""
        if self._chief:
            self._weights.write(str(self._file(epoch)))

    def forget(self, but: Collection[int]) -> None:
        """Removes the files of all epochs but those that a checkpoint may still name as its best."""
        if self._chief:
            for index in self._folder.glob("best-*.index"):
                if int(index.stem.removeprefix("best-")) not in but:
                    for file in self._folder.glob(f"{index.stem}.*"):
                        file.unlink()

    def restore(self, epoch: int) -> None:
        """Gives the models the weights of `epoch`; on every host, from a folder that all share.

        Raises:
            UserError: they are not there, or damaged.
        """
        wait_for_all(self._strategy, "best")
        file = self._file(epoch)
        try:
            self._weights.read(str(file)).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError):
            raise UserError(
                f"{file}.index: missing or damaged; expected the weights of epoch {epoch}, the best one"
            ) from None

    def _file(self, epoch: int) -> Path:
        return self._folder / f"best-{epoch}"
