"""How hard ConceptWorld is: mean IoU of four baselines on its test scenes, by level of supervision.

    python benchmarks/world_difficulty.py --scenes 1000

All four see what no level of supervision but `mask` gives: the true masks of every concept in the
training scenes. They are asked for the concepts that are in the picture, on pictures squashed to 96 x 96.

- whole image: the mask is everything.
- position prior: the concept's mean training mask.
- colour and texture: the nearest training cells of 4 x 4 pixels, by colour, contrast and edge directions.
- closed-set network: a small U-Net with one sigmoid map a concept, trained from scratch.

The threshold of the last three is, concept by concept, the one that is best on the validation scenes. Mean
over photos, then over the concepts with at least 3 test photos. It took six minutes on two busy cores.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import tqdm  # noqa: E402

from cmask_tf.data.world.concepts import CONCEPTS  # noqa: E402
from cmask_tf.data.world.scene import make_scene  # noqa: E402
from cmask_tf.data.world.writer import split_sizes  # noqa: E402

SIZE = 96
CELL = 4
NAMES = list(CONCEPTS)
THRESHOLDS = np.arange(0.05, 0.96, 0.05)
Predict = Callable[["Example"], np.ndarray]


class Example(NamedTuple):
    """A scene, squashed. `has[labels]` are its masks: bool [SIZE, SIZE, concepts]."""

    image: np.ndarray  # uint8 RGB [SIZE, SIZE, 3]
    labels: np.ndarray  # int16 [SIZE, SIZE]
    has: np.ndarray  # bool [pieces, concepts]


def load(index: int, split: str) -> Example:
    """Makes a scene and squashes it."""
    scene = make_scene(0, split, index)
    has = np.array([[name in concepts for name in NAMES] for concepts in scene.pieces])
    image = cv2.resize(scene.image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return Example(image, cv2.resize(scene.labels, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST), has)


def truths(example: Example) -> Iterator[tuple[int, np.ndarray]]:
    """(concept, mask bool [SIZE, SIZE]) of every concept that is seen."""
    for concept in np.flatnonzero(example.has[np.unique(example.labels)].any(0)):
        yield concept, example.has[example.labels, concept]


def cell_features(image: np.ndarray) -> np.ndarray:
    """Colour, contrast and edge directions of each cell, float32 [(SIZE / CELL)^2, 10]."""
    pixels = image.astype(np.float32) / 255
    gray = pixels.mean(-1)
    dx, dy = cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)
    edges = np.stack([np.abs(dx), np.abs(dy), np.abs(dx + dy), np.abs(dx - dy)], axis=-1)
    means = cv2.resize(
        np.concatenate([pixels, edges], -1), None, fx=1 / CELL, fy=1 / CELL, interpolation=cv2.INTER_AREA
    )
    squares = cv2.resize(pixels**2, None, fx=1 / CELL, fy=1 / CELL, interpolation=cv2.INTER_AREA)
    spread = np.sqrt(np.maximum(squares - means[..., :3] ** 2, 0))
    return np.concatenate([means, 2 * spread], -1).reshape(-1, 10)


def position_prior(train: list[Example]) -> Predict:
    """The mean mask of each concept over the training scenes that have it."""
    total, count = np.zeros((SIZE, SIZE, len(NAMES)), np.float32), np.zeros(len(NAMES))
    for example in train:
        for concept, mask in truths(example):
            total[..., concept] += mask
            count[concept] += 1
    mean = total / np.maximum(count, 1)
    mean /= np.maximum(mean.max((0, 1)), 1e-6)
    return lambda example: mean


def colour_and_texture(train: list[Example], cells: int = 40_000, neighbours: int = 9) -> Predict:
    """The share of the nearest training cells whose middle has the concept."""
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    each = max(1, cells // len(train))
    features, concepts = [], []
    for example in train:
        chosen = rng.choice((SIZE // CELL) ** 2, min(each, (SIZE // CELL) ** 2), replace=False)
        features.append(cell_features(example.image)[chosen])
        concepts.append(example.has[example.labels[CELL // 2 :: CELL, CELL // 2 :: CELL].ravel()[chosen]])
    index = NearestNeighbors(n_neighbors=neighbours, n_jobs=-1).fit(np.concatenate(features))
    known = np.concatenate(concepts)

    def predict(example: Example) -> np.ndarray:
        found = index.kneighbors(cell_features(example.image), return_distance=False)
        share = known[found].mean(1, dtype=np.float32).reshape(SIZE // CELL, SIZE // CELL, -1)
        return share.repeat(CELL, 0).repeat(CELL, 1)

    return predict


def network(width: int = 32):
    """A U-Net: [B, SIZE, SIZE, 3] in 0..255 -> logits [B, SIZE / 2, SIZE / 2, concepts]."""
    import keras
    from keras import layers

    def block(x, channels, stride=1):
        for step in (stride, 1):
            x = layers.Conv2D(channels, 3, step, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.95)(x))
        return x

    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 64, -2)(inputs)
    levels = []
    for channels in (width, 2 * width, 3 * width, 4 * width):
        x = block(x, channels, 2)
        levels.append(x)
    for skip in reversed(levels[:-1]):
        x = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), skip])
        x = block(x, skip.shape[-1] + width // 2)
    return keras.Model(
        inputs, layers.Conv2D(len(NAMES), 1, bias_initializer=keras.initializers.Constant(-4))(x)
    )


def closed_set(train: list[Example], epochs: int, batch: int = 16) -> Predict:
    """Trains the network with the true masks: cross entropy, and Dice of the concepts in the picture."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    model = network()
    steps = epochs * (len(train) // batch)
    optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(4e-3, steps), weight_decay=1e-3)

    @tf.function(reduce_retracing=True)
    def step(images, masks):
        masks = tf.cast(masks, tf.float32)
        with tf.GradientTape() as tape:
            logits = model(tf.cast(images, tf.float32), training=True)
            entropy = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(masks, logits))
            chance = tf.sigmoid(logits)
            both, area = tf.reduce_sum(chance * masks, (1, 2)), tf.reduce_sum(masks, (1, 2))
            dice = 1 - 2 * both / (tf.reduce_sum(chance, (1, 2)) + area + 1)
            present = tf.cast(area > 0, tf.float32)
            loss = 10 * entropy + tf.reduce_sum(dice * present) / tf.reduce_sum(present)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    rng = np.random.default_rng(0)
    progress = tqdm.tqdm(total=steps, desc="closed-set network", unit="step")
    for _ in range(epochs):
        order = rng.permutation(len(train))
        for start in range(0, len(train) - batch + 1, batch):
            loss = step(*_batch([train[k] for k in order[start : start + batch]], rng))
            progress.set_postfix(loss=f"{float(loss):.3f}", refresh=False)
            progress.update()
    progress.close()

    def predict(example: Example) -> np.ndarray:
        logits = model(example.image[None].astype(np.float32), training=False)[0].numpy()
        logits = np.concatenate([_enlarged(part) for part in np.array_split(logits, 2, axis=-1)], -1)
        return 1 / (1 + np.exp(-logits))

    return predict


