"""DSS: salient objects by side outputs with short connections (Hou et al., CVPR 2017), Table 2's baseline.

Six maps of a VGG-16 (conv1_2, conv2_2, conv3_3, conv4_3, conv5_3, and pool5) each end in a side output: two
convolutions and a 1x1 to one logit (`SIDES`). Short connections lead from deeper to shallower ones: sides 6
and 5 to sides 4, 3, 2 and 1; what sides 4 and 3 make of them to sides 2 and 1. A 1x1 convolution joins them
there. A last one, of the six at full size, is the fused output. All seven learn the same mask; the answer is
the mean of the probabilities of sides 2, 3, 4 and of the fused output (the paper's inference).

As in the authors' network, bilinear enlargements do not learn, the fused weights begin at 1/6, and pool5 is
smoothed by a 3x3 mean. Unlike theirs: 'same' padding in place of a padded and cropped photo, pool5 and pool4
are 2x2, and other weights begin as Keras draws them. Over one of our backbones the six maps are its stem, its
four stages and the last one pooled.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from cmask_tf.models.scaling import round_channels

TAPS = ("c1", "c2", "c3", "c4", "c5")  # of the backbone, fine to coarse; pool5 is made of the last
SIDES = ((128, 3), (128, 3), (256, 5), (256, 5), (512, 5), (512, 7))  # channels and kernel of 1 to 6
CONNECTIONS = {4: (5, 6), 3: (5, 6), 2: (3, 4, 5, 6), 1: (3, 4, 5, 6)}  # side -> the deeper ones it takes
OUTPUTS = len(SIDES) + 1  # and the fused one, the last
_ANSWER = (1, 2, 3, 6)  # sides 2, 3, 4 and the fused one


def build_dss(backbone: keras.Model, size: int, width: float = 1.0) -> keras.Model:
    """The saliency network over a backbone that gives the maps `TAPS`.

    Args:
        backbone: `vgg.build_vgg16`, or `backbone.with_stem` of ours; a layer of the network.
        size: side of the square photo, S.
        width: multiplies the channels of the side outputs.

    Returns:
        Model "saliency": image float32 RGB [B, S, S, 3], 0 to 255 -> logits float32 [B, S, S, 7] of sides 1
        to 6 and of the fused output.
    """
    image = keras.Input((size, size, 3), name="photo")
    features = backbone(image)
    maps = [features[tap] for tap in TAPS]
    pooled = layers.MaxPooling2D(2, padding="same", name="pool5")(maps[-1])
    maps.append(layers.AveragePooling2D(3, 1, padding="same", name="pool5a")(pooled))
    sides = {}
    for side in range(len(SIDES), 0, -1):
        sides[side] = _side_output(maps[side - 1], side, width)
        if deeper := CONNECTIONS.get(side):
            taken = [_enlarged(sides[i], sides[side], f"side{i}_to_side{side}") for i in deeper]
            joined = layers.Concatenate(dtype="float32", name=f"side{side}_short")([sides[side], *taken])
            sides[side] = layers.Conv2D(1, 1, dtype="float32", name=f"side{side}_joined")(joined)
    full = [_enlarged(sides[side], image, f"side{side}_logits") for side in sorted(sides)]
    six = layers.Concatenate(dtype="float32", name="sides")(full)
    equal = keras.initializers.Constant(1 / len(SIDES))
    fused = layers.Conv2D(1, 1, kernel_initializer=equal, dtype="float32", name="fused")(six)
    logits = layers.Concatenate(dtype="float32", name="logits")([six, fused])
    return keras.Model(image, logits, name="saliency")


def saliency(logits: tf.Tensor) -> tf.Tensor:
    """The answer: probability float32 [B, S, S, 1] from logits float32 [B, S, S, 7] of `build_dss`."""
    return tf.reduce_mean(tf.sigmoid(tf.gather(logits, _ANSWER, axis=-1)), axis=-1, keepdims=True)


def _side_output(x, side: int, width: float):
    channels, kernel = SIDES[side - 1]
    for number in (1, 2):
        name = f"side{side}_conv{number}"
        x = layers.Conv2D(
            round_channels(channels, width), kernel, padding="same", activation="relu", name=name
        )(x)
    return layers.Conv2D(1, 1, dtype="float32", name=f"side{side}_score")(x)


def _enlarged(x, like, name: str):
    """A map of logits at the size of another one, bilinearly."""
    return layers.Resizing(*like.shape[1:3], interpolation="bilinear", dtype="float32", name=name)(x)
