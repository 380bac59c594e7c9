"""Loss scaling for float16, whose gradients fall below its smallest number.

The loss is multiplied by a scale before the backward pass and the gradients are divided by it after. A step
whose gradients are not finite is left out, on all groups of variables, all replicas and in the averages, and
the scale halves; after 2,000 good steps in turn it doubles. Keras's LossScaleOptimizer looks at one
optimizer's gradients, and here are two, which have to make a step or leave it together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import keras
import tensorflow as tf

START = 2.0**15
GOOD_STEPS = 2000  # in turn, before the scale doubles


class LossScale:
    """A scale that follows the gradients when a model computes in float16; otherwise nothing.

    Attributes:
        needed: whether a model computes in float16.
        variables: what a checkpoint must hold; empty when not needed.
    """

    def __init__(self, models: Iterable[keras.Model]):
        """Args:
        models: what is trained; build this object under the strategy's scope, as they were.
        """
        self.needed = any(model.compute_dtype == "float16" for model in models)
        self.variables = []
        if self.needed:
            self._scale = keras.Variable(START, dtype="float32", trainable=False, name="loss_scale")
            self._good = keras.Variable(0, dtype="int64", trainable=False, name="good_steps")
            self.variables = [self._scale, self._good]

    def up(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss to differentiate; in a replica."""
        return loss * self._scale.value if self.needed else loss

    def down(self, gradients: dict[str, list]) -> dict[str, list]:
        """The gradients of the loss from those of `up(loss)`; in a replica."""
        if not self.needed:
            return gradients
        rate = 1.0 / self._scale.value
        return {name: [g if g is None else g * rate for g in gs] for name, gs in gradients.items()}

    def guard(
        self,
        strategy: tf.distribute.Strategy,
        gradients: dict[str, list],
        loss: tf.Tensor,
        update: Callable[[], None],
    ) -> dict[str, tf.Tensor]:
        """Makes the update, or leaves it out and halves the scale; outside of the replicas.

        Args:
            strategy: whose replicas have the gradients.
            gradients: from `down`, by group, each for every replica.
            loss: float32, the mean loss of the step.
            update: makes the step.

        Returns:
            "loss": the loss given, or NaN when the gradients are not finite at scale 1 either: then the
            scale is not to blame, and the run has to end. With float16 "loss_scale" too, of this step.
        """
        if not self.needed:
            update()
            return {"loss": loss}
        spoilt = strategy.reduce("SUM", strategy.run(_spoilt, args=(gradients,)), axis=None)
        finite, scale = spoilt == 0.0, tf.identity(self._scale.value)

        def make() -> tf.Tensor:
            update()
            good = self._good.value + 1
            self._scale.assign(tf.where(good == GOOD_STEPS, 2.0 * scale, scale))
            self._good.assign(good % GOOD_STEPS)
            return loss

        def leave_out() -> tf.Tensor:
            self._scale.assign(tf.maximum(0.5 * scale, 1.0))
            self._good.assign(tf.zeros([], tf.int64))
            return tf.where(scale > 1.0, loss, float("nan"))

        return {"loss": tf.cond(finite, make, leave_out), "loss_scale": scale}


def _spoilt(gradients: Mapping[str, list]) -> tf.Tensor:
    """1.0 when a gradient of this replica is not finite, else 0.0."""
    finite = [tf.reduce_all(tf.math.is_finite(g)) for g in tf.nest.flatten(gradients) if g is not None]
    return 1.0 - tf.cast(tf.reduce_all(finite), tf.float32)
