"""Records of photos with masks and the attention that the frozen networks pay to their concepts (4.3).

Stage 3 trains on attention of Stages 1 and 2, which no longer change: it is computed once per photo
and scale, and once more for the mirrored photo. So are the unions of a concept's masks, which may be many
PNGs. An attention record is a mask record (`schema`) without its masks, plus

    attention/concepts  string [K]: concepts with a mask that is not a crowd's, or with boxes alone
    attention/shape     int64 [4]: rows and columns of the maps at the first and the second scale
    attention/maps      float16 bytes [2 flips][K][h1*w1 + h2*w2], row-major. The maps of the second flip
                        are those of the mirrored photo, in its own orientation.
    attention/labels    string [K]: PNGs of the photo's size: MASK in any instance of the concept, else
                        CROWD in any of its crowds, else 0; of a concept without masks BOX in its boxes
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from cmask_tf.data import schema

CONCEPTS = "attention/concepts"
SHAPE = "attention/shape"
MAPS = "attention/maps"
LABELS = "attention/labels"
MASK, CROWD, BOX = 1, 2, 3


def encode(serialized: bytes, concepts: Sequence[str], maps: Sequence[np.ndarray]) -> bytes:
    """Adds attention to a mask record.

    Args:
        serialized: the tf.Example of the mask record.
        concepts: K names.
        maps: for each of the two scales an array [2, K, h, w], photo and mirrored photo.

    Returns:
        The serialized tf.Example with the fields above.
    """
    first, second = (np.asarray(m, np.float16) for m in maps)
    for array in (first, second):
        if array.ndim != 4 or array.shape[:2] != (2, len(concepts)):
            raise ValueError(f"attention maps of shape {array.shape}; expected (2, {len(concepts)}, h, w)")
    flat = np.concatenate([m.reshape(*m.shape[:2], m.shape[2] * m.shape[3]) for m in (first, second)], axis=2)
    example = tf.train.Example.FromString(serialized)
    feature = example.features.feature
    feature[CONCEPTS].bytes_list.value[:] = [name.encode() for name in concepts]
    feature[SHAPE].int64_list.value[:] = first.shape[2:] + second.shape[2:]
    feature[MAPS].bytes_list.value[:] = [flat.tobytes()]
    feature[LABELS].bytes_list.value[:] = _labels(serialized, concepts)
    for key in (schema.MASKS, schema.HAS_MASK):
        feature.pop(key, None)
    return example.SerializeToString(deterministic=True)


def _labels(serialized: bytes, concepts: Sequence[str]) -> list[bytes]:
    """What the network shall learn of each concept, as PNGs."""
    record = {name: value.numpy() for name, value in schema.parse(serialized).items()}
    shape = int(record["height"]), int(record["width"])
    labels = {name.encode(): np.zeros(shape, np.uint8) for name in concepts}
    masked = {name for name, png in zip(record["names"], record["masks"], strict=True) if png}
    objects = zip(*(record[key] for key in ("names", "masks", "crowd", "boxes")), strict=True)
    for name, png, crowd, box in objects:
        if name not in labels:
            continue
        mine = labels[name]
        if png:
            inside = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) > 0
            mine[inside & (mine != MASK)] = CROWD if crowd else MASK
        elif name not in masked and not crowd:
            mine[schema.pixels(box, *shape)] = BOX
    return [cv2.imencode(".png", labels[name.encode()])[1].tobytes() for name in concepts]


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Reads an attention record.

    Returns:
        "encoded" string, "height" and "width" int64, "concepts" string [K], "shape" int64 [4], "maps"
        float16 [2, K, h1*w1 + h2*w2] and "labels" string [K].
    """
    features = {
        **{key: tf.io.FixedLenFeature([], tf.string) for key in (schema.ENCODED, MAPS)},
        **{key: tf.io.FixedLenFeature([], tf.int64) for key in (schema.HEIGHT, schema.WIDTH)},
        **dict.fromkeys((CONCEPTS, LABELS), tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)),
        SHAPE: tf.io.FixedLenFeature([4], tf.int64),
    }
    values = tf.io.parse_single_example(serialized, features)
    concepts, shape = values[CONCEPTS], values[SHAPE]
    cells = shape[0] * shape[1] + shape[2] * shape[3]
    maps = tf.io.decode_raw(values[MAPS], tf.float16)
    return {
        "encoded": values[schema.ENCODED],
        "height": values[schema.HEIGHT],
        "width": values[schema.WIDTH],
        "concepts": concepts,
        "shape": shape,
        "maps": tf.reshape(maps, tf.stack([2, tf.size(concepts, tf.int64), cells])),
        "labels": values[LABELS],
    }


def map_shapes(files: Sequence[str]) -> tuple[list[int], list[int]]:
    """[h1, w1] and [h2, w2], which all records of a job have in common, from the first one."""
    for serialized in tf.data.TFRecordDataset(list(files)).take(1):
        shape = parse(serialized)["shape"].numpy().tolist()
        return shape[:2], shape[2:]
    return [1, 1], [1, 1]


def maps_of(
    record: dict[str, tf.Tensor], concept: tf.Tensor, flipped: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The raw maps of one concept at both scales.

    Args:
        record: what `parse` returned.
        concept: int scalar, the place in "concepts".
        flipped: bool scalar, whether the mirrored photo's are wanted.

    Returns:
        float32 [h1, w1] and [h2, w2].
    """
    shape = record["shape"]
    flat = record["maps"][tf.cast(flipped, tf.int64), tf.cast(concept, tf.int64)]
    flat = tf.cast(flat, tf.float32)
    first, second = tf.split(flat, tf.stack([shape[0] * shape[1], shape[2] * shape[3]]))
    return tf.reshape(first, shape[:2]), tf.reshape(second, shape[2:])


def labels_of(record: dict[str, tf.Tensor], concept: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, 1]: MASK, CROWD or 0 at each pixel; `concept` is the place in "concepts"."""
    return tf.io.decode_png(record["labels"][concept], channels=1)


def pairs(records: tf.data.Dataset) -> tf.data.Dataset:
    """Turns serialized records into (serialized, place of the concept int64), one per concept, in order."""

    def of_record(serialized: tf.Tensor) -> tf.data.Dataset:
        features = {CONCEPTS: tf.io.VarLenFeature(tf.string)}
        names = tf.io.parse_single_example(serialized, features)[CONCEPTS].values
        places = tf.data.Dataset.range(tf.size(names, tf.int64))
        return places.map(lambda place: (serialized, place))

    return records.flat_map(of_record)


def count_pairs(files: Sequence[str]) -> int:
    """The number of (photo, concept) pairs in attention records; reads every file once."""
    examples = pairs(tf.data.TFRecordDataset(list(files)))
    return int(examples.reduce(np.int64(0), lambda total, _: total + 1))
