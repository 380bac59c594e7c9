"""Inception-V2, the high-level stream of the segmentation network (paper 4.3, supplement 3).

Layer for layer tf-slim's `inception_v2_base` to Mixed_5c (BN-Inception; the paper's "Table 1 of [34]" has no
7x7x1024 end), without pool, linear and softmax: separable first convolution, BatchNormalization without
gamma. Layer names are tf-slim's scopes with "_" for "/". For the paper's 14x14 end, Mixed_5a keeps its grid
and the last two modules, 5b and 5c, are dilated, their pools too. Two things differ from tf-slim: the first
layer takes any number of channels, and initial weights are Glorot's everywhere (BatchNormalization cancels
their scale).

`slim_checkpoint` fills it with tf-slim's ImageNet weights.

The input is scaled by the caller, as tf-slim's preprocessing does: image channels in [-1, 1]; attention
channels in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import layers, ops

from cmask_tf.models.normalization import batch_norm, before_norm
from cmask_tf.models.scaling import Step, dilated_tail


class _Module(NamedTuple):
    name: str
    branches: tuple[tuple[int, ...], ...]  # channels: a 1x1 convolution, then 3x3 ones
    pool: str
    projection: int | None  # channels of the 1x1 convolution behind the pool; None: the module has stride 2


_MODULES = (
    _Module("Mixed_3b", ((64,), (64, 64), (64, 96, 96)), "avg", 32),
    _Module("Mixed_3c", ((64,), (64, 96), (64, 96, 96)), "avg", 64),
    _Module("Mixed_4a", ((128, 160), (64, 96, 96)), "max", None),
    _Module("Mixed_4b", ((224,), (64, 96), (96, 128, 128)), "avg", 128),
    _Module("Mixed_4c", ((192,), (96, 128), (96, 128, 128)), "avg", 128),
    _Module("Mixed_4d", ((160,), (128, 160), (128, 160, 160)), "avg", 96),
    _Module("Mixed_4e", ((96,), (128, 192), (160, 192, 192)), "avg", 96),
    _Module("Mixed_5a", ((128, 192), (192, 256, 256)), "max", None),
    _Module("Mixed_5b", ((352,), (192, 320), (160, 224, 224)), "avg", 128),
    _Module("Mixed_5c", ((352,), (192, 320), (192, 224, 224)), "max", 128),
)


def build_inception_v2(
    input_channels: int = 5, width: float = 1.0, output_stride: int = 16, name: str = "inception_v2"
) -> keras.Model:
    """The network up to Mixed_5c.

    Args:
        input_channels: 5 in the paper: RGB in [-1, 1] and two attention maps in [0, 1].
        width: multiplies the channels (tf-slim's `depth_multiplier`; never below 16).
        output_stride: 32 is the nominal network, 16 the paper's.
        name: of the model.

    Returns:
        float32 [B, H, W, input_channels], H and W free, to [B, ceil(H/s), ceil(W/s), 1024 * width], s the
        output stride.
    """

    def depth(channels: int) -> int:
        return max(int(channels * width), 16)

    inputs = keras.Input((None, None, input_channels), name="image_and_attention")
    multiplier = min(depth(64) // input_channels, 8)
    settings = {"depth_multiplier": multiplier, **before_norm("depthwise", "pointwise")}
    x = layers.SeparableConv2D(depth(64), 7, 2, "same", name="Conv2d_1a_7x7", **settings)(inputs)
    x = _bn_relu(x, "Conv2d_1a_7x7")
    x = layers.MaxPooling2D(3, 2, "same", name="MaxPool_2a_3x3")(x)
    x = _conv(x, depth(64), 1, "Conv2d_2b_1x1")
    x = _conv(x, depth(192), 3, "Conv2d_2c_3x3")
    x = layers.MaxPooling2D(3, 2, "same", name="MaxPool_3a_3x3")(x)
    strides = (2 if module.projection is None else 1 for module in _MODULES)
    for module, step in zip(_MODULES, dilated_tail([8, *strides], output_stride)[1:], strict=True):
        x = _mixed(x, module, step, depth)
    return keras.Model(inputs, x, name=name)


def _mixed(x, module: _Module, step: Step, depth):
    """One Inception module: parallel branches of convolutions and a pool, concatenated."""
    reduces, outputs = module.projection is None, []
    for number, channels in enumerate(module.branches):
        branch = x
        for index, count in enumerate(channels):
            last = reduces and index == len(channels) - 1
            kernel, stride = (1 if index == 0 else 3), (step.stride if last else 1)
            place = "1a" if last else ("0a", "0b", "0c")[index]
            scope = f"{module.name}_Branch_{number}_Conv2d_{place}_{kernel}x{kernel}"
            branch = _conv(branch, depth(count), kernel, scope, stride, step.rate)
        outputs.append(branch)
    scope = f"{module.name}_Branch_{len(module.branches)}"
    pooled = _pool(x, module.pool, step, f"{scope}_Pool")
    if not reduces:
        pooled = _conv(pooled, depth(module.projection), 1, f"{scope}_Conv2d_0b_1x1")
    outputs.append(pooled)
    return layers.Concatenate(name=module.name)(outputs)


def _conv(x, channels: int, kernel: int, name: str, stride: int = 1, rate: int = 1):
    rate = 1 if kernel == 1 else rate
    conv = layers.Conv2D(channels, kernel, stride, "same", dilation_rate=rate, name=name, **before_norm())
    return _bn_relu(conv(x), name)


def _bn_relu(x, name: str):
    return layers.ReLU(name=f"{name}_relu")(batch_norm(f"{name}_BatchNorm", scale=False)(x))


def _pool(x, kind: str, step: Step, name: str):
    if step.rate > 1:
        return DilatedPooling(kind, step.rate, name=name)(x)
    pooling = layers.MaxPooling2D if kind == "max" else layers.AveragePooling2D
    return pooling(3, step.stride, "same", name=name)(x)


class DilatedPooling(layers.Layer):
    """3x3 pooling at stride 1 over every `rate`-th cell of maps >= 0; cells outside do not count."""

    def __init__(self, kind: str, rate: int, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.rate = kind, rate

    def get_config(self):
        """What `from_config` makes an equal layer of."""
        return {**super().get_config(), "kind": self.kind, "rate": self.rate}

    def call(self, x):
        """Pools [B, h, w, C] to the same shape."""
        if self.kind == "max":  # the zeros of the padding never win over values >= 0
            return self._over_window(x, ops.maximum)
        return self._over_window(x, ops.add) / self._over_window(ops.ones_like(x[..., :1]), ops.add)

    def compute_output_shape(self, input_shape):
        """The shape of the input."""
        return input_shape

    def _over_window(self, x, combine):
        r = self.rate
        x = ops.pad(x, [[0, 0], [r, r], [r, r], [0, 0]])
        x = combine(combine(x[:, : -2 * r], x[:, r:-r]), x[:, 2 * r :])
        return combine(combine(x[:, :, : -2 * r], x[:, :, r:-r]), x[:, :, 2 * r :])
