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
    """Batch normalizations take the statistics of some photos, so that no layer's output is tiny."""
    from keras.layers import BatchNormalization

    from cmask_tf import geometry

    for part in parts.values():
        for layer in part.layers:
            if isinstance(layer, BatchNormalization):
                layer.momentum = 0.0
    photos = np.stack([photo(seed=seed) for seed in range(4)])
    maps = parts["backbone"](geometry.resize_image(photos, config.segmentation.size), training=True)
    for name in ("embedding", "verification"):
        parts[name](maps["c5"], training=True)
    assert maps["c5"].numpy().std() > 0.1


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
