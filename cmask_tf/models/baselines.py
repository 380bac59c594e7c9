"""The two trained baselines by name: a saliency network, and a closed set of concepts."""

from __future__ import annotations

import keras

from cmask_tf.config import Config
from cmask_tf.models.backbone import build_backbone, with_stem
from cmask_tf.models.deeplab import build_deeplab
from cmask_tf.models.dss import build_dss
from cmask_tf.models.vgg import build_vgg16

KINDS = ("saliency", "closed-set")
_FULL = 256  # channels of a head as the papers have it
_LEAST = 64  # of a closed set: with 24, of `tiny`, it learnt ConceptWorld markedly worse


def build_baseline(kind: str, config: Config, concepts: int, vgg16: str | None = None) -> keras.Model:
    """The network of a baseline, for photos of the side S = `config.segmentation.size`.

    Its backbone is `config.backbone`; its head is `config.segmentation.channels` wide (a closed set's 64 at
    least) where the papers have 256, everything else in proportion: on a CPU a head at full width costs
    several times its backbone.

    Args:
        kind: of `KINDS`.
        config: backbone, size, width of the head.
        concepts: number of maps of a closed set, K.
        vgg16: the saliency network as published, over VGG-16 and at full width, from these weights:
            "imagenet", "random", or a file. None: over our backbone.

    Returns:
        image float32 RGB [B, S, S, 3], 0 to 255 -> logits float32 [B, S, S, 7] (`dss`) or [B, S, S, K].

    Raises:
        UserError: weights to start from that are not there, or of another network.
    """
    size, channels = config.segmentation.size, config.segmentation.channels
    if kind == "closed-set":
        width = max(channels, _LEAST) / _FULL
        return build_deeplab(build_backbone(config.backbone), concepts, size, width)
    if vgg16 is None:
        return build_dss(with_stem(build_backbone(config.backbone)), size, channels / _FULL)
    return build_dss(build_vgg16(None if vgg16 == "random" else vgg16), size)
