"""ImageNet weights for the paper's segmentation network: a TF1 checkpoint of tf-slim's `inception_v2`.

The published file is `inception_v2.ckpt` from inception_v2_2016_08_28.tar.gz; newer formats (a prefix of
.index and .data files) are read as well. It was trained on images in [-1, 1], which is how the paper's
network here gets them. The classifier, step counters and optimizer slots in the file are left alone.

Of five input channels the file knows three. In the first layer, a separable convolution, the two attention
channels begin with the mean depthwise filters of red, green and blue and with pointwise weights of zero: the
network starts as the ImageNet network whatever the attention is, and since only one of the two factors is
zero, the other's gradient lets the attention in from the first step on.
"""

from __future__ import annotations

import glob
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cmask_tf.errors import UserError

_SCOPE = "InceptionV2/"
_NAMES = {  # Keras' names of variables -> tf-slim's
    "kernel": "weights",
    "depthwise_kernel": "depthwise_weights",
    "pointwise_kernel": "pointwise_weights",
}
_COLOURS = 3


def load_slim_checkpoint(model: keras.Model, path: str) -> None:
    """Fills a network of `build_inception_v2` with the weights of a tf-slim checkpoint.

    Args:
        model: of width 1, with 3 or more input channels, the first three RGB.
        path: the checkpoint as TensorFlow names it: the file of the old format, or the prefix of the new.

    Raises:
        UserError: no such checkpoint, or the first tensor that is missing or of another shape. The model
            keeps its weights then.
    """
    files(path)
    try:
        reader = tf.train.load_checkpoint(path)
    except (ValueError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: expected a checkpoint of tf-slim's inception_v2 ({reason})") from None
    shapes = reader.get_variable_to_shape_map()
    found = []
    for layer in model.layers:
        for variable in layer.variables:
            name = _SCOPE + _slim_name(layer, variable)
            stored, wanted = shapes.get(name), _stored_shape(variable, model.input_shape[-1])
            if stored != wanted:
                said = "not in the checkpoint" if stored is None else f"has shape {stored}"
                raise UserError(f"{path}: {name}: {said}; expected {wanted}, as in tf-slim's inception_v2")
            found.append((variable, name))
    for variable, name in found:
        variable.assign(_widened(variable, reader.get_tensor(name)))


def files(path: str) -> list[Path]:
    """The files that a checkpoint's tensors lie in.

    Raises:
        UserError: there are none.
    """
    file = Path(path)
    found = [file] if file.is_file() else sorted(file.parent.glob(glob.escape(file.name) + ".data-*"))
    if not found:
        raise UserError(f"{path}: no such checkpoint; expected one of tf-slim's inception_v2")
    return found


def _slim_name(layer: keras.Layer, variable: keras.Variable) -> str:
    """`Mixed_3b_Branch_0_Conv2d_0a_1x1`, `kernel` -> `Mixed_3b/Branch_0/Conv2d_0a_1x1/weights`."""
    scope = layer.name.replace("_BatchNorm", "/BatchNorm").replace("_Branch_", "/Branch_")
    scope = scope.replace("_Conv2d", "/Conv2d")
    return f"{scope}/{_NAMES.get(variable.name, variable.name)}"


def _stored_shape(variable: keras.Variable, channels: int) -> list[int]:
    """The shape of a variable in a network of three input channels."""
    shape = list(variable.shape)
    if variable.name == "depthwise_kernel":
        shape[2] = _COLOURS
    elif variable.name == "pointwise_kernel":
        shape[2] = shape[2] // channels * _COLOURS
    return shape


def _widened(variable: keras.Variable, value: np.ndarray) -> np.ndarray:
    """A stored tensor in the variable's shape, the attention channels behind the colours."""
    more = variable.shape[2] - value.shape[2] if value.ndim == 4 else 0
    if not more:
        return value
    if variable.name == "depthwise_kernel":  # [7, 7, channels, multiplier]
        return np.concatenate([value, np.repeat(value.mean(2, keepdims=True), more, axis=2)], axis=2)
    return np.pad(value, [(0, 0), (0, 0), (0, more), (0, 0)])  # [1, 1, channels * multiplier, 64]
