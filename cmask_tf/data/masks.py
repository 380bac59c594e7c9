"""Masks as PNG files, from any annotation tool: label maps, or one PNG a concept.

For a photo `a.jpg` the masks folder may hold, also mixed:

    a.red-hat.png, a/red hat.png   one concept: 0 and 1, or 0 to 255 with the concept from 128 up
    a.png                          a label map: the pixel's value is a label's number; 0 is background
    labels.txt                     the labels: a number and a name a line ("3 red hat")

255 in a label map is "nobody knows", as in PASCAL VOC, unless labels.txt names it. Photos without a PNG are
left out. Each PNG is read once, into the spool; in memory are the file names of one folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from tqdm import tqdm

from cmask_tf.data.sources import PHOTOS, Annotations, PhotoFinder, image_size, read_text
from cmask_tf.data.spool import Spool
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.text import fold

_VOID = 255
_FORMS = "PHOTO.png, PHOTO.CONCEPT.png or PHOTO/CONCEPT.png"


def read_masks(images: Path, masks: Path, work: Path, faults: Faults) -> Annotations:
    """The photos that have masks: one object a concept, its box around its mask.

    Args:
        images: the folder of photos.
        masks: the folder of PNG files.
        work: the conversion's folder.
        faults: counts the PNG files: one that is no photo's, has another size than its photo, or a value
            without a name is bad; the photo's other masks stay.

    Raises:
        UserError: no such folder, none of PNG files, a broken labels.txt, or too many bad files.
    """
    spool = Spool(Path(work) / "spool.sqlite")
    if not spool.complete:
        fill_masks(spool, images, masks, faults)
        spool.finish(faults)
    return spool.annotations(faults)


def fill_masks(spool: Spool, images: Path, masks: Path, faults: Faults) -> None:
    """Adds photos and masks to a spool; see `read_masks`."""
    images, masks = PhotoFinder(images).images, Path(masks)
    photos, labels, size_of = photo_names(images), read_labels(masks), lru_cache(1)(image_size)
    for path in tqdm(mask_files(masks, faults), desc="reading masks", unit="mask", delay=2):
        try:
            stem, concept = whose(path, masks, photos)
            photo = images / photos[stem]
            fill_png(spool, path, photo, concept, labels, size_of(photo), faults)
        except BadRecord as bad:
            faults.skip(bad)


def fill_png(
    spool: Spool,
    path: Path,
    photo: Path,
    concept: str | None,
    labels: dict[int, str],
    size: tuple[int, int],
    faults: Faults,
) -> None:
    """Adds a PNG's masks to a spool.

    Args:
        spool: where to.
        path: the PNG.
        photo: whose it is.
        concept: folded name; None for a label map.
        labels: of `read_labels`.
        size: (height, width) of the photo.
        faults: counts it.

    Raises:
        BadRecord: as `parse_png`.
    """
    named = parse_png(path, concept, labels, size)
    faults.read()
    row = spool.photo(photo, photo.stem, size)
    for name, mask in named:
        if mask.any():
            spool.add(row, name, *_encoded(mask))
        else:
            faults.leave_out("mask without a pixel", f"{path}: {name}")


def parse_png(
    path: Path, concept: str | None, labels: dict[int, str], size: tuple[int, int]
) -> list[tuple[str, np.ndarray]]:
    """The masks of one file.

    Args:
        path: the PNG.
        concept: whose mask it is; None for a label map.
        labels: number -> folded name.
        size: (height, width) of its photo.

    Returns:
        (folded name, bool [H, W]) of each concept.

    Raises:
        BadRecord: not a PNG of one channel, of another size, or with a value that has no name.
    """
    values = _read(path)
    if values.shape != size:
        found = f"{values.shape[1]} x {values.shape[0]}, the photo {size[1]} x {size[0]}"
        raise BadRecord("mask of another size than its photo", str(path), found)
    if concept is not None:
        return [(concept, values == 1 if values.max() == 1 else values >= 128)]
    present = [value for value in np.unique(values).tolist() if value in labels or value not in (0, _VOID)]
    for value in present:
        if value not in labels:
            raise BadRecord("value that has no name in labels.txt", str(path), f"value {value}")
    return [(labels[value], values == value) for value in present]


def mask_files(masks: Path, faults: Faults) -> Iterator[Path]:
    """The PNG files, by name; what else is there is left out.

    Raises:
        UserError: no such folder, or none in it.
    """
    if not masks.is_dir():
        raise UserError(f"{masks}: no such folder of masks")
    found = False
    for folder, below, names in os.walk(masks):
        below.sort()
        for path in (Path(folder, name) for name in sorted(names)):
            if path.suffix.lower() == ".png":
                found = True
                yield path
            elif path != masks / "labels.txt":
                faults.leave_out("file that is no PNG", str(path))
    if not found:
        raise UserError(f"{masks}: no PNG file in it")


def photo_names(images: Path) -> dict[str, str | None]:
    """The photos of a folder: stem -> file name; None where two photos have the stem."""
    photos: dict[str, str | None] = {}
    for path in sorted(images.iterdir()):
        if path.suffix.lower() in PHOTOS:
            photos[path.stem] = None if path.stem in photos else path.name
    return photos


def whose(path: Path, masks: Path, photos: dict[str, str | None]) -> tuple[str, str | None]:
    """The stem of the photo that a PNG belongs to, and its concept or None.

    Raises:
        BadRecord: it is no photo's, or of two.
    """
    below, dot = path.relative_to(masks).parts, path.stem.rpartition(".")
    if len(below) == 2 and below[0] in photos:
        stem, concept = below[0], path.stem
    elif len(below) == 1 and path.stem in photos:
        stem, concept = path.stem, None
    elif len(below) == 1 and dot[0] in photos:
        stem, concept = dot[0], dot[2]
    else:
        raise BadRecord("no photo has this mask", str(path), f"expected {_FORMS}")
    if photos[stem] is None:
        raise BadRecord("two photos have the name that this mask gives", str(path))
    name = concept if concept is None else fold(concept)
    if name == "":
        raise BadRecord("expected a concept in the file's name", str(path))
    return stem, name


def _encoded(mask: np.ndarray) -> tuple[tuple[float, float, float, float], bool, bytes]:
    """Box, crowd and RLE of a mask, as `Spool.add` takes them."""
    height, width = mask.shape
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    x, y, w, h = rle.toBbox(encoded).tolist()
    return (y / height, x / width, (y + h) / height, (x + w) / width), False, encoded["counts"]


def read_labels(masks: Path) -> dict[int, str]:
    """Value -> folded name, of labels.txt.

    Raises:
        UserError: a line of another form.
    """
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


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "P", "I;16", "I"):
                raise BadRecord("expected one channel of labels", str(path), f"not {image.mode}")
            # A palette's colours mean nothing: the values are the labels.
            return np.asarray(image).astype(np.int32)
    except BadRecord:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise BadRecord("not a PNG", str(path), str(error)) from None
