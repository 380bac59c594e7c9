"""What an annotator would write down about a scene: tags with gaps, boxes and masks for some photos only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from pycocotools import mask as rle

from cmask_tf.data.world.concepts import ALL_WORDS, BOXED, CONCEPTS, MASKED, PARTS_OF
from cmask_tf.data.world.scene import MIN_PIXELS, SPLITS, Instance, Scene

ANNOTATED = 0.6  # the share of training photos that have boxes and masks
MISSING = 0.12  # the share of true tags that nobody gave
WRONG = 0.03  # wrong tags for each tag given
_ID_STEP = 10**8


@dataclass(frozen=True)
class Box:
    """One annotated box: pixels, right and bottom exclusive. `group`: it surrounds several objects."""

    name: str
    left: int
    top: int
    right: int
    bottom: int
    occluded: bool = False
    group: bool = False


@dataclass(frozen=True)
class Notes:
    """All that is written about one scene.

    Attributes:
        image_id: unique over the splits.
        height, width: pixels.
        tags: words as tagged, zero level included.
        boxes: boxes of the mask and box levels; empty where nobody drew any.
        instances: (concept, COCO segmentation, iscrowd, area, [x, y, w, h]) of the mask level.
        masks: concept -> compressed RLE, for val and test.
    """

    image_id: int
    height: int
    width: int
    tags: tuple[str, ...]
    annotated: bool
    boxes: tuple[Box, ...]
    instances: tuple[tuple, ...]
    masks: dict[str, dict]


def take_notes(scene: Scene, seed: int, split: str, index: int) -> Notes:
    """Annotates a scene the way its split is annotated; random choices depend on the arguments alone."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index, 1])
    masks = scene.masks()
    tags = tag(rng, [*masks, *scene.words])
    annotated = split == "train" and rng.random() < ANNOTATED
    return Notes(
        image_id=(1 + SPLITS.index(split)) * _ID_STEP + index,
        height=scene.image.shape[0],
        width=scene.image.shape[1],
        tags=tuple(tags),
        annotated=annotated,
        boxes=tuple(draw_boxes(scene, masks)) if annotated else (),
        instances=tuple(outline_objects(scene)) if annotated else (),
        masks={} if split == "train" else {name: encode(mask) for name, mask in masks.items()},
    )


def tag(rng: np.random.Generator, truth: list[str]) -> list[str]:
    """The tags that a picture gets: some true ones are missing, a few are wrong; sorted, never none."""
    given = [word for word in truth if rng.random() >= MISSING] or truth[:1]
    absent = [word for word in ALL_WORDS if word not in truth]
    wrong = rng.choice(absent, rng.binomial(len(given), WRONG), replace=False)
    return sorted([*given, *map(str, wrong)])


def encode(mask: np.ndarray) -> dict:
    """COCO's compressed RLE of a bool mask [H, W], with its counts as text."""
    coded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in coded["size"]], "counts": coded["counts"].decode("ascii")}


def _bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return left, top, left + width, top + height


def draw_boxes(scene: Scene, masks: dict[str, np.ndarray]) -> list[Box]:
    """Boxes of the mask and box levels: one an object, one a visible piece of a part, one a stuff."""
    boxes = [
        Box(name, *_bounds(mask))
        for name, mask in masks.items()
        if name in BOXED and CONCEPTS[name].kind == "stuff"
    ]
    crowds: dict[str, np.ndarray] = {}
    for instance in scene.instances:
        visible = scene.mask(instance.name, instance.labels)
        area = int(visible.sum())
        if area < MIN_PIXELS:
            continue
        if instance.name in BOXED and instance.group:
            crowds[instance.name] = crowds.get(instance.name, False) | visible
        elif instance.name in BOXED:
            boxes.append(Box(instance.name, *_bounds(visible), occluded=area < 0.9 * instance.drawn))
        boxes += _part_boxes(scene, instance)
    return boxes + [Box(name, *_bounds(mask), group=True) for name, mask in crowds.items()]


def _part_boxes(scene: Scene, instance: Instance) -> list[Box]:
    boxes = []
    for part in PARTS_OF.get(instance.name, ()):
        if part not in BOXED:
            continue
        visible = scene.mask(part, instance.labels).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(visible, connectivity=8)
        for left, top, width, height, area in stats[1:].tolist():
            if area >= max(MIN_PIXELS, 0.05 * stats[1:, cv2.CC_STAT_AREA].max()):
                boxes.append(Box(part, left, top, left + width, top + height))
    return boxes


def outline_objects(scene: Scene) -> list[tuple]:
    """COCO annotations of the mask level: polygons, RLE where an object has holes, a crowd for each group."""
    found = []
    crowds: dict[str, np.ndarray] = {}
    for instance in scene.instances:
        if instance.name not in MASKED:
            continue
        visible = scene.mask(instance.name, instance.labels)
        if visible.sum() < MIN_PIXELS:
            continue
        if instance.group:
            crowds[instance.name] = crowds.get(instance.name, False) | visible
        else:
            shape = polygons(visible) or encode(visible)
            coded = rle.merge(rle.frPyObjects(shape, *visible.shape)) if isinstance(shape, list) else shape
            found.append((instance.name, shape, 0, float(rle.area(coded)), _extent(visible)))
    for name, mask in crowds.items():
        found.append((name, uncompressed(mask), 1, float(mask.sum()), _extent(mask)))
    return found


def _extent(mask: np.ndarray) -> list[float]:
    left, top, right, bottom = _bounds(mask)
    return [float(left), float(top), float(right - left), float(bottom - top)]


def polygons(mask: np.ndarray) -> list[list[float]] | None:
    """COCO polygons of a bool mask [H, W] along its pixels' edges, simplified by up to a third of a pixel.

    None when the mask has holes, which polygons cannot say, or nothing but specks.
    """
    fine = 4
    large = cv2.resize(mask.astype(np.uint8), None, fx=fine, fy=fine, interpolation=cv2.INTER_NEAREST)
    contours, tree = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if tree is None or (tree[0, :, 3] >= 0).any():
        return None
    simple = [cv2.approxPolyDP(contour, 0.33 * fine, True)[:, 0, :] for contour in contours]
    return [((line + 0.5) / fine).round(2).ravel().tolist() for line in simple if len(line) >= 3] or None


def uncompressed(mask: np.ndarray) -> dict:
    """COCO's uncompressed RLE: run lengths in column order, zeros first."""
    flat = np.concatenate([[0], mask.T.ravel().astype(np.int8)])
    turns = np.flatnonzero(np.diff(flat))
    runs = np.diff(np.concatenate([[0], turns, [mask.size]]))
    return {"size": [int(side) for side in mask.shape], "counts": runs.tolist()}
