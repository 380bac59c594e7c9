"""Masks as PNG files, from any annotation tool: label maps, or one PNG a concept.

For a photo `a.jpg` the masks folder may hold, also mixed:

    a.red-hat.png, a/red hat.png   one concept: 0 and 1, or 0 to 255 with the concept from 128 up
    a.png                          a label map: the pixel's value is a label's number; 0 is background
    labels.txt                     the labels: a number and a name a line ("3 red hat")

255 in a label map is "nobody knows", as in PASCAL VOC, unless labels.txt names it. Photos without a PNG
are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from tqdm import tqdm

from cmask_tf.data.sources import Annotated, Annotations, Object, PhotoFinder, image_size, read_text
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.text import fold

_PHOTOS = (".jpg", ".jpeg", ".png")
_VOID = 255
_Files = dict[Path, list[tuple[Path, str | None]]]  # photo -> its PNGs, each with its concept or None


def read_masks(images: Path, masks: Path) -> Annotations:
    """The photos that have masks: one object a concept, its box around its mask.

    Args:
        images: the folder of photos.
        masks: the folder of PNG files.

    Raises:
        UserError: a PNG that is no photo's, has another size than its photo, or a value without a name.
    """
    images, masks = PhotoFinder(images).images, Path(masks)
    if not masks.is_dir():
        raise UserError(f"{masks}: no such folder of masks")
    files = _match(_photos(images), masks)
    labels = _labels(masks)
    names = _check(files, labels)
    skipped: Counter = Counter()
    return Annotations(tuple(sorted(names)), len(files), _items(files, labels, skipped), skipped)


def _photos(images: Path) -> dict[str, Path]:
    photos: dict[str, Path] = {}
    for path in sorted(images.iterdir()):
        if path.suffix.lower() in _PHOTOS:
            if path.stem in photos:
                raise UserError(f"{path}: {photos[path.stem].name} has the same name; whose are its masks?")
            photos[path.stem] = path
    return photos


def _match(photos: dict[str, Path], masks: Path) -> _Files:
    files: _Files = defaultdict(list)
    for path in sorted(masks.rglob("*.png")):
        below, dot = path.relative_to(masks), path.stem.rpartition(".")
        if len(below.parts) == 2 and below.parts[0] in photos:
            photo, concept = below.parts[0], path.stem
        elif len(below.parts) == 1 and path.stem in photos:
            photo, concept = path.stem, None
        elif len(below.parts) == 1 and dot[0] in photos:
            photo, concept = dot[0], dot[2]
        else:
            forms = "PHOTO.png, PHOTO.CONCEPT.png or PHOTO/CONCEPT.png"
            raise UserError(f"{path}: no photo has this mask; expected {forms}")
        files[photos[photo]].append((path, concept if concept is None else fold(concept)))
    if not files:
        raise UserError(f"{masks}: no PNG file in it")
    return files


def _labels(masks: Path) -> dict[int, str]:
    path = masks / "labels.txt"
    labels: dict[int, str] = {}
    for number, line in enumerate(read_text(path).splitlines() if path.exists() else [], 1):
        value, _, name = line.strip().partition(" ")
        if not value:
            continue
        if not value.isdigit() or not fold(name):
            raise UserError(f"{path}:{number}: expected a number and a name, as in '3 red hat'")
        labels[int(value)] = fold(name)
    labels.pop(0, None)
    return labels


def _check(files: _Files, labels: dict[int, str]) -> set[str]:
    """Sizes and values of every PNG; the names that occur."""
    names = set()
    for photo, pngs in tqdm(files.items(), desc="reading masks", unit="photo", delay=2):
        size = image_size(photo)
        for path, _ in pngs:
            if image_size(path) != size:
                raise UserError(f"{path}: expected the size of {photo}, {size[1]} x {size[0]}")
        names |= {name for name, _ in _named(pngs, labels)}
    return names


def _items(files: _Files, labels: dict[int, str], skipped: Counter) -> Iterator[Annotated]:
    for photo, pngs in files.items():
        height, width = image_size(photo)
        objects = []
        for name, mask in _named(pngs, labels):
            if mask.any():
                objects.append(_object(name, mask))
            else:
                skipped["mask without a pixel"] += 1
        yield Annotated(photo, photo.stem, height, width, tuple(objects))


def _object(name: str, mask: np.ndarray) -> Object:
    height, width = mask.shape
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    x, y, w, h = rle.toBbox(encoded).tolist()
    return Object(name, (y / height, x / width, (y + h) / height, (x + w) / width), encoded)


def _named(pngs: list[tuple[Path, str | None]], labels: dict[int, str]) -> Iterator[tuple[str, np.ndarray]]:
    for path, concept in pngs:
        values = _read(path)
        if concept is not None:
            yield concept, (values == 1 if values.max() == 1 else values >= 128)
            continue
        for value in np.unique(values).tolist():
            if value in labels:
                yield labels[value], values == value
            elif value not in (0, _VOID):
                raise UserError(f"{path}: value {value} has no name in {path.parent / 'labels.txt'}")


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "P", "I;16", "I"):
                raise UserError(f"{path}: expected one channel of labels, not {image.mode}")
            # A palette's colours mean nothing: the values are the labels.
            return np.asarray(image).astype(np.int32)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: not a PNG ({error})") from None
