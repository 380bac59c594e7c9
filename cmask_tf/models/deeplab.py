"""A closed set of concepts, one map each, the tables' ceiling: DeepLabV3+'s form (Chen et al., ECCV 2018).

Atrous spatial pyramid pooling on the backbone's last map (a 1x1 convolution, three dilated 3x3 ones, and the
whole photo's mean), enlarged to the map "c2", joined with that map's 48 channels, two 3x3 convolutions, one
1x1 to the logits. Unlike the paper, convolutions are plain and not separable, the backbone is ours, and every
concept has a sigmoid of its own: concepts overlap here, as the hat and the clothing that it belongs to.
"""

from __future__ import annotations

import keras
from keras import layers

from cmask_tf.models.dense import conv_bn_relu
from cmask_tf.models.normalization import batch_norm, before_norm
from cmask_tf.models.scaling import round_channels

_RATES = (6, 12, 18)  # of the dilated convolutions on the paper's maps of 33 x 33 cells
_CELLS = 33
_CHANNELS, _LOW = 256, 48


def build_deeplab(backbone: keras.Model, concepts: int, size: int, width: float = 1.0) -> keras.Model:
    """The network over one of our backbones.

    Args:
        backbone: of `backbone.build_backbone`; a layer of the network.
        concepts: number of maps, K.
        size: side of the square photo, S.
        width: multiplies the channels of all but the backbone.

    Returns:
        Model "closed_set": image float32 RGB [B, S, S, 3], 0 to 255 -> logits float32 [B, S, S, K].
    """
    channels = round_channels(_CHANNELS, width)
    image = keras.Input((size, size, 3), name="photo")
    features = backbone(image)
    x = _pyramid(features["c5"], channels)
    low = conv_bn_relu(features["c2"], round_channels(_LOW, width), 1, "low")
    x = _resized(x, *low.shape[1:3], "pyramid_up")
    x = layers.Concatenate(name="levels")([x, low])
    for number in (1, 2):
        x = conv_bn_relu(x, channels, 3, f"decoder{number}")
    x = layers.Conv2D(concepts, 1, dtype="float32", name="quarter_logits")(x)
    logits = layers.Resizing(size, size, interpolation="bilinear", dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="closed_set")


def _pyramid(x, channels: int):
    """Atrous spatial pyramid pooling: [B, h, w, C] -> [B, h, w, channels].

    The dilation goes with the grid, so that it spans the same part of the photo at any size and stride.
    """
    parts = [conv_bn_relu(x, channels, 1, "pyramid1")]
    for number, paper_rate in enumerate(_RATES, 2):
        name, rate = f"pyramid{number}", max(1, round(paper_rate * x.shape[1] / _CELLS))
        conv = layers.Conv2D(channels, 3, padding="same", dilation_rate=rate, name=name, **before_norm())(x)
        parts.append(layers.ReLU(name=f"{name}_relu")(batch_norm(f"{name}_bn")(conv)))
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="photo_mean")(x)
    mean = conv_bn_relu(mean, channels, 1, "pyramid5")
    parts.append(_resized(mean, *x.shape[1:3], "pyramid5_up"))
    return conv_bn_relu(layers.Concatenate(name="pyramid")(parts), channels, 1, "pyramid_end")


def _resized(x, height: int, width: int, name: str):
    return layers.Resizing(height, width, interpolation="bilinear", name=name)(x)
