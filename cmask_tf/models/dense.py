"""The dense module of the segmentation network (supplement 3): units whose output joins their input.

The paper leaves the number and form of the units open: `units`, `growth` and `convolutions` of the config.
"""

from __future__ import annotations

import keras

from cmask_tf.models.normalization import batch_norm, before_norm


def conv_bn_relu(x, channels: int, kernel: int, name: str, strides: int = 1):
    """A convolution with 'same' padding, batch normalisation and ReLU.

    Args:
        x: [B, h, w, C] Keras tensor.

    Returns:
        [B, ceil(h / strides), ceil(w / strides), channels].
    """
    conv = keras.layers.Conv2D(channels, kernel, strides, padding="same", name=name, **before_norm())
    return keras.layers.ReLU(name=f"{name}_relu")(batch_norm(f"{name}_bn")(conv(x)))


def dense_units(x, units: int, growth: int, convolutions: int):
    """Densely connected units, each of some 3x3 convolutions.

    Args:
        x: [B, h, w, C] Keras tensor.
        units: how many.
        growth: channels that each unit adds.
        convolutions: 3x3 convolutions in a unit.

    Returns:
        [B, h, w, C + units * growth].
    """
    for unit in range(1, units + 1):
        y = x
        for number in range(1, convolutions + 1):
            y = conv_bn_relu(y, growth, 3, f"unit{unit}_conv{number}")
        x = keras.layers.Concatenate(name=f"unit{unit}")([x, y])
    return x
