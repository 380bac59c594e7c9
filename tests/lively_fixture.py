"""The smallest system with random weights scaled so that its maps, masks and scores span their range.

As a network is built, its features are tiny and its masks gray all over: whatever is compared would agree.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from segmenter_fixture import (
    CONCEPTS,
    MIXING,
    THRESHOLDS,
    photo,
    smallest_config,
    smallest_parts,
    smallest_vocabulary,
)

from cmask_tf.config import Attention

LOGITS = 2.0  # standard deviation of the masks before the sigmoid


@functools.cache
def lively_model(
    directory: Path, design: str = "lite", sizes: tuple[int, int] = (64, 96), neighbours: str = "second_order"
) -> Path:
    """Writes the model directory, once in a process."""
    from cmask_tf import model_directory

    config = dataclasses.replace(smallest_config(design), attention=Attention(sizes=sizes))
    parts = smallest_parts(config)
    _scale_features(parts, config)
    rng = np.random.default_rng(1)
    for name in ("refinement", "verification_words"):
        for weight in parts[name].weights:
            weight.assign(rng.normal(size=weight.shape))
    mixing = MIXING | {"neighbours": neighbours, "theta": {"image": 0.7, "zero": 0.4}}
    texts = {"mixing": mixing, "thresholds": THRESHOLDS, "provenance": {"seed": 0}}
    rest = config, smallest_vocabulary(), CONCEPTS, parts
    model_directory.save(directory, *rest, **texts)
    _scale_masks(parts["segmentation_decoder"], directory)
    model_directory.save(directory, *rest, **texts)
    return directory


def _scale_features(parts, config) -> None:
    """Brings what reads the backbone's maps to inputs of standard deviation 1."""
    from cmask_tf import geometry

    square = geometry.resize_image(photo()[np.newaxis], config.segmentation.size)
    maps = parts["backbone"](square, training=False)
    scales = {name: 1 / np.std(value) for name, value in maps.items()}
    for part, layer, level in (
        ("embedding", "fc1", "c5"),
        ("verification", "fc1", "c5"),
        *(("segmentation_encoder", f"{level}_lateral", level) for level in ("c2", "c3", "c4", "c5")),
    ):
        if layer in {found.name for found in parts[part].layers}:
            kernel = parts[part].get_layer(layer).kernel
            kernel.assign(kernel * scales[level])


def _scale_masks(decoder, directory: Path) -> None:
    from cmask_tf.segmenter import ConceptSegmenter

    segmenter = ConceptSegmenter.load(directory)
    masks = segmenter.segment([c["name"] for c in CONCEPTS], segmenter.encode(photo())).masks
    logits = np.log(masks / (1 - masks))
    names = {layer.name for layer in decoder.layers}
    last = decoder.get_layer("half_logits" if "half_logits" in names else "logits")
    scale = LOGITS / logits.std()
    last.kernel.assign(last.kernel * scale)
    last.bias.assign((last.bias - logits.mean()) * scale)
