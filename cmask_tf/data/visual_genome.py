"""Visual Genome objects (OIVG-750, paper section 3): boxes in pixels with free names.

Reads objects.json and image_data.json of version 1.0 to 1.4 (`name` for `names`, `id` for `image_id`,
objects as a list or by their ids). Synsets, merged ids and scores are not read. Both files are streamed:
93 MB (700,000 objects) take 11 s, so the 400 MB of the real file about a minute.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from cmask_tf.data import fields
from cmask_tf.data.filling import OF_LEFT_OUT, add_photo, find_any, through_spool
from cmask_tf.data.sources import Annotations, PhotoFinder, clip_box, read_text
from cmask_tf.data.spool import Spool
from cmask_tf.data.streams import json_entries
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.text import fold

IDS = ("image_id", "id")


@dataclass(frozen=True)
class Thing:
    """An object of the file: its distinct cleaned names, and (x, y, width, height) in px, of any sign."""

    names: tuple[str, ...]
    box: tuple[float, float, float, float]
    where: str


def read_visual_genome(
    objects: Path, image_data: Path, images: Path, work: Path, faults: Faults, aliases: Path | None = None
) -> Annotations:
    """Every photo of a Visual Genome objects file, in its order. Boxes are cut to the photo.

    An object with several names becomes one object for each distinct concept among them.

    Args:
        objects: objects.json, also .gz.
        image_data: image_data.json: the sizes and URLs of the photos.
        images: the folder of photos, with or without the folders of the URL (VG_100K, VG_100K_2).
        work: a folder for the spool; what an earlier run finished there is taken as it is.
        faults: counts what is bad.
        aliases: object_alias.txt: a line a concept, names between commas, the concept's own name first.

    Raises:
        UserError: the files are not as Visual Genome's are, or too many of their records.
    """
    return through_spool(
        work, faults, lambda spool: fill_visual_genome(spool, objects, image_data, images, faults, aliases)
    )


def fill_visual_genome(
    spool: Spool, objects: Path, image_data: Path, images: Path, faults: Faults, aliases: Path | None = None
) -> None:
    """Reads the boxes into a spool; see `read_visual_genome`."""
    objects, image_data, finder = Path(objects), Path(image_data), PhotoFinder(images)
    canonical = read_aliases(aliases) if aliases else {}
    _fill_sizes(spool, image_data, faults)
    for number, record in enumerate(json_entries(objects), 1):
        where = fields.place(objects, "image", record, IDS, number)
        try:
            fill_record(spool, record, image_data, finder, canonical, faults, where)
        except BadRecord as bad:
            faults.skip(bad)


def fill_record(
    spool: Spool,
    record: object,
    image_data: Path,
    finder: PhotoFinder,
    canonical: dict[str, str],
    faults: Faults,
    where: str,
) -> None:
    """Adds a record of objects.json to a spool that has its size; `canonical` is of `read_aliases`.

    Raises:
        BadRecord: broken, or its photo or size is not there: its objects are left out.
    """
    things = parse_objects(record, where)
    try:
        photo = _photo(spool, record, image_data, finder, where)
    except BadRecord:
        for thing in things:
            faults.leave_out(OF_LEFT_OUT, thing.where)
        raise
    for thing in things:
        _fill_thing(spool, photo, thing, canonical, faults)


def parse_size(record: object, where: str) -> tuple[str, str, int, int]:
    """(image id, URL or file name, height, width in px) of a record of image_data.json.

    Raises:
        BadRecord: it has no id or no size.
    """
    record = fields.mapping(record, where)
    number = fields.identifier(record, IDS, where)
    height, width = fields.size(record, where)
    url = f"{number}.jpg" if record.get("url") is None else fields.text(record["url"], "url", where)
    return number, url, height, width


def parse_objects(record: object, where: str) -> list[Thing | BadRecord]:
    """The objects of a record of objects.json; a broken one is its BadRecord, in its place.

    Raises:
        BadRecord: the record has no id, or no objects.
    """
    record = fields.mapping(record, where)
    fields.identifier(record, IDS, where)
    things = record.get("objects")
    if isinstance(things, dict):
        things = list(things.values())
    if not isinstance(things, list):
        raise BadRecord("expected a list of objects", where, fields.shown(things))
    found: list[Thing | BadRecord] = []
    for number, thing in enumerate(things, 1):
        try:
            found.append(
                parse_object(thing, fields.place(where, "object", thing, ("object_id", "id"), number))
            )
        except BadRecord as bad:
            found.append(bad)
    return found


def parse_object(thing: object, where: str) -> Thing:
    """One object; its names may be none.

    Raises:
        BadRecord: names that are no texts, or no box in px.
    """
    thing = fields.mapping(thing, where)
    names = thing.get("names", thing.get("name", []))
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRecord("names is a list of texts", where, fields.shown(names))
    box = tuple(thing.get(key) for key in "xywh")
    if not all(map(fields.is_pixels, box)):
        raise BadRecord("expected x, y, w, h in pixels", where, fields.shown(box))
    cleaned = (clean(fields.text(name, "names", where)) for name in names if name.strip())
    return Thing(tuple(dict.fromkeys(filter(None, cleaned))), box, where)


def clean(name: str) -> str:
    """A folded name without the punctuation around it: " A man." is "a man". Twice is like once."""
    name, before = fold(name), None
    while name != before:
        before = name
        if name and unicodedata.category(name[0])[0] == "P":
            name = name[1:].strip()
        if name and unicodedata.category(name[-1])[0] == "P":
            name = name[:-1].strip()
    return name


def read_aliases(path: Path) -> dict[str, str]:
    """Cleaned alias -> cleaned name of its concept. A name in several lines belongs to the first.

    Raises:
        UserError: no such file, or a line that begins with a comma.
    """
    canonical: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        names = [clean(name) for name in line.split(",")]
        if line.strip() and not names[0]:
            raise UserError(f"{path}:{number}: expected the concept's own name first")
        for name in filter(None, names):
            canonical.setdefault(name, canonical.get(names[0], names[0]))
    return canonical


def _fill_sizes(spool: Spool, path: Path, faults: Faults) -> None:
    for number, record in enumerate(json_entries(path), 1):
        try:
            fill_size(spool, path, record, fields.place(path, "image", record, IDS, number))
        except BadRecord as bad:
            faults.skip(bad)


def fill_size(spool: Spool, path: Path, record: object, where: str) -> None:
    """Adds a record of image_data.json to a spool.

    Raises:
        BadRecord: broken, or a second one of its id.
    """
    image, *photo = parse_size(record, where)
    if spool.note(_key(path, image)) is not None:
        raise BadRecord("expected one entry an image id", where)
    spool.add_note(_key(path, image), photo)


def _photo(
    spool: Spool, record: dict, image_data: Path, finder: PhotoFinder, where: str
) -> tuple[int, int, int]:
    """(row, height, width) of a record's photo; the row is looked up once."""
    number = fields.identifier(record, IDS, where)
    key = _key(image_data, number)
    known = spool.note(key)
    if known is None:
        raise BadRecord("image is not in the image data", where, f"expected in {image_data}")
    given, height, width = known
    if isinstance(given, str):
        path = find_any(finder, (given,), where)
        given = add_photo(spool, path, number, (height, width), where)
        spool.add_note(key, (given, height, width))
    return given, height, width


def _fill_thing(
    spool: Spool,
    photo: tuple[int, int, int],
    thing: Thing | BadRecord,
    canonical: dict[str, str],
    faults: Faults,
) -> None:
    if isinstance(thing, BadRecord):
        faults.skip(thing)
        return
    row, height, width = photo
    x, y, wide, high = thing.box
    box = clip_box(y / height, x / width, (y + high) / height, (x + wide) / width)
    if not thing.names:
        faults.leave_out("object without a name", thing.where)
    elif box[2] <= box[0] or box[3] <= box[1]:
        faults.leave_out("box without area", thing.where)
    else:
        for name in dict.fromkeys(canonical.get(name, name) for name in thing.names):
            spool.add(row, name, box)
        faults.read()


def _key(path: Path, image: str) -> str:
    return f"{path} image {image}"
