"""The keys of our tf.Example records, written and read here only.

They are the keys of the Object Detection API and of Model Garden, so that its TfExampleDecoder reads our
records and `parse` reads its. Three differ or come on top: `image/class/text` holds the tags;
`image/object/has_mask` tells objects without a mask from empty masks, because that decoder needs a PNG for
every object or for none; `image/object/class/label` counts from 1 in the sorted names of the record set.

Masks are 8-bit PNGs of the photo's size with values 0 and 1, as Model Garden's own converter writes them.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import tensorflow as tf
from pycocotools import mask as rle

from cmask_tf.data.sources import Annotated, Object

ENCODED = "image/encoded"
FORMAT = "image/format"
FILE_NAME = "image/filename"
SOURCE_ID = "image/source_id"
HEIGHT = "image/height"
WIDTH = "image/width"
TAGS = "image/class/text"
BOX = tuple(f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax"))
NAMES = "image/object/class/text"
LABELS = "image/object/class/label"
CROWD = "image/object/is_crowd"
AREA = "image/object/area"
MASKS = "image/object/mask"
HAS_MASK = "image/object/has_mask"


def encode(annotated: Annotated, encoded: bytes, labels: Mapping[str, int] | None = None) -> bytes:
    """One photo as a serialized tf.Example.

    Args:
        annotated: what is known of the photo; an object with a mask and no box gets the mask's box.
        encoded: the photo's JPEG or PNG bytes, stored as they are.
        labels: folded name -> number from 1, for readers that know no names; None leaves them out.
    """
    objects, height, width = annotated.objects, annotated.height, annotated.width
    boxes = [thing.box or _mask_box(thing.mask) for thing in objects]
    features = {
        ENCODED: _bytes([encoded]),
        FORMAT: _bytes([b"png" if encoded.startswith(b"\x89PNG") else b"jpeg"]),
        FILE_NAME: _bytes([annotated.image.name.encode()]),
        SOURCE_ID: _bytes([annotated.source_id.encode()]),
        HEIGHT: _ints([height]),
        WIDTH: _ints([width]),
        TAGS: _bytes(tag.encode() for tag in annotated.tags),
        NAMES: _bytes(thing.name.encode() for thing in objects),
        CROWD: _ints(thing.crowd for thing in objects),
        AREA: _floats(_area(thing, box, height, width) for thing, box in zip(objects, boxes, strict=True)),
    }
    features |= {key: _floats(box[side] for box in boxes) for side, key in enumerate(BOX)}
    if labels is not None:
        features[LABELS] = _ints(labels[thing.name] for thing in objects)
    if any(thing.mask for thing in objects):
        features[MASKS] = _bytes(_png(thing.mask, height, width) for thing in objects)
        features[HAS_MASK] = _ints(thing.mask is not None for thing in objects)
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)  # the same photo, the same bytes


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """One record, for use inside a tf.data pipeline; nothing is decoded.

    Args:
        serialized: string [].

    Returns:
        "encoded" string, "source_id" string, "height" and "width" int64, "boxes" float32 [N, 4] as
        (ymin, xmin, ymax, xmax) in 0..1, "names" string [N], "crowd" bool [N], "masks" string [N] (a PNG
        of values 0 and 1, "" where there is none) and "tags" string [T].
    """
    texts, ints, floats = (_many(dtype) for dtype in (tf.string, tf.int64, tf.float32))
    spec = {
        ENCODED: tf.io.FixedLenFeature([], tf.string),
        SOURCE_ID: tf.io.FixedLenFeature([], tf.string, ""),
        HEIGHT: tf.io.FixedLenFeature([], tf.int64),
        WIDTH: tf.io.FixedLenFeature([], tf.int64),
        **dict.fromkeys((TAGS, NAMES, MASKS), texts),
        **dict.fromkeys((CROWD, HAS_MASK), ints),
        **dict.fromkeys(BOX, floats),
    }
    values = tf.io.parse_single_example(serialized, spec)
    count = tf.size(values[NAMES])
    has_mask = _or_fill(values[HAS_MASK], count, tf.constant(1, tf.int64))
    masks = _or_fill(values[MASKS], count, tf.constant(""))
    return {
        "encoded": values[ENCODED],
        "source_id": values[SOURCE_ID],
        "height": values[HEIGHT],
        "width": values[WIDTH],
        "boxes": tf.stack([values[key] for key in BOX], axis=-1),
        "names": values[NAMES],
        "crowd": tf.cast(_or_fill(values[CROWD], count, tf.constant(0, tf.int64)), tf.bool),
        "masks": tf.where(has_mask > 0, masks, ""),
        "tags": values[TAGS],
    }


def file_name(serialized: bytes) -> str:
    """The name of the photo's file, without its folder; "" where the record does not say."""
    value = tf.train.Example.FromString(serialized).features.feature[FILE_NAME].bytes_list.value
    return value[0].decode() if value else ""


def pixels(box: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a photo under a box (ymin, xmin, ymax, xmax in 0..1), one of each at least."""
    size = np.array([height, width])
    low = np.minimum(np.rint(box[:2] * size).astype(int), size - 1)
    high = np.maximum(np.rint(box[2:] * size).astype(int), low + 1)
    return slice(low[0], high[0]), slice(low[1], high[1])


def _many(dtype: tf.DType) -> tf.io.FixedLenSequenceFeature:
    return tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)


def _or_fill(values: tf.Tensor, count: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    """`values` [N], or N times the default where the record has no such list."""
    return tf.cond(tf.size(values) > 0, lambda: values, lambda: tf.fill([count], default))


def _mask_box(mask: dict) -> tuple[float, float, float, float]:
    height, width = mask["size"]
    x, y, w, h = rle.toBbox(mask).tolist()
    return y / height, x / width, (y + h) / height, (x + w) / width


def _area(thing: Object, box: tuple[float, float, float, float], height: int, width: int) -> float:
    """In pixels: of the mask where there is one, else of the box."""
    if thing.mask:
        return float(rle.area(thing.mask))
    return (box[2] - box[0]) * height * (box[3] - box[1]) * width


def _png(mask: dict | None, height: int, width: int) -> bytes:
    pixels = rle.decode(mask) if mask else np.zeros((height, width), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def _bytes(values) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(values) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))


def _floats(values) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
