"""Learning rates, what learns at which rate, and what weight decay leaves alone."""

import keras
import numpy as np
import tensorflow as tf

from cmask_tf.config import Schedule
from cmask_tf.training import optimizers


def test_learning_rate_warms_up_and_falls_to_zero_by_hand():
    rate = optimizers.cosine_with_warmup(Schedule(learning_rate=0.1, warmup=0.25), 12)
    np.testing.assert_allclose([rate(s) for s in range(4)], [0.025, 0.05, 0.075, 0.1], rtol=1e-5)
    np.testing.assert_allclose(rate(6), 0.1 * (1 + np.cos(np.pi / 3)) / 2, rtol=1e-5)
    np.testing.assert_allclose(rate(12), 0.0, atol=1e-8)
    flat = optimizers.cosine_with_warmup(Schedule(learning_rate=0.1, warmup=0.0), 10, rate=0.5)
    np.testing.assert_allclose([flat(0), flat(5)], [0.05, 0.025], rtol=1e-5)


def test_backbone_rate_and_what_weight_decay_leaves_alone():
    backbone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="backbone")
    models = {
        "backbone": backbone,
        "head": keras.Sequential(
            [keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
        ),
    }
    schedule = Schedule(learning_rate=0.1, warmup=0.0, weight_decay=0.5, backbone_rate=0.2)
    made = optimizers.make_optimizers(models, schedule, 10)
    for name, rate in (("backbone", 0.02), ("head", 0.1)):
        model = models[name]
        for v in model.trainable_variables:
            v.assign(tf.ones(v.shape))
        optimizer = made["backbone" if name == "backbone" else "others"]
        optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
        for v in model.trainable_variables:
            expected = 1.0 - rate * 0.5 if v.name == "kernel" else 1.0
            np.testing.assert_allclose(v, np.full(v.shape, expected), rtol=1e-6)
