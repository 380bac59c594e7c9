"""A model directory of the smallest system that has every part, with random weights."""

import dataclasses
import functools
from pathlib import Path

import numpy as np

from cmask_tf.config import Attention, Backbone, Config, Refinement, Verification, tiny

CONCEPTS = [
    {"name": "dress", "level": "mask", "kind": "object"},
    {"name": "bag", "level": "mask", "kind": "object"},
    {"name": "red hat", "level": "box", "kind": "object"},
    {"name": "hair", "level": "box", "kind": "part"},
    {"name": "street", "level": "image", "kind": "stuff"},
    {"name": "striped", "level": "image", "kind": "attribute"},
]
WORDS = [concept["name"] for concept in CONCEPTS] + ["cape", "walking"]  # the last two are never trained
MIXING = {
    "neighbours": "second_order",
    "theta": {"image": 0.5, "zero": 0.5},
    "p": {"street": "hair", "striped": "dress", "cape": "bag", "walking": "hair"},
}
THRESHOLDS = {"pooled": 0.1, "concepts": {"dress": -0.2, "bag": 0.3}}


def smallest_config(design: str = "lite") -> Config:
    """`tiny` with the sizes and widths cut down once more."""
    config = tiny(design)
    net = Backbone(name=config.backbone.name, width=0.125, depth=0.2, output_stride=16)
    return dataclasses.replace(
        config,
        backbone=net,
        embedding=dataclasses.replace(config.embedding, hidden=(16, 16)),
        attention=Attention(sizes=(64, 96)),
        refinement=Refinement(bottleneck=8),
        verification=Verification(hidden=8),
        segmentation=dataclasses.replace(
            config.segmentation, size=64, channels=8, low_level=4, units=1, growth=4
        ),
    )


def tag_lists(images: int = 300) -> list[list[str]]:
    """Tags that co-occur: half of the words are likely together, the other half too."""
    rng = np.random.default_rng(0)
    scenes = rng.random(images) < 0.5
    likely = np.where(scenes[:, None], [0.7] * 4 + [0.15] * 4, [0.15] * 4 + [0.7] * 4)
    return [
        [w for w, there in zip(WORDS, row, strict=True) if there] for row in rng.random((images, 8)) < likely
    ]


def smallest_vocabulary():
    from cmask_tf.vocabulary.build import build

    return build(
        tag_lists(), dim=3, kinds={c["name"]: c["kind"] for c in CONCEPTS}, aliases={"bag": ["purse"]}
    )


def smallest_parts(config: Config) -> dict:
    import keras

    from cmask_tf.model_directory import build_parts

    keras.utils.set_random_seed(0)
    return build_parts(config, dim=3, trained=len(CONCEPTS))


@functools.cache
def smallest_model(directory: Path) -> Path:
    """Writes the model directory, once in a process."""
    from cmask_tf import model_directory

    config, vocabulary = smallest_config(), smallest_vocabulary()
    parts = smallest_parts(config)
    provenance = {"seed": 0}
    model_directory.save(
        directory, config, vocabulary, CONCEPTS, parts, MIXING, THRESHOLDS, provenance=provenance
    )
    return directory


def photo(height: int = 60, width: int = 45, seed: int = 0) -> np.ndarray:
    """uint8 RGB [height, width, 3]: smooth noise, so that places differ."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 5, width // 5, 3))
    return np.kron(coarse, np.ones((5, 5, 1))).astype(np.uint8)


@functools.cache
def smallest_segmenter(directory: Path):
    """The loaded system, once in a process."""
    from cmask_tf.segmenter import ConceptSegmenter

    return ConceptSegmenter.load(directory)