def _enlarged(maps: np.ndarray) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(maps), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def _batch(examples: list[Example], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images and masks (at half the size), each flipped by chance."""
    images, masks = [], []
    for example in examples:
        turn = slice(None, None, -1 if rng.random() < 0.5 else 1)
        images.append(example.image[:, turn])
        masks.append(example.has[example.labels[1::2, 1::2]][:, turn])
    return np.stack(images), np.stack(masks)


def overlaps(predict: Predict, examples: list[Example], desc: str) -> np.ndarray:
    """IoU at each threshold, mean over photos: float [thresholds, concepts]; NaN below 3 photos."""
    found: list[list[np.ndarray]] = [[] for _ in NAMES]
    for example in tqdm.tqdm(examples, desc=desc, unit="scene", leave=False):
        maps = predict(example)
        for concept, mask in truths(example):
            above = maps[..., concept, None] > THRESHOLDS
            union = (above | mask[..., None]).sum((0, 1))
            found[concept].append((above & mask[..., None]).sum((0, 1)) / union)
    absent = np.full(len(THRESHOLDS), np.nan)
    return np.stack([np.mean(each, 0) if len(each) >= 3 else absent for each in found], axis=1)


def measure(name: str, predict: Predict, val: list[Example], test: list[Example]) -> np.ndarray:
    """IoU of each concept on the test scenes at the threshold that is best on the validation scenes."""
    best = np.argmax(np.nan_to_num(overlaps(predict, val, f"{name}, val")), axis=0)
    return overlaps(predict, test, f"{name}, test")[best, np.arange(len(NAMES))]


def main() -> None:
    """Parses the arguments, runs the baselines, prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=1000, help="how many scenes, over all splits")
    parser.add_argument("--epochs", type=int, default=18, help="of the closed-set network")
    arguments = parser.parse_args()
    sets: dict[str, list[Example]] = {}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for split, size in split_sizes(arguments.scenes).items():
            made = pool.imap(functools.partial(load, split=split), range(size), chunksize=16)
            sets[split] = list(tqdm.tqdm(made, total=size, desc=f"scenes, {split}", unit="scene"))
    everything = np.ones((SIZE, SIZE, len(NAMES)), np.float32)
    rows = {
        "whole image": lambda example: everything,
        "position prior": position_prior(sets["train"]),
        "colour and texture": colour_and_texture(sets["train"]),
        "closed-set network": closed_set(sets["train"], arguments.epochs),
    }
    levels = ("mask", "box", "image", "zero")
    print(f"Mean IoU, {len(sets['train'])} training and {len(sets['test'])} test scenes.\n")
    print("| | " + " | ".join(levels) + " | all |\n|---|" + "---|" * (len(levels) + 1))
    for name, predict in rows.items():
        scores = measure(name, predict, sets["val"], sets["test"])
        means = [
            np.nanmean([s for s, n in zip(scores, NAMES, strict=True) if CONCEPTS[n].level == k])
            for k in levels
        ]
        print(
            f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in [*means, np.nanmean(scores)]) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
