"""tf-slim's `inception_v2`, the parity reference: the network on random weights, and what it answers."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf


class SlimNetwork(NamedTuple):
    """tf-slim's network in inference mode."""

    values: dict[str, np.ndarray]  # of its variables
    trainable: int  # number of parameters
    outputs: dict[tuple[int, int], list[np.ndarray]]  # by image size: Mixed_4e and Mixed_5c


def import_tf_slim():
    """tf-slim looks for Keras' legacy layers where older releases had them."""
    import tf_keras.src.legacy_tf_layers as legacy

    old = "tf_keras.legacy_tf_layers"
    sys.modules.setdefault(old, legacy)
    for module in pkgutil.iter_modules(legacy.__path__):
        new = importlib.import_module(f"{legacy.__name__}.{module.name}")
        sys.modules.setdefault(f"{old}.{module.name}", new)
    import tf_slim
    from tf_slim.nets import inception_v2

    return tf_slim, inception_v2


def image(size, channels=3) -> np.ndarray:
    """float32 [1, *size, channels] in [-1, 1]."""
    return np.random.default_rng(2).uniform(-1, 1, (1, *size, channels)).astype("float32")


def random_value(variable, rng) -> np.ndarray:
    """As after training: no term of any layer is zero or one."""
    shape = variable.shape.as_list()
    if variable.op.name.endswith("moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    if variable.op.name.endswith(("beta", "moving_mean")):
        return rng.normal(0, 0.3, shape)
    fan_in = np.prod(shape[:2]) if "depthwise" in variable.op.name else np.prod(shape[:-1])
    return rng.normal(0, np.sqrt(2 / fan_in), shape)


def make_slim(sizes: Sequence[tuple[int, int]], then: Callable = lambda session: None) -> SlimNetwork:
    """The network, run on `image(size)` of each size; `then` may save what is in its session."""
    tf_slim, inception_v2 = import_tf_slim()
    rng = np.random.default_rng(1)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        inputs = tf.compat.v1.placeholder("float32", (None, None, None, 3))
        with (
            tf_slim.arg_scope([tf_slim.conv2d, tf_slim.separable_conv2d], normalizer_fn=tf_slim.batch_norm),
            tf_slim.arg_scope([tf_slim.batch_norm], is_training=False),
        ):
            end, points = inception_v2.inception_v2_base(inputs)
        variables = tf.compat.v1.global_variables()
        starts = [variable.initializer for variable in variables]
        feed = {start.inputs[1]: random_value(v, rng) for start, v in zip(starts, variables, strict=True)}
        session.run(starts, feed)
        trainable = sum(int(np.prod(v.shape)) for v in tf.compat.v1.trainable_variables())
        outputs = {size: session.run([points["Mixed_4e"], end], {inputs: image(size)}) for size in sizes}
        values = dict(zip([v.op.name for v in variables], session.run(variables), strict=True))
        then(session)
    return SlimNetwork(values, trainable, outputs)
