"""One scene: a place, three to six objects that belong there, clutter, light and weather.

    scene = make_scene(seed=0, split="train", index=7)
    scene.image, scene.masks()["house"]

A scene depends on (seed, split, index) alone, never on how many scenes are made or by how many processes.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass

import cv2
import numpy as np

from cmask_tf.data.world.backdrop import Backdrop, shade_field
from cmask_tf.data.world.canvas import Canvas
from cmask_tf.data.world.concepts import CONCEPTS, TOPICS
from cmask_tf.data.world.placing import Placed, place_objects
from cmask_tf.data.world.settings import PLACE_WEIGHTS
from cmask_tf.data.world.sprites import paint_clutter, paint_object

SPLITS = ("train", "val", "test")
MIN_PIXELS = 12  # a smaller mask does not count as seen
_SIZES = ((144, 192), (144, 192), (192, 144), (176, 176), (128, 192), (160, 192))  # height, width


@dataclass(frozen=True)
class Instance:
    """One object in a scene.

    Attributes:
        name: the object's concept.
        labels: the range of its pieces in `Scene.labels`.
        group: objects of one group are annotated together as a crowd; 0 stands alone.
        drawn: its area in pixels before anything covered it.
    """

    name: str
    labels: range
    group: int
    drawn: float


@dataclass(frozen=True)
class Scene:
    """A picture and all that is true of it.

    Attributes:
        image: uint8 RGB [H, W, 3].
        labels: int16 [H, W], indices into `pieces`.
        pieces: the concepts that each piece's pixels have.
        instances: the objects, back to front.
        words: the scene words (beach, night, traffic), which have no mask.
        placed: how each instance was placed.
    """

    image: np.ndarray
    labels: np.ndarray
    pieces: tuple[frozenset[str], ...]
    instances: tuple[Instance, ...]
    words: tuple[str, ...]
    placed: tuple[Placed, ...]

    def mask(self, concept: str, within: range | None = None) -> np.ndarray:
        """bool [H, W]: the visible pixels of a concept in the picture, or within one object's pieces."""
        has = [concept in names and (within is None or k in within) for k, names in enumerate(self.pieces)]
        return np.array(has)[self.labels]

    def masks(self) -> dict[str, np.ndarray]:
        """Every concept that is seen, in the order of the concept table, with its exact mask, bool [H, W]."""
        areas = np.bincount(self.labels.ravel(), minlength=len(self.pieces))
        has: dict[str, np.ndarray] = collections.defaultdict(lambda: np.zeros(len(self.pieces), bool))
        for k, names in enumerate(self.pieces):
            for name in names:
                has[name][k] = True
        return {n: has[n][self.labels] for n in CONCEPTS if n in has and areas[has[n]].sum() >= MIN_PIXELS}


def make_scene(seed: int, split: str, index: int) -> Scene:
    """Makes scene `index` of a split.

    Args:
        seed: the world's seed.
        split: train, val or test.
        index: 0 and up.

    Returns:
        The scene; equal for equal arguments.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    height, width = _SIZES[rng.integers(len(_SIZES))]
    canvas = Canvas(height, width)
    backdrop = Backdrop(canvas, rng)
    place = str(
        rng.choice(
            list(PLACE_WEIGHTS), p=np.array(list(PLACE_WEIGHTS.values())) / sum(PLACE_WEIGHTS.values())
        )
    )
    night = place != "room" and rng.random() < 0.18
    getattr(backdrop, place)()
    placed = place_objects(rng, place, backdrop.zones, height, width, night)
    clutter = sorted(rng.uniform(0, len(placed) + 1, rng.integers(0, 4)).astype(int))
    instances = []
    for k, item in enumerate(placed):
        for _ in range(clutter.count(k)):
            paint_clutter(canvas, rng)
        labels, drawn = paint_object(canvas, rng, item, backdrop.zones, night)
        instances.append(Instance(item.name, labels, item.group, drawn))
    rain = place != "room" and rng.random() < 0.12
    if rain:
        _rain(canvas, rng)
    words = [word for word, so in ((place, True), ("night", night), ("rain", rain)) if so]
    names = {item.name for item in placed}
    words += [topic for topic, about in TOPICS.items() if names.intersection(about) and rng.random() < 0.8]
    image = _photograph(canvas, rng, night)
    return Scene(
        image, canvas.label_map(), tuple(canvas.pieces), tuple(instances), tuple(words), tuple(placed)
    )


def _rain(canvas: Canvas, rng: np.random.Generator) -> None:
    starts = rng.uniform((-10, -10), (canvas.width, canvas.height), (70, 2)).astype(np.float32)
    fall = np.float32([rng.uniform(-4, 4), rng.uniform(8, 14)])
    canvas.lines([np.stack([start, start + fall]) for start in starts], 0.45)


def _photograph(canvas: Canvas, rng: np.random.Generator, night: bool) -> np.ndarray:
    """Light, exposure, blur and sensor noise: uint8 RGB [H, W, 3]."""
    image = canvas.photo() * shade_field(rng, canvas.height, canvas.width)
    image *= np.float32([0.54, 0.58, 0.8]) if night else rng.uniform(0.92, 1.06, 3).astype(np.float32)
    image = (image - 128) * np.float32(rng.uniform(0.85, 1.1)) + 128 + np.float32(rng.uniform(-10, 10))
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8))
    grain = rng.standard_normal(image.shape[:2], np.float32)[..., None]
    return np.clip(image + rng.uniform(1.5, 7) * grain, 0, 255).astype(np.uint8)
