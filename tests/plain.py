"""The public formats read in the plainest way, for comparison: the whole file at once, no fault handled.

Written from the formats' own descriptions and independent of `cmask_tf`. Every reader returns
{source id: Photo}. `written` gives the records of a set in the same form.
"""

import csv
import io
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data import schema
from cmask_tf.data.pipelines import decode_photo
from cmask_tf.data.records import RecordSet


class Thing(NamedTuple):
    name: str
    box: tuple  # ymin, xmin, ymax, xmax, 0 to 1
    mask: np.ndarray | None = None  # bool [H, W]
    crowd: bool = False


class Photo(NamedTuple):
    encoded: bytes
    height: int
    width: int
    things: list[Thing]
    tags: list[str]


def folded(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).lower()
    return " ".join(text.replace("_", " ").replace("-", " ").split())


def stored(path: Path) -> Photo:
    """A photo without annotations; its size as stored."""
    with Image.open(path) as image:
        return Photo(path.read_bytes(), image.height, image.width, [], [])


def coco(value: dict, images: Path) -> dict[str, Photo]:
    photos = {str(entry["id"]): stored(images / entry["file_name"]) for entry in value["images"]}
    names = {entry["id"]: folded(entry["name"]) for entry in value["categories"]}
    for entry in value["annotations"]:
        if str(entry["image_id"]) not in photos or entry["category_id"] not in names:
            continue
        photo = photos[str(entry["image_id"])]
        mask = _coco_mask(entry.get("segmentation"), photo.height, photo.width)
        box = _cut(entry["bbox"], photo) if entry.get("bbox") else None
        if mask is not None and not mask.any() or box is None and mask is None:
            continue
        box = box or _cut(rle.toBbox(rle.encode(np.asfortranarray(mask, np.uint8))).tolist(), photo)
        name = names[entry["category_id"]]
        photo.things.append(Thing(name, box, mask, bool(entry.get("iscrowd", 0))))
    return photos


def _coco_mask(shape, height: int, width: int) -> np.ndarray | None:
    if not shape:
        return None
    if isinstance(shape, list):
        parts = rle.frPyObjects([ring for ring in shape if len(ring) >= 6], height, width)
        return rle.decode(parts).any(axis=2)
    if isinstance(shape["counts"], list):
        shape = rle.frPyObjects(shape, height, width)
    return rle.decode(shape).astype(bool)


def open_images(rows: Iterable[dict], classes: str, images: Path) -> dict[str, Photo]:
    """Of the rows of the boxes file, as `csv.DictReader` gives them."""
    names = {label: folded(name) for label, name in csv.reader(io.StringIO(classes))}
    photos: dict[str, Photo] = {}
    for row in rows:
        image = row["ImageID"]
        if row["LabelName"] not in names:
            continue
        if image not in photos:
            photos[image] = stored(images / f"{image}.jpg")
        box = tuple(float(row[key]) for key in ("YMin", "XMin", "YMax", "XMax"))
        if box[0] < box[2] and box[1] < box[3]:
            crowd = row["IsGroupOf"] == "1"
            photos[image].things.append(Thing(names[row["LabelName"]], box, None, crowd))
    return photos


def visual_genome(records: list, image_data: list, images: Path, aliases: str = "") -> dict[str, Photo]:
    canonical: dict[str, str] = {}
    for line in aliases.splitlines():
        own, *others = map(folded, line.split(","))
        for other in (own, *others):
            canonical.setdefault(other, own)
    urls = {entry["image_id"]: entry.get("url", f"{entry['image_id']}.jpg") for entry in image_data}
    photos: dict[str, Photo] = {}
    for record in records:
        file = images / urls[record["image_id"]].rpartition("/")[2]
        photo = photos.setdefault(str(record["image_id"]), stored(file))
        for thing in record["objects"]:
            box = _cut([thing[key] for key in "xywh"], photo)
            names = [folded(folded(name).strip(".,;:!?\"'()")) for name in thing["names"]]
            for name in dict.fromkeys(canonical.get(name, name) for name in names if name):
                if box is not None:
                    photo.things.append(Thing(name, box))
    return photos


def tags(lines: Iterable[dict], images: Path) -> dict[str, Photo]:
    """Of {"image", "tags"}; the second line of a photo does not count."""
    photos: dict[str, Photo] = {}
    for line in lines:
        words = [word for word in dict.fromkeys(map(folded, line["tags"])) if word]
        key = str(Path(line["image"]).with_suffix(""))
        photos.setdefault(key, stored(images / line["image"])._replace(tags=words))
    return photos


