"""Masks made from boxes, for concepts of which nobody drew masks (section 3, supplement 1).

The paper's are from Deep GrabCut and were cleaned by hand. Ours are from OpenCV's GrabCut, seeded by the box,
and by a model's attention where one is given; `cmask data review` is for the cleaning. The paper evaluates on
them; who has boxes alone may train on them too. A file of them says that it is one: `"pseudo": true` in its
"info" and in each annotation.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle
from tqdm import tqdm

from cmask_tf.data.sources import PhotoFinder, read_json
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord

LONG_SIDE = 480  # px of a box's crop
MARGIN = 0.3  # of the box's sides, around it: what is surely background
ROUNDS = 5
ATTENDED = 0.2  # attention, min-max normalised in the box, from which a pixel is probably foreground
FEWEST = 0.05  # share of the box that a mask covers; below, GrabCut has failed and the box is the mask

PixelBox = tuple[float, float, float, float]  # x, y, width, height in px, as COCO has it
Attention = Callable[[np.ndarray, Sequence[str]], dict[str, np.ndarray]]


def grabcut(
    photo: np.ndarray,
    boxes: Sequence[PixelBox],
    attention: np.ndarray | None = None,
    long_side: int = LONG_SIDE,
) -> np.ndarray:
    """The mask of what is in some boxes, each cut out alone.

    Args:
        photo: uint8 RGB [H, W, 3].
        boxes: in pixels of the photo.
        attention: float [H, W], higher where the concept is more likely; None: the box is all that is known.
        long_side: px of the crop that GrabCut works on, at most.

    Returns:
        bool [H, W]; never outside the boxes.
    """
    mask = np.zeros(photo.shape[:2], bool)
    for box in boxes:
        mask |= _cut_out(photo, box, attention, long_side)
    return mask


def _cut_out(photo: np.ndarray, box: PixelBox, attention: np.ndarray | None, long_side: int) -> np.ndarray:
    height, width = photo.shape[:2]
    x, y, w, h = box
    inner = _window(x, y, x + w, y + h, height, width)
    outer = _window(x - MARGIN * w, y - MARGIN * h, x + (1 + MARGIN) * w, y + (1 + MARGIN) * h, height, width)
    inside = np.zeros((height, width), bool)
    inside[inner] = True
    crop = photo[outer]
    scale = min(1.0, long_side / max(crop.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in crop.shape[1::-1])
    seeds = np.where(cv2.resize(inside[outer].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST), 3, 0)
    seeds = seeds.astype(np.uint8)
    if attention is not None:
        _seed(seeds, cv2.resize(attention[outer].astype(np.float32), size, interpolation=cv2.INTER_AREA))
    found = _solve(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), seeds)
    mask = np.zeros((height, width), bool)
    mask[outer] = cv2.resize(found, crop.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    mask &= inside
    return mask if mask.sum() >= FEWEST * inside.sum() else inside


def _window(
    left: float, top: float, right: float, bottom: float, height: int, width: int
) -> tuple[slice, slice]:
    """Whole pixels that a box touches, at least one, cut to the photo."""
    top, left = min(max(int(top), 0), height - 1), min(max(int(left), 0), width - 1)
    return slice(top, max(top + 1, min(height, int(np.ceil(bottom))))), slice(
        left, max(left + 1, min(width, int(np.ceil(right))))
    )


def _seed(seeds: np.ndarray, attention: np.ndarray) -> None:
    """Inside the box: probably foreground where attention is high, else probably background."""
    inside = seeds > 0
    values = attention[inside]
    span = np.ptp(values)
    if span > 0:
        share = (attention - values.min()) / span
        seeds[inside & (share < ATTENDED)] = cv2.GC_PR_BGD


def _solve(crop: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """uint8 [h, w], 1 where GrabCut says foreground; with nothing to tell apart, the probable foreground."""
    foreground = (seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)
    if foreground.all() or not foreground.any():
        return foreground.astype(np.uint8)
    cv2.setRNGSeed(0)  # GrabCut begins with k-means
    models = np.zeros((2, 1, 65))
    cv2.grabCut(crop, seeds, None, models[0], models[1], ROUNDS, cv2.GC_INIT_WITH_MASK)
    return ((seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)).astype(np.uint8)


def seeds_of(segmenter) -> Attention:
    """A model's attention as seeds: the mean of both scales, each min-max normalised, at the photo's size.

    Args:
        segmenter: a `ConceptSegmenter`. Words that it does not know get no map: their boxes seed alone.
    """

    def attend(photo: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        known = [name for name in names if segmenter.vocabulary.find(name) is not None]
        if not known:
            return {}
        scales = segmenter.attention(known, segmenter.encode(photo))
        size = photo.shape[1::-1]
        return {
            name: np.mean([cv2.resize(_unit(scale[k]), size) for scale in scales], axis=0)
            for k, name in enumerate(known)
        }

    return attend


def _unit(values: np.ndarray) -> np.ndarray:
    span = np.ptp(values)
    return (values - values.min()) / span if span else np.zeros_like(values)


@dataclass(frozen=True)
class _Photo:
    """One entry of "images", with its annotations by category."""

    entry: dict
    path: Path
    found: dict[int, list[dict]]


def make_pseudo_masks(
    boxes: Path, images: Path, out: Path, attention: Attention | None = None
) -> tuple[int, int]:
    """Writes one mask a (photo, concept) in COCO's format; masks that the file has already stay as they are.

    Args:
        boxes: a COCO file with bbox, in pixels, `level` and `kind` of whose categories are kept; or a record
            set of boxes.
        images: the folder of photos.
        out: the file to write.
        attention: what `seeds_of` returned, or None.

    Returns:
        Masks made, masks kept.

    Raises:
        UserError: a photo is not there, or the file is not as COCO's are.
    """
    boxes = Path(boxes)
    content = _of_records(boxes) if boxes.is_dir() else read_json(boxes, dict, "a COCO object")
    names, photos = _load(boxes, content, Path(images))
    annotations, made = [], 0
    for photo in tqdm(photos, "pseudo masks", delay=2, unit="photo"):
        for annotation in _annotations(photo, names, attention):
            made += annotation["pseudo"]
            annotations.append({"id": len(annotations) + 1} | annotation)
    method = "OpenCV GrabCut seeded by boxes" + (" and attention" if attention else "")
    info = {"description": "pseudo masks", "pseudo": True, "method": method}
    images_and_names = {key: content[key] for key in ("images", "categories")}
    write_json(Path(out), {"info": info, **images_and_names, "annotations": annotations})
    return made, len(annotations) - made


def read_stored(path: Path) -> np.ndarray:
    """A photo's pixels as they are stored, which is what boxes and masks refer to: uint8 RGB [H, W, 3].

    Raises:
        UserError: not an image.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise UserError(f"{path}: not an image; expected a JPEG, PNG or other picture")
    return pixels


