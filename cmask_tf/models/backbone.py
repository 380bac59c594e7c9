"""The backbone: the CNN extractor of the embedding network (paper 4.1; supplement 4: ResNet-50).

Unlike the paper, the tail may be dilated, so that the last grid has stride 16 or 8 instead of 32, and the
network may be an EfficientNet-Lite. Each family normalises the image inside itself.
"""

from __future__ import annotations

import keras

from cmask_tf.config import Backbone
from cmask_tf.errors import UserError
from cmask_tf.models import efficientnet_lite, resnet, vgg, weights

_STEM_ENDS = ("conv1_relu", "stem_bn_relu")


def build_backbone(config: Backbone) -> keras.Model:
    """The feature extractor that `config` describes.

    Args:
        config: family, width, depth, output stride, initial weights.

    Returns:
        A model named "backbone": float32 RGB [B, H, W, 3], 0 to 255, H and W free, to a dict of feature maps
        [B, ceil(H/s), ceil(W/s), C]: "c2" (s = 4), "c3" (8), "c4" (16) and "c5", the last, of stride
        `config.output_stride`, which also caps the strides of the others. They are float32, or the half
        format of the mixed precision that the model is built in.

    Raises:
        UserError: ImageNet weights are wanted that do not exist, are not installed, or cannot be fetched; a
            file to start from that is not there, or the first of its tensors that does not fit.
    """
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, _family(config).features(image, config), name="backbone")
    if config.weights == "imagenet":
        load_imagenet(model, config)
    elif config.weights is not None:
        path = weights.locate(config.weights)
        if path.suffix == ".pth":
            efficientnet_lite.load_file(model, path)
        else:
            weights.load(model, path)
    return model


def with_stem(model: keras.Model) -> keras.Model:
    """The same network, of `build_backbone`, which also gives the map "c1" behind its stem (stride 2)."""
    stem = next(layer for layer in model.layers if layer.name in _STEM_ENDS)
    return keras.Model(model.input, {"c1": stem.output, **model.output}, name=model.name)


def load_imagenet(model: keras.Model, config: Backbone) -> None:
    """Fills a model of `build_backbone` with ImageNet weights.

    Raises:
        UserError: as `build_backbone`.
    """
    if (config.width, config.depth) != (1, 1):
        raise UserError(
            f"backbone {config.name}: ImageNet weights exist at width 1 and depth 1 only, "
            f"not at width {config.width:g} and depth {config.depth:g}"
        )
    _family(config).load_imagenet(model, config)


def freeze(model: keras.Model, stages: int) -> None:
    """The first stages stop learning: no gradient, and batch normalization stays in inference mode.

    Args:
        model: from `build_backbone`, or `vgg.build_vgg16`.
        stages: 0 for none; 1 the stem; 2, 3, 4, 5 all up to the map "c2", "c3", "c4", "c5".
    """
    layers = []
    if stages == 1:
        stems = (*resnet.STEM, *efficientnet_lite.STEM, *vgg.STEM)
        layers = [layer for layer in model.layers if layer.name in stems]
    elif stages > 1:
        layers = keras.Model(model.input, model.output[f"c{stages}"]).layers
    for layer in layers:
        layer.trainable = False


def _family(config: Backbone):
    return resnet if config.name == "resnet50" else efficientnet_lite
