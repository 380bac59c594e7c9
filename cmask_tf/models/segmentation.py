"""The label-agnostic segmentation network (4.3, supplement 3): an image and its attention give a mask.

Every design is two models, so that a further concept need not pay again for what only the image decides: an
encoder (image -> maps) and a decoder (maps and attention -> mask logits). The paper's network has five input
channels and no such part: its encoder scales the image, and all the rest is the decoder. `lite`'s encoder has
the maps of the backbone that has made the attention.

Where the paper is silent: the low-level stream's convolution is followed by batch normalisation and ReLU, the
convolution that ends the high-level stream is 1x1, and so is the last one, which gives one logit a pixel.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from cmask_tf import config
from cmask_tf.models.dense import conv_bn_relu, dense_units
from cmask_tf.models.inception_v2 import build_inception_v2
from cmask_tf.models.lite_segmentation import build_lite_decoder, build_lite_encoder
from cmask_tf.models.slim_checkpoint import load_slim_checkpoint


def build_segmentation(
    segmentation: config.Segmentation, backbone: keras.Model | None = None
) -> tuple[keras.Model, keras.Model]:
    """The encoder and the decoder of either design, for S x S images with S = `segmentation.size`.

    Args:
        segmentation: the design and its widths.
        backbone: of the attention, whose maps `lite` begins with; the paper's design needs none.

    Returns:
        encoder: "segmentation_encoder", see `encode`.
        decoder: "segmentation_decoder", {**maps, "attention": [B, S, S, 2] in [0, 1]} -> logits float32
            [B, S, S, 1].

    Raises:
        UserError: weights to start from that are not there, or of another network.
    """
    if segmentation.design == "lite":
        encoder = build_lite_encoder(segmentation, backbone)
        return encoder, build_lite_decoder(segmentation, encoder)
    return _paper_encoder(segmentation.size), _paper_decoder(segmentation)


def encode(
    encoder: keras.Model, image: tf.Tensor, features: Mapping[str, tf.Tensor], training: bool
) -> dict[str, tf.Tensor]:
    """The maps of a photo that do not depend on the concept.

    Args:
        encoder: of `build_segmentation`.
        image: float32 RGB [B, S, S, 3], 0 to 255.
        features: the backbone's maps of the same photos at the same size, by name; only `lite` reads them.
        training: as Keras means it.

    Returns:
        What the decoder is given beside the attention.
    """
    given = {"photo": tf.convert_to_tensor(image), **features}
    return encoder({name: given[name] for name in encoder.input}, training=training)


def _paper_encoder(size: int) -> keras.Model:
    image = keras.Input((size, size, 3), name="photo")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale", dtype="float32")(image)
    return keras.Model({"photo": image}, {"image": scaled}, name="segmentation_encoder")


def _paper_decoder(segmentation: config.Segmentation) -> keras.Model:
    size = segmentation.size
    inputs = {
        "image": keras.Input((size, size, 3), name="image"),
        "attention": keras.Input((size, size, 2), name="attention"),
    }
    five = keras.layers.Concatenate(name="five_channels")([inputs["image"], inputs["attention"]])
    inception = build_inception_v2(5, segmentation.width, output_stride=16, name="high_level")
    if segmentation.weights is not None:
        load_slim_checkpoint(inception, segmentation.weights)
    high = inception(five)
    high = keras.layers.Conv2D(2, 1, name="high_level_end")(high)  # [B, S/16, S/16, 2]
    high = keras.layers.Resizing(size, size, interpolation="bilinear", name="high_level_up")(high)
    low = conv_bn_relu(five, segmentation.low_level, 7, "low_level")  # [B, S, S, low_level]
    x = keras.layers.Concatenate(name="levels")([high, low])
    x = dense_units(x, segmentation.units, segmentation.growth, segmentation.convolutions)
    logits = keras.layers.Conv2D(1, 1, name="logits", dtype="float32")(x)
    return keras.Model(inputs, logits, name="segmentation_decoder")