def write_json(path: Path, content: dict) -> None:
    """Writes a file beside and renames it.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def _of_records(directory: Path) -> dict:
    """The boxes of a record set as the content of a COCO file.

    Raises:
        UserError: it is not a finished record set, or has no boxes, or masks already.
    """
    import tensorflow as tf  # only here: a COCO file needs none

    from cmask_tf.data import schema
    from cmask_tf.data.records import RecordSet

    records = RecordSet.open(directory)
    if records.level != "box":
        raise UserError(f"{directory}: a record set of level {records.level}; expected one with boxes alone")
    number = {name: k for k, name in enumerate(sorted(records.concepts), start=1)}
    images: list[dict] = []
    annotations: list[dict] = []
    for serialized in tf.data.TFRecordDataset(records.files).as_numpy_iterator():
        record = schema.parse(serialized)
        height, width = int(record["height"]), int(record["width"])
        size = {"height": height, "width": width}
        images.append({"id": len(images) + 1, "file_name": schema.file_name(serialized), **size})
        for name, box in zip(record["names"].numpy(), record["boxes"].numpy().tolist(), strict=True):
            top, left, bottom, right = box
            corner_and_size = [left * width, top * height, (right - left) * width, (bottom - top) * height]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": number[name.decode()],
                    "bbox": corner_and_size,
                }
            )
    categories = [{"id": k, "name": name} for name, k in number.items()]
    return {"images": images, "categories": categories, "annotations": annotations}


def _load(path: Path, content: dict, images: Path) -> tuple[dict[int, str], list[_Photo]]:
    """Category names, and the photos; everything is checked before any work."""
    finder = PhotoFinder(images)
    try:
        names = {category["id"]: category["name"] for category in content["categories"]}
        photos = {
            entry["id"]: _Photo(
                entry, finder.find(entry["file_name"], f"{path}: image {entry['id']}"), defaultdict(list)
            )
            for entry in content["images"]
        }
        for entry in content["annotations"]:
            where = f"{path}: annotation {entry.get('id')}"
            if entry["category_id"] not in names or entry["image_id"] not in photos:
                raise UserError(f"{where}: expected an image and a category of the file")
            _check(entry, where)
            photos[entry["image_id"]].found[entry["category_id"]].append(entry)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: expected images, categories and annotations as COCO has them ({error})"
        ) from None
    except BadRecord as bad:
        raise UserError(str(bad)) from None
    return names, list(photos.values())


def _check(entry: dict, where: str) -> None:
    box = entry.get("bbox")
    if entry.get("segmentation"):
        return
    if not (isinstance(box, list) and len(box) == 4 and np.isfinite(box).all() and min(box[2:]) > 0):
        raise UserError(f"{where}: expected bbox [x, y, width, height] in pixels, not {box!r:.80}")


def _annotations(photo: _Photo, names: dict[int, str], attention: Attention | None) -> Iterator[dict]:
    size = photo.entry["height"], photo.entry["width"]
    unmasked = [c for c, entries in photo.found.items() if not all(e.get("segmentation") for e in entries)]
    pixels = read_stored(photo.path) if unmasked else None
    if pixels is not None and pixels.shape[:2] != size:
        raise UserError(
            f"{photo.path}: {pixels.shape[1]} x {pixels.shape[0]}, annotated as {size[1]} x {size[0]}"
        )
    maps = attention(pixels, [names[c] for c in unmasked]) if attention and unmasked else {}
    for category, entries in photo.found.items():
        boxes = [entry["bbox"] for entry in entries if not entry.get("segmentation")]
        drawn = [_rle(entry["segmentation"], size) for entry in entries if entry.get("segmentation")]
        if boxes:
            mask = grabcut(pixels, boxes, maps.get(names[category]))
            drawn.append(rle.encode(np.asfortranarray(mask, np.uint8)))
        yield _entry(photo.entry["id"], category, rle.merge(drawn), bool(boxes), boxes)


def _rle(shape: dict | list, size: tuple[int, int]) -> dict:
    if isinstance(shape, list):
        return rle.merge(rle.frPyObjects(shape, *size))
    if isinstance(shape["counts"], list):
        return rle.frPyObjects(shape, *size)
    return shape


def _entry(image: int, category: int, mask: dict, pseudo: bool, boxes: list) -> dict:
    counts = mask["counts"]
    found = {
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "pseudo": pseudo,
        "segmentation": {
            "size": mask["size"],
            "counts": counts.decode() if isinstance(counts, bytes) else counts,
        },
        "area": float(rle.area(mask)),
        "bbox": rle.toBbox(mask).tolist(),
    }
    return found | ({"boxes": boxes} if boxes else {})
