"""COCO instances: polygons, both forms of RLE, crowds (COCO-80, paper section 3; test masks, section 5).

Categories may carry `level` and `kind`. The annotation file is held in memory, as pycocotools
holds it; masks are made one photo at a time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from cmask_tf.data.sources import (
    KINDS,
    LEVELS,
    Annotated,
    Annotations,
    Box,
    Object,
    PhotoFinder,
    clip_box,
    read_json,
)
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.text import fold


@dataclass(frozen=True)
class _Photo:
    path: Path
    source_id: str
    height: int
    width: int
    annotations: list[dict] = field(default_factory=list)


def read_coco(annotations: Path, images: Path) -> Annotations:
    """Every photo of a COCO instances file, those without annotations too.

    An annotation without `segmentation` has a box only, one without `bbox` gets its mask's. Boxes are cut
    to the photo. Annotations that cover nothing are left out and counted in `skipped`.

    Args:
        annotations: the JSON file.
        images: the folder of photos; `file_name` may carry folders that it does not have.

    Raises:
        UserError: a photo is not there, or the file is not as COCO's are.
    """
    categories, photos = _load(Path(annotations), Path(images))
    names = {categories[a["category_id"]] for photo in photos for a in photo.annotations}
    skipped: Counter = Counter()
    items = (_annotated(photo, categories, skipped, Path(annotations)) for photo in photos)
    return Annotations(tuple(sorted(names)), len(photos), items, skipped)


def coco_categories(path: Path) -> dict[str, dict[str, str]]:
    """Folded category name -> its `level` and `kind`, each where the file gives it.

    Raises:
        UserError: a level or kind that is none of `sources.LEVELS` and `sources.KINDS`.
    """
    path, found = Path(path), {}
    for category in _entries(read_json(path, dict, "a COCO object"), "categories", path):
        name = _text(category, "name", f"{path}: category {category.get('id')}")
        entry = {key: category[key] for key in ("level", "kind") if key in category}
        for key, allowed in (("level", LEVELS), ("kind", KINDS)):
            if key in entry and entry[key] not in allowed:
                raise UserError(f"{path}: category {name}: {key} is one of {', '.join(allowed)}")
        found[fold(name)] = entry
    return found


def load_concept_masks(annotations: Path, images: Path) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """For evaluation: each photo with the whole mask of each concept in it.

    A concept's mask is the union of its annotations, crowds counted.

    Args:
        annotations: a COCO instances file.
        images: the folder of photos.

    Returns:
        An iterator of (photo, {folded name: bool [H, W]}), in the file's order.

    Raises:
        UserError: as `read_coco`, and for an annotation without a mask.
    """
    annotations = Path(annotations)
    categories, photos = _load(annotations, Path(images))
    for photo in photos:
        for entry in photo.annotations:
            if not entry.get("segmentation"):
                raise UserError(f"{annotations}: annotation {entry.get('id')}: expected a segmentation")
    return (_union(photo, categories, annotations) for photo in photos)


def _union(photo: _Photo, categories: dict[int, str], where: Path) -> tuple[Path, dict[str, np.ndarray]]:
    found: dict[str, list[dict]] = defaultdict(list)
    for entry in photo.annotations:
        mask = _mask(entry, photo, f"{where}: annotation {entry.get('id')}")
        if mask is not None:
            found[categories[entry["category_id"]]].append(mask)
    return photo.path, {name: rle.decode(rle.merge(masks)).astype(bool) for name, masks in found.items()}


def _load(annotations: Path, images: Path) -> tuple[dict[int, str], list[_Photo]]:
    values = read_json(annotations, dict, "a COCO object")
    categories = {}
    for category in _entries(values, "categories", annotations):
        where = f"{annotations}: category {category.get('id')}"
        categories[_key(category, "id", where)] = fold(_text(category, "name", where))
    photos = _photos(_entries(values, "images", annotations), annotations, PhotoFinder(images))
    for entry in _entries(values, "annotations", annotations):
        where = f"{annotations}: annotation {entry.get('id')}"
        if _key(entry, "category_id", where) not in categories:
            raise UserError(f"{where}: category_id {entry['category_id']} is not among the categories")
        if _key(entry, "image_id", where) not in photos:
            raise UserError(f"{where}: image_id {entry['image_id']} is not among the images")
        photo = photos[entry["image_id"]]
        _check(entry, photo, where)
        photo.annotations.append(entry)
    return categories, list(photos.values())


def _photos(entries: list[dict], annotations: Path, finder: PhotoFinder) -> dict[int, _Photo]:
    photos: dict[int, _Photo] = {}
    for entry in entries:
        where = f"{annotations}: image {entry.get('id')}"
        number = _key(entry, "id", where)
        if number in photos:
            raise UserError(f"{where}: expected one entry an image id")
        height, width = entry.get("height"), entry.get("width")
        if not all(isinstance(side, int) and side > 0 for side in (height, width)):
            raise UserError(f"{where}: expected height and width in pixels")
        path = finder.find(_text(entry, "file_name", where), where)
        photos[number] = _Photo(path, str(number), height, width)
    return photos


def _check(entry: dict, photo: _Photo, where: str) -> None:
    box, shape = entry.get("bbox"), entry.get("segmentation")
    if box is not None and not (isinstance(box, list) and len(box) == 4 and _numbers(box)):
        raise UserError(f"{where}: bbox is [x, y, width, height] in pixels, not {box!r:.80}")
    if isinstance(shape, dict):
        _check_rle(shape, photo, where)
    elif isinstance(shape, list):
        for ring in shape:
            if not (isinstance(ring, list) and len(ring) % 2 == 0 and _numbers(ring)):
                raise UserError(f"{where}: a polygon is a list [x1, y1, x2, y2, ...], not {ring!r:.80}")
    elif shape is not None:
        raise UserError(f"{where}: segmentation is polygons or an RLE, not {shape!r:.80}")
    if not box and not shape:
        raise UserError(f"{where}: expected a bbox or a segmentation")


def _check_rle(shape: dict, photo: _Photo, where: str) -> None:
    size, counts = shape.get("size"), shape.get("counts")
    if size != [photo.height, photo.width]:
        raise UserError(f"{where}: RLE of size {size}, but the image is [{photo.height}, {photo.width}]")
    if isinstance(counts, list):
        whole = all(type(count) is int and count >= 0 for count in counts)
        if not whole or sum(counts) != photo.height * photo.width:
            raise UserError(f"{where}: the RLE's counts are not {photo.height * photo.width} pixels in all")
    elif not (isinstance(counts, str) and counts):
        raise UserError(f"{where}: an RLE's counts are a list or a string, not {counts!r:.80}")


def _annotated(photo: _Photo, categories: dict[int, str], skipped: Counter, where: Path) -> Annotated:
    objects = []
    for entry in photo.annotations:
        mask = _mask(entry, photo, f"{where}: annotation {entry.get('id')}")
        box = _box(entry, mask, photo)
        if entry.get("segmentation") and mask is None:
            skipped["mask without a pixel"] += 1
        elif box is None:
            skipped["box without area"] += 1
        else:
            name, crowd = categories[entry["category_id"]], bool(entry.get("iscrowd", 0))
            objects.append(Object(name, box, mask, crowd))
    return Annotated(photo.path, photo.source_id, photo.height, photo.width, tuple(objects))


def _mask(entry: dict, photo: _Photo, where: str) -> dict | None:
    shape, size = entry.get("segmentation"), (photo.height, photo.width)
    if isinstance(shape, list):
        # pycocotools takes four numbers for a box: what has no three corners is no polygon.
        rings = [ring for ring in shape if len(ring) >= 6]
        mask = rle.merge(rle.frPyObjects(rings, *size)) if rings else None
    elif shape:
        mask = shape if isinstance(shape["counts"], str) else rle.frPyObjects(shape, *size)
        mask = {"size": list(size), "counts": mask["counts"]}
        if isinstance(mask["counts"], str):
            mask["counts"] = mask["counts"].encode()
    else:
        mask = None
    try:
        return mask if mask and rle.decode(mask).any() else None
    except ValueError as error:
        raise UserError(f"{where}: broken RLE ({error})") from None


def _box(entry: dict, mask: dict | None, photo: _Photo) -> Box | None:
    for box in (entry.get("bbox"), mask and rle.toBbox(mask).tolist()):
        if box:
            x, y, width, height = box
            ymin, xmin, ymax, xmax = clip_box(
                y / photo.height, x / photo.width, (y + height) / photo.height, (x + width) / photo.width
            )
            if ymax > ymin and xmax > xmin:
                return ymin, xmin, ymax, xmax
    return None


def _entries(values: dict, key: str, path: Path) -> list[dict]:
    entries = values.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: expected a list {key!r} of objects")
    return entries


def _key(entry: dict, key: str, where: str) -> int | str:
    value = entry.get(key)
    if not isinstance(value, (int, str)):
        raise UserError(f"{where}: expected {key}")
    return value


def _text(entry: dict, key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: expected {key}, a text")
    return value


def _numbers(values: list) -> bool:
    return all(type(value) in (int, float) and np.isfinite(value) for value in values)
