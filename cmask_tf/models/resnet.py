"""ResNet-50 v1, the paper's extractor (supplement 4), number for number that of `keras.applications`.

That means: a stem that pads explicitly, the stride in the first 1x1 convolution of a stage, biases before
BatchNormalization, and caffe's normalisation (BGR minus the mean), which is done inside the model here.
Layer names are those of `keras.applications`, so that weights go over by name. Unlike there, the tail can be
dilated: since the strided convolutions are 1x1, cell (i, j) at stride 32 is cell (2i, 2j) at stride 16.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from cmask_tf.config import Backbone
from cmask_tf.errors import UserError
from cmask_tf.models.normalization import batch_norm
from cmask_tf.models.scaling import dilated_tail, round_channels, scale_blocks

STEM = ("conv1_conv", "conv1_bn")  # the layers with weights before the first stage
_EPSILON = 1.001e-5
_MEAN_BGR = (103.939, 116.779, 123.68)
_STAGES = (("conv2", 64, 3, 1), ("conv3", 128, 4, 2), ("conv4", 256, 6, 2), ("conv5", 512, 3, 2))


def features(image: keras.KerasTensor, config: Backbone) -> dict[str, keras.KerasTensor]:
    """The maps "c2" to "c5" (256, 512, 1024, 2048 channels at width 1) of an image.

    Args:
        image: Keras tensor [B, H, W, 3], RGB, 0 to 255.
        config: width, depth and output stride are used.
    """
    x = layers.ZeroPadding2D(3, name="conv1_pad")(caffe_normalized(image))
    x = _conv_bn(x, round_channels(64, config.width), 7, "conv1", stride=2)
    x = layers.ReLU(name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    maps = {}
    steps = dilated_tail([4, *(stride for *_, stride in _STAGES)], config.output_stride)[1:]
    for level, (name, channels, blocks, _), step in zip(range(2, 6), _STAGES, steps, strict=True):
        channels = round_channels(channels, config.width)
        for index in range(1, scale_blocks(blocks, config.depth) + 1):
            stride = step.stride if index == 1 else 1
            x = _block(x, channels, f"{name}_block{index}", stride, step.rate_after, project=index == 1)
        maps[f"c{level}"] = x
    return maps


def load_imagenet(model: keras.Model, config: Backbone) -> None:
    """Copies the ImageNet weights of `keras.applications`, downloaded when they are not in its cache."""
    name, hint = f"backbone {config.name}", "set backbone.weights=null"
    copy_weights(fetched(keras.applications.ResNet50, name, hint), model)


def caffe_normalized(image: keras.KerasTensor) -> keras.KerasTensor:
    """RGB, 0 to 255, as caffe's networks take it: BGR minus the mean of ImageNet, float32."""
    subtract = layers.Rescaling(1.0, [-mean for mean in _MEAN_BGR], name="normalize", dtype="float32")
    return subtract(image[..., ::-1])


def fetched(family: Callable[..., keras.Model], name: str, hint: str) -> keras.Model:
    """A network of `keras.applications` with ImageNet weights and without its classifier.

    Args:
        family: `keras.applications.ResNet50` or another.
        name: for a person, who reads `hint`, what else to do, when the weights cannot be had.
    """
    try:
        return family(weights="imagenet", include_top=False)
    except Exception as error:  # keras.utils.get_file raises a bare Exception when the download fails
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name}: the ImageNet weights could not be downloaded ({reason}); go online once, or {hint}"
        ) from None


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copies weights layer by layer, by name; both must have the same layers with weights."""
    given, wanted = ({layer.name: layer for layer in m.layers if layer.weights} for m in (source, target))
    if given.keys() != wanted.keys():
        odd = ", ".join(sorted(given.keys() ^ wanted.keys()))
        raise UserError(f"weights of {source.name}: layers that {target.name} does not share: {odd}")
    for name, layer in given.items():
        wanted[name].set_weights(layer.get_weights())


def _conv_bn(x, channels: int, kernel: int, name: str, stride: int = 1, rate: int = 1, padding="valid"):
    conv = layers.Conv2D(channels, kernel, stride, padding, dilation_rate=rate, name=f"{name}_conv")
    return batch_norm(f"{name}_bn", epsilon=_EPSILON)(conv(x))


def _block(x, channels: int, name: str, stride: int, rate: int, project: bool):
    """Bottleneck of 1x1, 3x3 and 1x1 convolutions beside a shortcut; 4 * `channels` come out."""
    shortcut = _conv_bn(x, 4 * channels, 1, f"{name}_0", stride) if project else x
    x = layers.ReLU(name=f"{name}_1_relu")(_conv_bn(x, channels, 1, f"{name}_1", stride))
    x = layers.ReLU(name=f"{name}_2_relu")(_conv_bn(x, channels, 3, f"{name}_2", rate=rate, padding="same"))
    x = layers.Add(name=f"{name}_add")([shortcut, _conv_bn(x, 4 * channels, 1, f"{name}_3")])
    return layers.ReLU(name=f"{name}_out")(x)
