"""Visual Genome objects (OIVG-750, paper section 3): boxes in pixels with free names.

Reads objects.json of version 1.2 and of its relatives (`name` for `names`, `id` for `image_id`). Of several
names the first counts; the aliases file folds a name to the first one of its line. Both JSON files are held
in memory while they are read.
"""

from __future__ import annotations

import math
from pathlib import Path

from cmask_tf.data.sources import Annotations, Box, BoxTable, clip_box, read_json, read_text
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.text import fold


def read_visual_genome(
    objects: Path, image_data: Path, images: Path, aliases: Path | None = None
) -> Annotations:
    """Every photo of a Visual Genome objects file. Boxes are cut to the photo.

    Args:
        objects: objects.json.
        image_data: image_data.json: the sizes and URLs of the photos.
        images: the folder of photos, with or without the folders of the URL (VG_100K, VG_100K_2).
        aliases: object_alias.txt: a line a concept, names between commas, the concept's own name first.

    Raises:
        UserError: a photo is not there, or a record is not as Visual Genome's are.
    """
    table = BoxTable(images)
    add_visual_genome(table, objects, image_data, aliases)
    return table.annotations()


def add_visual_genome(table: BoxTable, objects: Path, image_data: Path, aliases: Path | None = None) -> None:
    """Reads the boxes into a table; see `read_visual_genome`."""
    canonical = read_aliases(aliases) if aliases else {}
    sizes = _image_data(Path(image_data))
    for record in read_json(objects, list, "a list of images with objects"):
        number = _image_id(record, objects)
        where = f"{objects}: image {number}"
        if number not in sizes:
            raise UserError(f"{where}: not in {image_data}")
        url, height, width = sizes[number]
        row = table.photo(table.finder.find(url, where), str(number))
        things = record.get("objects")
        if not isinstance(things, list):
            raise UserError(f"{where}: expected a list of objects")
        for thing in things:
            name = _name(thing, where)
            if name:
                table.add(row, canonical.get(name, name), _box(thing, height, width, where))
            else:
                table.skipped["object without a name"] += 1


def read_aliases(path: Path) -> dict[str, str]:
    """Folded alias -> folded name of its concept. A name in several lines belongs to the first.

    Raises:
        UserError: no such file, or a line that begins with a comma.
    """
    canonical: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        names = [fold(name) for name in line.split(",")]
        if line.strip() and not names[0]:
            raise UserError(f"{path}:{number}: expected the concept's own name first")
        for name in filter(None, names):
            canonical.setdefault(name, canonical.get(names[0], names[0]))
    return canonical


def _image_data(path: Path) -> dict[int, tuple[str, int, int]]:
    sizes = {}
    for record in read_json(path, list, "a list of images"):
        number = _image_id(record, path)
        height, width = record.get("height"), record.get("width")
        if not all(isinstance(side, int) and side > 0 for side in (height, width)):
            raise UserError(f"{path}: image {number}: expected height and width in pixels")
        url = record.get("url") or f"{number}.jpg"
        if not isinstance(url, str):
            raise UserError(f"{path}: image {number}: expected url, a text")
        sizes[number] = url, height, width
    return sizes


def _image_id(record: dict, path: Path) -> int:
    number = record.get("image_id", record.get("id")) if isinstance(record, dict) else None
    if not isinstance(number, int):
        raise UserError(f"{path}: expected image_id, a number, in {record!r:.80}")
    return number


def _name(thing: dict, where: str) -> str:
    if not isinstance(thing, dict):
        raise UserError(f"{where}: expected an object, not {thing!r:.80}")
    names = thing.get("names", thing.get("name", []))
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: object {thing.get('object_id')}: names is a list of texts")
    return next(filter(None, map(fold, names)), "")


def _box(thing: dict, height: int, width: int, where: str) -> Box:
    values = [thing.get(key) for key in "xywh"]
    # json reads NaN and Infinity
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise UserError(f"{where}: object {thing.get('object_id')}: expected x, y, w, h in pixels")
    x, y, w, h = values
    return clip_box(y / height, x / width, (y + h) / height, (x + w) / width)
