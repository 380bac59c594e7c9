"""What the panels of the figures show, and how it is found: a system at a time, a photo encoded once by each.

A mask is drawn by the photo's pixels inside it, on light gray, with a line around. An attention map is
stretched from its lowest value (dark blue) to its highest (dark red), with a white line around the true mask.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle
from tqdm import tqdm

from cmask_tf.data.coco import load_concept_masks
from cmask_tf.errors import UserError
from cmask_tf.evaluation.figures.grid import SIDE, Panel, fitted
from cmask_tf.evaluation.pseudo_masks import grabcut
from cmask_tf.evaluation.systems import System
from cmask_tf.imageio import as_seen, read_image
from cmask_tf.metrics import mask_scores
from cmask_tf.overview import heat_map
from cmask_tf.training.validation import outlined

OUTSIDE = 236  # the gray beside a mask
_BOX, _LINE = (230, 30, 30), (120, 120, 120)


@dataclass(frozen=True)
class Cell:
    """A picture that is wanted.

    Attributes:
        shows: "photo"; "truth", "box" (the one around the true mask) or "pseudo" (what GrabCut makes of that
            box) of the concept; "mask" or "attention" of the system.
        photo: path relative to the folder of photos.
    """

    shows: str
    photo: str
    concept: str = ""
    system: str = ""


@dataclass(frozen=True)
class _Shown:
    """A photo, small, and the true masks that are asked of it, as run lengths."""

    small: np.ndarray
    truths: dict[str, dict]


def gather(
    cells: Iterable[Cell],
    images: Path,
    annotations: Path,
    systems: Mapping[str, Callable[[], System]],
) -> dict[Cell, Panel]:
    """Makes the pictures of cells. One system is in memory at a time, and one mask of full size.

    Args:
        cells: what is wanted.
        images: the folder of photos.
        annotations: the COCO file with their true masks.
        systems: name -> opens it.

    Returns:
        Panels of `grid.SIDE` px; a cell of a system that does not answer to its concept has none.

    Raises:
        UserError: a photo or a concept of the cells has no true mask.
    """
    by_photo: dict[str, list[Cell]] = defaultdict(list)
    by_system: dict[str, dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for cell in dict.fromkeys(cells):
        by_photo[cell.photo].append(cell)
        if cell.system:
            by_system[cell.system][cell.photo].append(cell)
    shown, panels = _look(by_photo, images, annotations)
    for name, photos in by_system.items():
        system = systems[name]()
        for photo, wanted in tqdm(photos.items(), f"figures, {name}", unit="photo", leave=False):
            panels |= _ask(system, images / photo, wanted, shown[photo])
        del system  # before the next one is opened
    return panels


def _look(
    by_photo: Mapping[str, list[Cell]], images: Path, annotations: Path
) -> tuple[dict[str, _Shown], dict[Cell, Panel]]:
    """The photos and their true masks, and the panels that need no system."""
    shown, panels = {}, {}
    for path, masks in load_concept_masks(annotations, images):
        photo = path.relative_to(images).as_posix()
        if photo not in by_photo:
            continue
        image = read_image(path)
        truths = {}
        for name in {cell.concept for cell in by_photo[photo] if cell.concept}:
            if name not in masks:
                raise UserError(f"{annotations}: {photo}: expected a mask of {name}, as examples.csv has one")
            truths[name] = as_seen(masks[name], path)
        for cell in by_photo[photo]:
            if not cell.system:
                panels[cell] = _plain(cell, image, truths.get(cell.concept))
        packed = {name: rle.encode(np.asfortranarray(mask, np.uint8)) for name, mask in truths.items()}
        shown[photo] = _Shown(fitted(image, SIDE), packed)
        if len(shown) == len(by_photo):
            break
    for photo in by_photo:
        if photo not in shown:
            raise UserError(f"{annotations}: expected the photo {photo}, which examples.csv names")
    return shown, panels


def _plain(cell: Cell, image: np.ndarray, truth: np.ndarray | None) -> Panel:
    small = fitted(image, SIDE)
    if cell.shows == "photo":
        return Panel(small)
    if cell.shows == "truth":
        return Panel(cut_out(small, truth))
    x, y, width, height = cv2.boundingRect(truth.astype(np.uint8))
    if cell.shows == "box":
        scale = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
        corners = [round(v * scale[n % 2]) for n, v in enumerate((x, y, x + width - 1, y + height - 1))]
        return Panel(cv2.rectangle(small.copy(), tuple(corners[:2]), tuple(corners[2:]), _BOX, 2))
    mask = grabcut(image, [(x, y, width, height)])
    return Panel(cut_out(small, mask), f"IoU {mask_scores(mask, truth)['iou']:.2f}")


def _ask(system: System, path: Path, wanted: list[Cell], shown: _Shown) -> dict[Cell, Panel]:
    names = [name for name in dict.fromkeys(cell.concept for cell in wanted) if system.answers(name)]
    found = {}
    for answer in system.predict(path, read_image(path), names) if names else ():
        for cell in wanted:
            if cell.concept != answer.name:
                continue
            if cell.shows == "mask" and answer.probability is not None:
                found[cell] = Panel(cut_out(shown.small, answer.probability >= 0.5))
            if cell.shows == "attention" and answer.attention is not None:
                truth = rle.decode(shown.truths[cell.concept])
                found[cell] = Panel(outlined(heat_map(answer.attention, shown.small.shape[:2]), truth))
    return found


def cut_out(small: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The pixels of a small photo uint8 RGB [h, w, 3] that lie in a mask bool [H, W] of any size."""
    size = small.shape[1::-1]
    inside = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., np.newaxis]
    kept = (small * inside + OUTSIDE * (1 - inside)).round().astype(np.uint8)
    lines, _ = cv2.findContours((inside >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(kept, lines, -1, _LINE, 1)  # white things are light, too
