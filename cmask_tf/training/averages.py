"""Averaged weights: an exponential moving average of what the steps make, for validation and the result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import keras
import tensorflow as tf


class Averages:
    """The moving average a_t of the models' variables w_t, corrected for its start.

    a_t = (1 - d) sum_k d^(t - k) w_k / (1 - d^t), k from 1 to t: the weights before the first step never
    count, so that the average is good from the first epoch on. Batch normalization's moving statistics are
    averaged like the weights they belong to; what is not a float (the state of random generators) is not.

    Attributes:
        variables: what a checkpoint must hold; empty without a decay.
    """

    def __init__(self, models: Mapping[str, keras.Model], decay: float):
        """Args:
        models: by name; build this object under the strategy's scope, as they were.
        decay: d, below 1; 0 for no averages, when nothing here does anything.
        """
        self._decay = decay
        floats = [v for model in models.values() for v in model.variables if "float" in v.dtype]
        self._weights = floats if decay else []
        self._averages = [
            keras.Variable("zeros", shape=v.shape, dtype=v.dtype, trainable=False, name=f"average_{i}")
            for i, v in enumerate(self._weights)
        ]
        self._steps = keras.Variable(0, dtype="int64", trainable=False, name="averaged_steps")
        self.variables = [self._steps, *self._averages] if decay else []

    def update(self, strategy: tf.distribute.Strategy) -> None:
        """Takes in the weights that a step made; outside of the replicas."""
        if not self._averages:
            return
        self._steps.assign_add(1)
        steps = tf.cast(self._steps.value, tf.float32)
        share = (1.0 - self._decay) / -tf.math.expm1(steps * math.log(self._decay))

        def towards(average, weight):
            average.assign_add(tf.cast(share, average.dtype) * (weight - average))

        for average, weight in zip(self._averages, self._weights, strict=True):
            strategy.extended.update(average.value, towards, args=(weight.value,))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The models have the averaged weights inside, and their own again afterwards.

        On several hosts all have to enter: reading some variables takes all of them.
        """
        own = [weight.numpy() for weight in self._weights]
        self.put()
        try:
            yield
        finally:
            for weight, value in zip(self._weights, own, strict=True):
                weight.assign(value)

    def put(self) -> None:
        """The models have the averaged weights from now on, once a step was made."""
        if not self._averages or not int(self._steps.numpy()):
            return
        for weight, average in zip(self._weights, self._averages, strict=True):
            weight.assign(average.numpy())
