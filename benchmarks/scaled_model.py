"""A random model at any size whose maps and masks are not flat: what the benchmarks of the graph run on.

Random networks of this depth give maps that are constant but for rounding, on which every two graphs agree.
Here a real photo sets the scales: batch normalizations hold its statistics, every column of the second
refinement layer is stretched so that its map spans most of [0, 1] at both scales, and so are the masks.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cmask_tf import geometry, imageio, model_directory
from cmask_tf.config import Config
from cmask_tf.models import mixing, refinement
from cmask_tf.models.attention import stack_scales
from cmask_tf.models.embedding import embed_map
from cmask_tf.models.segmentation import encode

LOGITS = 8.0  # what a refined map's logits span at the scale where they span less
BETA = 2.0  # of batch normalizations, whose ReLU then cuts little: see `_normalize`
THETA = 0.8  # a mixed map then spans .6 or more, whatever its two maps are


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a model is made of beside its networks."""

    settings: Config
    concepts: int  # V = V'
    dim: int  # D
    boxed: int  # the first ones have boxes, the others tags alone


def read_photo(path: str | None) -> np.ndarray:
    """uint8 RGB [1, H, W, 3]; without a path matplotlib's portrait of Grace Hopper."""
    if path is None:
        import matplotlib.cbook

        path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    return imageio.read_image(Path(path))[np.newaxis]


def make(sizes: Sizes, photo: np.ndarray, seed: int) -> tuple[dict[str, keras.Model], mixing.ConceptTable]:
    """The networks in float32 and the table of words.

    Raises:
        AssertionError: a refined map spans less than half of [0, 1].
    """
    keras.utils.set_random_seed(seed)
    parts = model_directory.build_parts(sizes.settings, sizes.dim, sizes.concepts)
    table = _table(sizes, np.random.default_rng(seed))
    squares = [geometry.resize_image(photo, s) for s in sizes.settings.attention.sizes]
    _normalize(
        [parts["backbone"], parts["embedding"]],
        lambda: embed_map(parts["backbone"], parts["embedding"], squares[-1], training=True),
    )
    _stretch_maps(parts, table, squares)
    _stretch_masks(parts, geometry.resize_image(photo, sizes.settings.segmentation.size), seed)
    return parts, table


def outside_words(sizes: Sizes, count: int) -> np.ndarray:
    """Word vectors float32 [count, D] that no vocabulary holds."""
    return np.random.default_rng(99).standard_normal((count, sizes.dim), np.float32)


def _table(sizes: Sizes, rng: np.random.Generator) -> mixing.ConceptTable:
    count, boxed = sizes.concepts, sizes.boxed
    ids = np.arange(count, dtype=np.int32)
    image_level = ids >= boxed
    second_order = sizes.settings.mixing.neighbours == "second_order"
    return mixing.ConceptTable(
        vectors=rng.standard_normal((count, sizes.dim), np.float32),
        trained=ids,
        column=ids,
        path=np.where(image_level, mixing.REFINED, mixing.DIRECT).astype(np.int32),
        neighbour=np.where(image_level, rng.integers(0, boxed, count), -1).astype(np.int32),
        theta=np.where(image_level, THETA, 1).astype(np.float32),
        threshold=np.zeros(count, np.float32),
        candidates=ids[:boxed],
        outside_theta=THETA,
        outside_threshold=0.0,
        profiles=rng.standard_normal((boxed, count), np.float32) if second_order else None,
    )


def _normalize(networks: list[keras.Model], run) -> None:
    """Batch normalizations take the statistics of what `run` sends through them in training.

    At a beta of 0 each random layer with ReLU makes rounding errors a fifth larger beside what varies over
    the photo, and sixty such layers would show nothing but them. Trained networks do not.
    """
    norms = []
    for network in networks:
        nested = [layer for layer in network.layers if isinstance(layer, keras.Model)]
        layers = [*network.layers, *(inner for model in nested for inner in model.layers)]
        norms += [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.momentum = 0.0
        norm.beta.assign(tf.fill(norm.beta.shape, BETA))
    run()
    for norm in norms:
        norm.momentum = momentum


def _stretch_maps(parts: dict, table: mixing.ConceptTable, squares: list[tf.Tensor]) -> None:
    network = parts["refinement"]
    matrix, bias = refinement.fold(network, table.vectors)
    layer = network.get_layer("refined")
    kernel = layer.kernel.numpy()
    logits = []
    for square in squares:
        e, _ = embed_map(parts["backbone"], parts["embedding"], square, training=False)
        hidden = tf.nn.relu(tf.tensordot(tf.nn.l2_normalize(e, -1), matrix, 1) + bias)
        logits.append(tf.reshape(tf.tensordot(hidden, kernel[0, 0], 1), [-1, kernel.shape[-1]]).numpy())
    factor = LOGITS / np.min([np.ptp(one, axis=0) for one in logits], axis=0)
    # Halfway between the scales' own middles, so that the sigmoid flattens neither.
    middle = np.mean([(one.max(0) + one.min(0)) / 2 for one in logits], axis=0)
    layer.kernel.assign(kernel * factor)
    layer.bias.assign(-middle * factor)
    for one in logits:
        maps = tf.sigmoid((one - middle) * factor).numpy()
        assert np.ptp(maps, axis=0).min() > 0.5, np.ptp(maps, axis=0).min()


def _stretch_masks(parts: dict, square: tf.Tensor, seed: int) -> None:
    encoder, decoder = parts["segmentation_encoder"], parts["segmentation_decoder"]
    size, features = square.shape[1], parts["backbone"](square, training=False)
    maps = [tf.random.stateless_uniform([1, n, n], (seed, n)) for n in (10, 22)]

    def run(training: bool) -> tf.Tensor:
        encoded = encode(encoder, square, features, training)
        given = {**encoded, "attention": stack_scales(maps, size)}
        return decoder(given, training=training)

    _normalize([encoder, decoder] if encoder.weights else [decoder], lambda: run(True))
    [last] = [layer for layer in decoder.layers if layer.name in ("logits", "half_logits") and layer.weights]
    logits = run(False).numpy()
    factor = 3 / logits.std()
    last.kernel.assign(last.kernel * factor)
    last.bias.assign((last.bias - logits.mean()) * factor)