def masks(files: Iterable[Path], images: Path, labels: dict[int, str]) -> dict[str, Photo]:
    """Of label maps PHOTO.png and of PHOTO.CONCEPT.png in one folder; photos are JPEGs."""
    photos: dict[str, Photo] = {}
    for file in sorted(files):
        stem, _, concept = file.stem.partition(".")
        photo = photos.setdefault(stem, stored(images / f"{stem}.jpg"))
        with Image.open(file) as image:
            values = np.array(image).astype(int)
        if concept:
            named = {concept: values == 1 if values.max() == 1 else values >= 128}
        else:
            named = {labels[value]: values == value for value in np.unique(values) if value in labels}
        for name, mask in named.items():
            if mask.any():
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                sides = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
                box = [side / (photo.height, photo.width)[k % 2] for k, side in enumerate(sides)]
                photo.things.append(Thing(folded(name), tuple(box), mask))
    return photos


def _cut(box: list, photo: Photo) -> tuple | None:
    """[x, y, width, height] in px, normalised and cut to the photo; None without area."""
    x, y, wide, high = box
    corners = (y / photo.height, x / photo.width, (y + high) / photo.height, (x + wide) / photo.width)
    ymin, xmin, ymax, xmax = (min(max(corner, 0), 1) for corner in corners)
    return (ymin, xmin, ymax, xmax) if ymin < ymax and xmin < xmax else None


_parse = tf.function(schema.parse, input_signature=[tf.TensorSpec([], tf.string)])


@lru_cache(100)
def decoded_size(encoded: bytes) -> tuple[int, int]:
    """(height, width) of a photo's pixels, as training decodes them."""
    return tuple(decode_photo(encoded).shape[:2])


def written(directory: Path) -> dict[str, Photo]:
    """The records of a set; it fails for one that is not sound."""
    photos: dict[str, Photo] = {}
    for serialized in tf.data.TFRecordDataset(RecordSet.open(directory).files):
        record = {key: value.numpy() for key, value in _parse(serialized).items()}
        things = zip(*(record[key] for key in ("names", "boxes", "masks", "crowd")), strict=True)
        things = [Thing(n.decode(), tuple(b.tolist()), _png(m), bool(c)) for n, b, m, c in things]
        size = int(record["height"]), int(record["width"])
        photo = Photo(record["encoded"], *size, things, [tag.decode() for tag in record["tags"]])
        check_sound(photo)
        key = record["source_id"].decode()
        assert key not in photos, "one record a photo"
        photos[key] = photo
    assert len(photos) == RecordSet.open(directory).examples
    return photos


def _png(encoded: bytes) -> np.ndarray | None:
    if not encoded:
        return None
    values = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert values.dtype == np.uint8 and values.max() <= 1
    return values.astype(bool)


def check_sound(photo: Photo) -> None:
    """What holds for every record, whatever it was made from."""
    assert decoded_size(photo.encoded) == (photo.height, photo.width)
    for name, (ymin, xmin, ymax, xmax), mask, _ in photo.things:
        assert name and name == folded(name)
        assert 0 <= ymin < ymax <= 1 and 0 <= xmin < xmax <= 1
        assert mask is None or mask.shape == (photo.height, photo.width) and mask.any()
    assert all(tag and tag == folded(tag) for tag in photo.tags)
    assert len(set(photo.tags)) == len(photo.tags)


def same(first: Thing, second: Thing) -> bool:
    """Words exactly, masks to the pixel, boxes to 1e-6."""
    return (
        (first.name, first.crowd) == (second.name, second.crowd)
        and np.allclose(first.box, second.box, rtol=0, atol=1e-6)
        and (first.mask is None) == (second.mask is None)
        and (first.mask is None or np.array_equal(first.mask, second.mask))
    )


def check_equal(records: dict[str, Photo], source: dict[str, Photo]) -> None:
    """The records say what the source says: the same photos in the same order, and all of each."""
    assert list(records) == list(source)
    for key, photo in source.items():
        record = records[key]
        assert (record.encoded, record.height, record.width) == photo[:3], key
        assert record.tags == photo.tags, key
        assert [thing.name for thing in record.things] == [thing.name for thing in photo.things], key
        for ours, theirs in zip(record.things, photo.things, strict=True):
            assert same(ours, theirs), (key, theirs.name)
