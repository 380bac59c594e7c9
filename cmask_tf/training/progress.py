"""What a person sees of a training: one line on the terminal, and TensorBoard.

The line tells the time left; images a second and the share of the time that the trainer waits for data, both
of the last few steps; the learning rate; the loss and its terms. A trainer that waits for much of the time
has a pipeline that is too slow for its network; one that does not wait is bound by the network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import tensorflow as tf
from tqdm import tqdm

_LINE = "{desc} {percentage:3.0f}% |{bar:12}| {remaining} left{postfix}"
T = TypeVar("T")


class Pace:
    """How fast the steps of an epoch follow each other, and how long they wait for their batches."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        """Args:
        clock: seconds.
        """
        self._clock = clock
        self._begin()

    def over(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches; the time that each lets its consumer wait counts as waiting."""
        self._begin()
        iterator = iter(batches)
        while True:
            asked = self._clock()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            finally:
                self._waited += self._clock() - asked
            yield batch

    def count(self, images: float) -> None:
        """So many more went through a step."""
        self._images += images

    def lap(self) -> dict[str, float]:
        """Since the last lap, or since the epoch began.

        Returns:
            "images_per_second", and "data_wait", the share of the time, 0 to 1, that went by waiting.
        """
        seconds = max(self._clock() - self._start, 1e-9)
        measured = {"images_per_second": self._images / seconds, "data_wait": self._waited / seconds}
        self._begin()
        return measured

    def _begin(self) -> None:
        self._start, self._waited, self._images = self._clock(), 0.0, 0.0


class ProgressBar:
    """One line on stderr: epoch, step, time left, pace, learning rate, loss terms."""

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
        self._shown, self._pace = shown, {}
        self._bar = tqdm(
            total=epochs * steps_per_epoch * batch,
            initial=done * batch,
            bar_format=_LINE,
            smoothing=0,  # the time left is the whole run's: evaluations count, too
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
        values = {name: f"{value:.4g}" for name, value in terms.items()}
        self._bar.set_postfix({**self._pace, **values}, refresh=False)
        self._bar.update(self._batch)

    def pace(self, images_per_second: float, data_wait: float, learning_rate: float) -> None:
        """What stands before the terms from now on; `data_wait` is a share of the time, 0 to 1."""
        self._pace = {
            "images/s": f"{images_per_second:.1f}",
            "data wait": f"{data_wait:.0%}",
            "rate": f"{learning_rate:.2g}",
        }

    def warn(self, text: str) -> None:
        """A line of its own above the running one."""
        if self._shown:
            tqdm.write(text, file=self._bar.fp)

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
