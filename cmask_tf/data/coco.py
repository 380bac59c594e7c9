"""COCO instances: polygons, both forms of RLE, crowds (COCO-80, paper section 3; test masks, section 5).

Categories may carry `level` and `kind`. The file is read three times, for its categories, images and
annotations, because they come in any order. A file of 238 MB (50,000 photos, 365,000 polygons) takes about a
minute, a third of it for reading and the rest for its masks, and 80 MB of memory, as one of 24 MB does:
most is the spool's cache. Photos come in the order of `images`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pycocotools import mask as rle

from cmask_tf.data import fields, run_lengths
from cmask_tf.data.filling import OF_LEFT_OUT, add_photo, find_any, through_spool
from cmask_tf.data.sources import KINDS, LEVELS, Annotations, Box, PhotoFinder, clip_box
from cmask_tf.data.spool import Spool
from cmask_tf.data.streams import json_entries
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.text import fold

_SECTIONS = {"category": "categories", "image": "images", "annotation": "annotations"}
_YEAR = re.compile(r"COCO_((?:train|val|test)\d{4})_")  # the folder of the 2014 layout, in the file's name


@dataclass(frozen=True)
class Image:
    """An entry of `images`: its id, the file names to try, the best first, and its size in px."""

    number: str
    names: tuple[str, ...]
    height: int
    width: int


def read_coco(
    annotations: Path, images: Path, work: Path, faults: Faults, ids: Path | None = None
) -> Annotations:
    """Every photo of a COCO instances file, those without annotations too.

    An annotation without `segmentation` has a box only, one without `bbox` gets its mask's. Boxes are cut
    to the photo. Annotations that cover nothing are left out and counted.

    Args:
        annotations: the JSON file, also .gz.
        images: the folder of photos; `file_name` may carry folders that it does not have, and it may have the
            folders of COCO (train2014, val2017).
        work: a folder for the spool; what an earlier run finished there is taken as it is.
        faults: counts what is bad.
        ids: a text file of image ids or file names, one a line (miniVal2014): photos that it does not name
            are left out.

    Raises:
        UserError: the file is not as COCO's are, or too many of its records.
    """
    return through_spool(work, faults, lambda spool: fill_coco(spool, annotations, images, faults, ids))


def fill_coco(spool: Spool, annotations: Path, images: Path, faults: Faults, ids: Path | None = None) -> None:
    """Reads the photos into a spool; see `read_coco`."""
    path = Path(annotations)
    names = read_categories(path, faults)
    _fill_images(spool, path, PhotoFinder(images), faults, Wanted(ids))
    for where, entry in entries(path, "annotation"):
        try:
            fill_annotation(spool, path, entry, names, faults, where)
        except BadRecord as bad:
            faults.skip(bad)


def parse_category(entry: object, where: str) -> tuple[str, str]:
    """(id, folded name) of an entry of `categories`.

    Raises:
        BadRecord: it has no id, or no name.
    """
    entry = fields.mapping(entry, where)
    name = fold(fields.text(entry.get("name"), "name", where))
    return fields.identifier(entry, ("id",), where), fields.text(name, "name", where)


def parse_image(entry: object, where: str) -> Image:
    """An entry of `images`. The photo is named by `file_name`, else by `filepath` and `filename`, else by
    `coco_url`.

    Raises:
        BadRecord: it has no id, no name or no size.
    """
    entry = fields.mapping(entry, where)
    number = fields.identifier(entry, ("id",), where)
    height, width = fields.size(entry, where)
    names = []
    for key, folder in (("file_name", None), ("filename", entry.get("filepath")), ("coco_url", None)):
        if entry.get(key) is not None:
            name = fields.text(entry[key], key, where)
            names.append(name if folder is None else f"{fields.text(folder, 'filepath', where)}/{name}")
    if not names:
        raise BadRecord("expected file_name, a text", where, fields.shown(None))
    if year := _YEAR.match(names[0]):
        names.append(f"{year[1]}/{names[0]}")
    return Image(number, tuple(names), height, width)


def parse_annotation(
    entry: dict, height: int, width: int, where: str
) -> tuple[Box | None, bytes | None, bool]:
    """(box, the mask's compressed counts, crowd) of an entry of `annotations`; box and counts are None
    where it has none.

    Args:
        entry: as in the file.
        height: of its photo, px.
        width: of its photo, px.
        where: file and record, for errors.

    Raises:
        BadRecord: broken, or with neither a box nor a segmentation.
    """
    box, shape = entry.get("bbox"), entry.get("segmentation")
    if box is not None and not (
        isinstance(box, list) and len(box) in (0, 4) and all(map(fields.is_pixels, box))
    ):
        raise BadRecord("bbox is [x, y, width, height] in pixels", where, fields.shown(box))
    if not box and not shape:
        raise BadRecord("expected a bbox or a segmentation", where)
    if isinstance(shape, list):
        counts = run_lengths.from_polygons(shape, height, width, where)
    elif isinstance(shape, dict):
        counts = run_lengths.from_rle(shape, height, width, where) if shape else None
    elif shape is None:
        counts = None
    else:
        raise BadRecord("segmentation is polygons or an RLE", where, fields.shown(shape))
    crowd = entry.get("iscrowd")
    if crowd not in (0, 1, None):
        raise BadRecord("iscrowd is 0 or 1", where, fields.shown(crowd))
    own = run_lengths.bounds(counts, height, width) if counts else None
    return _normalised(box, height, width) or _normalised(own, height, width), counts, bool(crowd)


def coco_categories(path: Path) -> dict[str, dict[str, str]]:
    """Folded category name -> its `level` and `kind`, each where the file gives it.

    Raises:
        UserError: a broken category, or a level or kind that is none of `sources.LEVELS` and `sources.KINDS`.
    """
    path, found = Path(path), {}
    for where, category in entries(path, "category"):
        try:
            _, name = parse_category(category, where)
        except BadRecord as bad:
            raise UserError(str(bad)) from None
        entry = {key: category[key] for key in ("level", "kind") if key in category}
        for key, allowed in (("level", LEVELS), ("kind", KINDS)):
            if key in entry and entry[key] not in allowed:
                raise UserError(f"{path}: category {name}: {key} is one of {', '.join(allowed)}")
        found[name] = entry
    return found


def load_concept_masks(annotations: Path, images: Path) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """For evaluation: each photo with the whole mask of each concept in it.

    A concept's mask is the union of its annotations, crowds counted. Ground truth with a fault is an error.
    The masks wait in a spool below the system's folder of temporary files.

    Args:
        annotations: a COCO instances file.
        images: the folder of photos.

    Returns:
        An iterator of (photo, {folded name: bool [H, W]}), in the file's order.

    Raises:
        UserError: as `read_coco`, and for a broken record or an annotation without a mask.
    """
    folder, faults = TemporaryDirectory(prefix="cmask-"), Faults(strict=True)
    try:
        found = read_coco(annotations, images, Path(folder.name), faults)
        _expect_masks(Path(annotations))
    except BaseException:
        folder.cleanup()
        raise
    return _unions(found, folder)


def _expect_masks(path: Path) -> None:
    for where, entry in entries(path, "annotation"):
        if not entry.get("segmentation"):
            raise UserError(f"{where}: expected a segmentation")


def _unions(found: Annotations, folder: TemporaryDirectory) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    with folder:
        for photo in found.items(0):
            masks: dict[str, list[dict]] = defaultdict(list)
            for thing in photo.objects:
                masks[thing.name].append(thing.mask)
            union = {name: rle.decode(rle.merge(parts)).astype(bool) for name, parts in masks.items()}
            yield photo.image, union


def entries(path: Path, kind: str) -> Iterator[tuple[str, object]]:
    """("file: image 7", entry) of a section."""
    for number, entry in enumerate(json_entries(path, _SECTIONS[kind], "a COCO object"), 1):
        yield fields.place(path, kind, entry, ("id",), number), entry


def read_categories(path: Path, faults: Faults) -> dict[str, str]:
    """Category id -> folded name.

    Raises:
        UserError: the file is not as COCO's are.
    """
    names: dict[str, str] = {}
    for where, entry in entries(path, "category"):
        try:
            category, name = parse_category(entry, where)
            if category in names:
                raise BadRecord("expected one entry a category id", where)
        except BadRecord as bad:
            faults.skip(bad)
        else:
            names[category] = name
    return names


def _fill_images(spool: Spool, path: Path, finder: PhotoFinder, faults: Faults, wanted: Wanted) -> None:
    for where, entry in entries(path, "image"):
        try:
            fill_image(spool, path, entry, finder, faults, wanted, where)
        except BadRecord as bad:
            faults.skip(bad)
    wanted.tell(faults)


def fill_image(
    spool: Spool, path: Path, entry: object, finder: PhotoFinder, faults: Faults, wanted: Wanted, where: str
) -> None:
    """Adds an entry of `images` to a spool.

    Raises:
        BadRecord: broken, a second one of its id, or without its photo.
    """
    key = _key(path, fields.identifier(fields.mapping(entry, where), ("id",), where))
    if spool.note(key) is not None:
        raise BadRecord("expected one entry an image id", where)
    spool.add_note(key, [])  # as long as it has no row its annotations are left out
    image = parse_image(entry, where)
    if not wanted.has(image):
        faults.leave_out("photo that the file of ids does not name", where)
        return
    size = (image.height, image.width)
    row = add_photo(spool, find_any(finder, image.names, where), image.number, size, where)
    spool.add_note(key, [row, *size])
    faults.read()


def fill_annotation(
    spool: Spool, path: Path, entry: object, names: dict[str, str], faults: Faults, where: str
) -> None:
    """Adds an entry of `annotations` to a spool that has its image; `names` are those of `read_categories`.

    Raises:
        BadRecord: broken, or of no category or image of the file.
    """
    entry = fields.mapping(entry, where)
    category = fields.identifier(entry, ("category_id",), where)
    image = fields.identifier(entry, ("image_id",), where)
    if category not in names:
        raise BadRecord("category_id is not among the categories", where, category)
    photo = spool.note(_key(path, image))
    if photo is None:
        raise BadRecord("image_id is not among the images", where, image)
    if not photo:
        faults.leave_out(OF_LEFT_OUT, where)
        return
    row, height, width = photo
    box, counts, crowd = parse_annotation(entry, height, width, where)
    if entry.get("segmentation") and counts is None:
        faults.leave_out("mask without a pixel", where)
    elif box is None:
        faults.leave_out("box without area", where)
    else:
        spool.add(row, names[category], box, crowd, counts)
        faults.read()


def _key(path: Path, image: str) -> str:
    return f"{path} image {image}"


def _normalised(box: list[float] | None, height: int, width: int) -> Box | None:
    if not box:
        return None
    x, y, wide, high = box
    ymin, xmin, ymax, xmax = clip_box(y / height, x / width, (y + high) / height, (x + wide) / width)
    return (ymin, xmin, ymax, xmax) if ymax > ymin and xmax > xmin else None


class Wanted:
    """The photos that a file of ids names, a line each by id, file name or its last part; all without one.

    Attributes:
        met: the lines that named a photo so far.

    Raises:
        UserError: no such file, or nothing in it.
    """

    def __init__(self, ids: Path | None):
        self._lines: dict[str, int] | None = None
        self.met: set[str] = set()
        if ids is not None:
            self._file = Path(ids)
            try:
                lines = self._file.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"{ids}: cannot be read ({error})") from None
            self._lines = {line.strip(): number for number, line in enumerate(lines, 1) if line.strip()}
            if not self._lines:
                raise UserError(f"{ids}: expected image ids or file names, one a line")

    def has(self, image: Image) -> bool:
        if self._lines is None:
            return True
        names = {name.replace("\\", "/") for name in image.names}
        names |= {name.rpartition("/")[2] for name in names}
        found = ({image.number} | names | {name.rpartition(".")[0] for name in names}) & self._lines.keys()
        self.met |= found
        return bool(found)

    def tell(self, faults: Faults) -> None:
        """Counts the lines that name no image."""
        for line, number in self._lines.items() if self._lines is not None else ():
            if line not in self.met:
                faults.skip(
                    BadRecord("id of no image in the file", f"{self._file}:{number}", fields.shown(line))
                )
