"""A task that trains in a moment, for the tests of the training loop."""

import os
import signal

import keras
import numpy as np
import tensorflow as tf

from cmask_tf.config import Schedule
from cmask_tf.training import loop, strategy
from cmask_tf.training.best import Measure
from cmask_tf.training.progress import ProgressBar

EXAMPLES, BATCH = 29, 8  # three batches of 8 and one of 5
SCHEDULE = Schedule(epochs=3, batch=BATCH, learning_rate=3e-3, backbone_rate=0.5)


class ToyTask:
    """Regression from 6x6 pictures: shuffled, augmented by stateless noise and flips, batch normalization."""

    stage, better, steps_per_epoch = "toy", Measure("error", higher=False), 4

    def __init__(self, where=None, dropout=0.0, examples=EXAMPLES, spoilt_epoch=None):
        keras.utils.set_random_seed(5)
        rng = np.random.default_rng(0)
        self.images = rng.normal(size=(examples, 6, 6, 2)).astype(np.float32)
        self.truth = self.images[:, 2:4, 1:3].mean((1, 2, 3))
        self.spoilt_epoch = spoilt_epoch
        self.where = where or strategy.make_strategy(["CPU:0"])
        with self.where.scope():
            layers = [
                keras.layers.Conv2D(4, 3, use_bias=False),
                keras.layers.BatchNormalization(synchronized=True),
                keras.layers.ReLU(),
                keras.layers.Flatten(),
            ]
            backbone = keras.Sequential([keras.Input((6, 6, 2)), *layers])
            head = [keras.layers.Dropout(dropout, seed=3)] if dropout else []
            head = keras.Sequential([keras.Input((64,)), *head, keras.layers.Dense(1)])
        self.models = {"backbone": backbone, "head": head}

    def loss(self, batch):
        """Squared error, and a small penalty to have a second term."""
        out = self.models["head"](self.models["backbone"](batch["image"], training=True), training=True)[:, 0]
        error, penalty = tf.square(out - batch["truth"]), 0.01 * tf.square(out)
        return error + penalty, {"error": error, "penalty": penalty}

    def batches(self, epoch, skip):
        def augment(index):
            seed = tf.stack([epoch, tf.cast(index, tf.int32)])
            image = tf.image.stateless_random_flip_left_right(tf.gather(self.images, index), seed)
            image += 0.1 * tf.random.stateless_normal(tf.shape(image), seed)
            truth = tf.gather(self.truth, index)
            return {"image": image, "truth": np.nan * truth if epoch == self.spoilt_epoch else truth}

        order = np.random.default_rng([7, epoch]).permutation(len(self.images))
        data = tf.data.Dataset.from_tensor_slices(order).skip(skip * BATCH)
        return data.map(augment, num_parallel_calls=2).batch(BATCH).prefetch(2)

    def validate(self):
        out = self.models["head"](self.models["backbone"](self.images, training=False), training=False)
        return {"error": float(np.mean(np.square(out[:, 0] - self.truth)))}

    def pictures(self):
        return {"photos": np.zeros((2, 6, 6, 3), np.uint8)}

    def weights(self):
        return [v.numpy() for m in self.models.values() for v in m.weights]


def train(task, out, schedule=SCHEDULE):
    return loop.train(task, schedule, out, task.where, checkpoint_every_steps=3, deterministic=True)


def kill_in_the_second_epoch() -> None:
    """This process gets SIGKILL in the middle of it, one step after a checkpoint."""
    update = ProgressBar.update

    def kill_at(self, epoch, step, terms):
        update(self, epoch, step, terms)
        if (epoch, step) == (1, 3):
            os.kill(os.getpid(), signal.SIGKILL)

    ProgressBar.update = kill_at
