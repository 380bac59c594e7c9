"""VGG-16 without its classifier, the extractor of Hou et al.'s saliency network (`models.dss`).

Layer names and shapes are those of `keras.applications`, so that weights go over by name; so is caffe's
normalisation (BGR minus the mean), which is done inside the model here.
"""

from __future__ import annotations

import keras
from keras import layers

from cmask_tf.models import resnet, weights

STEM = ("block1_conv1", "block1_conv2")  # the layers of the first stage
_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and 3x3 convolutions


def build_vgg16(start: str | None = None) -> keras.Model:
    """The convolutions of VGG-16, to conv5_3.

    Args:
        start: "imagenet", a file of weights, or None for random ones.

    Returns:
        A model named "backbone": float32 RGB [B, H, W, 3], 0 to 255, H and W free, to "c1" (conv1_2, of
        stride 1 and 64 channels), "c2" (conv2_2, 2, 128), "c3" (conv3_3, 4, 256), "c4" (conv4_3, 8, 512)
        and "c5" (conv5_3, 16, 512): half of the strides that `build_backbone` has under these names.

    Raises:
        UserError: ImageNet weights that cannot be fetched, a file that is not there or of another network.
    """
    image = keras.Input((None, None, 3), name="image")
    x, maps = resnet.caffe_normalized(image), {}
    for stage, (channels, convolutions) in enumerate(_STAGES, 1):
        for number in range(1, convolutions + 1):
            name = f"block{stage}_conv{number}"
            x = layers.Conv2D(channels, 3, padding="same", activation="relu", name=name)(x)
        maps[f"c{stage}"] = x
        if stage < len(_STAGES):
            x = layers.MaxPooling2D(2, name=f"block{stage}_pool")(x)
    model = keras.Model(image, maps, name="backbone")
    if start == "imagenet":
        hint = "give a file of weights, or random"
        resnet.copy_weights(resnet.fetched(keras.applications.VGG16, "vgg16", hint), model)
    elif start is not None:
        weights.load(model, weights.locate(start))
    return model
