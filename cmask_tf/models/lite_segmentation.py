"""The segmentation network of `lite`: the image is encoded once, a further concept costs milliseconds (4.3).

Differs from the paper, whose five-channel network pays for the whole encoder at every concept. Here the
image's half of a feature pyramid runs once a photo, on the maps that the attention's backbone has made of it
anyway. What a concept adds is its attention, which joins the pyramid at every level, and thin convolutions:
the widths fall as the maps grow, the last ones work at half the size with `low_level` channels; a bilinear
step ends at the full size.
"""

from __future__ import annotations

import keras

from cmask_tf import config
from cmask_tf.models.dense import conv_bn_relu

LEVELS = ("c5", "c4", "c3", "c2")  # coarse to fine


def _width(segmentation: config.Segmentation, level: str) -> int:
    return max(segmentation.channels // 2, 8) if level == "c2" else segmentation.channels


def _resize_like(x, like, name: str):
    if x.shape[1:3] == like.shape[1:3]:
        return x
    return keras.layers.Resizing(*like.shape[1:3], interpolation="bilinear", name=name)(x)


def build_lite_encoder(segmentation: config.Segmentation, backbone: keras.Model) -> keras.Model:
    """The concept-independent half: feature pyramid and low-level stream.

    Args:
        segmentation: size S and widths.
        backbone: whose maps of S x S images are given.

    Returns:
        Model "segmentation_encoder": {"photo": float32 RGB [B, S, S, 3], 0 to 255, and the backbone's "c2" to
        "c5"} -> {"c5", "c4", "c3", "c2": pyramid maps [B, S/stride, S/stride, channels (half of them at c2)],
        "low": [B, S/2, S/2, low_level]}.
    """
    size = segmentation.size
    image = keras.Input((size, size, 3), name="photo")
    shapes = backbone.compute_output_shape((None, size, size, 3))
    features = {
        level: keras.Input(shapes[level][1:], name=level, dtype=backbone.output[level].dtype)
        for level in LEVELS
    }
    maps, above = {}, None
    for level in LEVELS:
        lateral = keras.layers.Conv2D(segmentation.channels, 1, name=f"{level}_lateral")(features[level])
        if above is not None:
            above = _resize_like(above, lateral, f"{level}_up")
            lateral = keras.layers.Add(name=f"{level}_sum")([lateral, above])
        above = lateral
        maps[level] = conv_bn_relu(lateral, _width(segmentation, level), 3, f"{level}_smooth")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale", dtype="float32")(image)
    maps["low"] = conv_bn_relu(scaled, segmentation.low_level, 7, "low_level", strides=2)
    return keras.Model({"photo": image, **features}, maps, name="segmentation_encoder")


def _with_attention(x, attention, level: str):
    """Adds the attention, averaged down to the size of `x`, through a 3x3 convolution."""
    stride = -(-attention.shape[1] // x.shape[1])  # 'same' strides round up, and so does this pooling
    pooled = keras.layers.AveragePooling2D(stride, padding="same", name=f"{level}_pool")(attention)
    pooled = keras.layers.Conv2D(x.shape[-1], 3, padding="same", name=f"{level}_attention")(pooled)
    return [x, pooled]


def build_lite_decoder(segmentation: config.Segmentation, encoder: keras.Model) -> keras.Model:
    """The half that every concept pays for: attention joins at each level, from coarse to fine.

    Returns:
        Model "segmentation_decoder": {**maps of the encoder, "attention": [B, S, S, 2] in [0, 1]} ->
        logits [B, S, S, 1].
    """
    size = segmentation.size
    inputs = {name: keras.Input(m.shape[1:], name=name) for name, m in encoder.output.items()}
    inputs["attention"] = keras.Input((size, size, 2), name="attention")
    x = None
    for level in (*LEVELS, "low"):
        here = inputs[level]
        parts = _with_attention(here, inputs["attention"], level)
        if x is not None:
            # The 1x1 convolution comes before the upsampling: linear both, and cheaper this way round.
            x = keras.layers.Conv2D(here.shape[-1], 1, name=f"{level}_fit")(x)
            parts.append(_resize_like(x, here, f"{level}_grow"))
        x = keras.layers.ReLU(name=f"{level}_join_relu")(keras.layers.Add(name=f"{level}_join")(parts))
        x = conv_bn_relu(x, here.shape[-1], 3, f"{level}_conv")
    x = keras.layers.Conv2D(1, 1, name="half_logits", dtype="float32")(x)  # [B, S/2, S/2, 1]
    logits = keras.layers.Resizing(size, size, interpolation="bilinear", name="logits", dtype="float32")(x)
    return keras.Model(inputs, logits, name="segmentation_decoder")
