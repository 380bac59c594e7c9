"""What a person sees of a training: one line on the terminal, and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import tensorflow as tf
from tqdm import tqdm

_LINE = "{desc} {percentage:3.0f}% |{bar:12}| {rate_noinv_fmt}, {remaining} left{postfix}"


class ProgressBar:
    """One line on stderr: epoch, step, loss terms, images a second, time left."""

    def __init__(
        self,
        epochs: int,
        steps_per_epoch: int,
        batch: int,
        done: int,
        shown: bool = True,
        file: IO | None = None,
    ):
        """Args:
        epochs, steps_per_epoch, batch: the length of the whole training.
        done: steps that earlier runs made; they count neither for the speed nor for the time left.
        shown: False on every host but the chief.
        file: where the line goes; stderr by default.
        """
        self._epochs, self._steps, self._batch = epochs, steps_per_epoch, batch
        self._bar = tqdm(
            total=epochs * steps_per_epoch * batch,
            initial=done * batch,
            unit=" images",
            bar_format=_LINE,
            disable=not shown,
            file=file,
        )

    def update(self, epoch: int, step: int, terms: Mapping[str, float]) -> None:
        """Counts one step.

        Args:
            epoch: from 0.
            step: steps made in the epoch.
            terms: the loss and its terms.
        """
        place = f"epoch {epoch + 1}/{self._epochs} step {step}/{self._steps}"
        self._bar.set_description_str(place, refresh=False)
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in terms.items()}, refresh=False)
        self._bar.update(self._batch)

    def close(self) -> None:
        """Leaves the line as it is and ends it."""
        self._bar.close()


class TensorBoard:
    """Scalars and pictures in `folder`, for `tensorboard --logdir`; nothing at all when not `written`."""

    def __init__(self, folder: Path, written: bool = True):
        summary = tf.summary
        self._writer = summary.create_file_writer(str(folder)) if written else summary.create_noop_writer()

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Writes each value as `group/name`."""
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(f"{group}/{name}", value, step=step)

    def pictures(self, pictures: Mapping[str, np.ndarray], step: int) -> None:
        """Writes uint8 [N, H, W, 3] pictures."""
        with self._writer.as_default():
            for name, images in pictures.items():
                tf.summary.image(name, images, step=step, max_outputs=len(images))
        self._writer.flush()

    def close(self) -> None:
        """Flushes what is left."""
        self._writer.close()
