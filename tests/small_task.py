"""A task of two small networks for the training loop: a backbone and a head, on pictures that stay."""

import keras
import numpy as np
import tensorflow as tf

from cmask_tf.config import Schedule
from cmask_tf.models.precision import precision
from cmask_tf.training import loop, strategy
from cmask_tf.training.best import Measure

BATCH, STEPS = 8, 4
SCHEDULE = Schedule(epochs=2, batch=BATCH, learning_rate=1e-2, backbone_rate=0.5)


class SmallTask:
    """Regression of a patch's mean by a convolution, batch normalization and a dense layer."""

    stage, better, steps_per_epoch = "small", Measure("error", higher=False), STEPS

    def __init__(self, where=None, kind="float32", spoil=None):
        """Args:
        where: the strategy; one CPU by default.
        kind: the precision.
        spoil: a function of an example's loss, or None.
        """
        keras.utils.set_random_seed(5)
        rng = np.random.default_rng(0)
        self.images = rng.normal(size=(BATCH * STEPS, 6, 6, 2)).astype(np.float32)
        self.truth = self.images[:, 2:4, 1:3].mean((1, 2, 3))
        self.where, self.spoil = where or strategy.make_strategy(["CPU:0"]), spoil
        with self.where.scope(), precision(kind):
            norm = keras.layers.BatchNormalization(synchronized=True)
            features = [keras.layers.Conv2D(4, 3, use_bias=False), norm, keras.layers.ReLU()]
            backbone = keras.Sequential([keras.Input((6, 6, 2)), *features, keras.layers.Flatten()])
            out = keras.layers.Dense(1, dtype="float32")
            self.models = {"backbone": backbone, "head": keras.Sequential([keras.Input((64,)), out])}

    def predict(self, image, training):
        return self.models["head"](self.models["backbone"](image, training=training))[:, 0]

    def loss(self, batch):
        error = tf.square(self.predict(batch["image"], True) - batch["truth"])
        error = self.spoil(error) if self.spoil else error
        return error, {"error": error}

    def batches(self, epoch, skip):
        rows = tf.data.Dataset.from_tensor_slices({"image": self.images, "truth": self.truth})
        return rows.batch(BATCH).skip(skip)

    def validate(self):
        return {"error": float(np.mean(np.square(self.predict(self.images, False) - self.truth)))}

    def pictures(self):
        return {}

    def weights(self):
        return [v.numpy() for m in self.models.values() for v in m.weights]


def train(task, out, schedule=SCHEDULE):
    """The loop, with a checkpoint every three steps."""
    return loop.train(task, schedule, out, task.where, checkpoint_every_steps=3, deterministic=True)
