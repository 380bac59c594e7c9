"""Records of photos with masks and the attention that the frozen networks pay to their concepts (4.3).

Stage 3 trains on attention of Stages 1 and 2, which no longer change: it is computed once per photo
and scale, and once more for the mirrored photo. An attention record is a mask record (`schema`) plus

    attention/concepts  string [K]: concepts with a mask that is not a crowd's
    attention/shape     int64 [4]: rows and columns of the maps at the first and the second scale
    attention/maps      float16 bytes [2 flips][K][h1*w1 + h2*w2], row-major. The maps of the second flip
                        are those of the mirrored photo, in its own orientation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cmask_tf.data import schema

CONCEPTS = "attention/concepts"
SHAPE = "attention/shape"
MAPS = "attention/maps"


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
    return example.SerializeToString(deterministic=True)


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Reads an attention record.

    Returns:
        What `schema.parse` returns and "concepts" string [K], "shape" int64 [4] and "maps" float16
        [2, K, h1*w1 + h2*w2].
    """
    features = {
        CONCEPTS: tf.io.VarLenFeature(tf.string),
        SHAPE: tf.io.FixedLenFeature([4], tf.int64),
        MAPS: tf.io.FixedLenFeature([], tf.string),
    }
    values = tf.io.parse_single_example(serialized, features)
    concepts, shape = values[CONCEPTS].values, values[SHAPE]
    cells = shape[0] * shape[1] + shape[2] * shape[3]
    maps = tf.io.decode_raw(values[MAPS], tf.float16)
    maps = tf.reshape(maps, tf.stack([2, tf.size(concepts, tf.int64), cells]))
    return {**schema.parse(serialized), "concepts": concepts, "shape": shape, "maps": maps}


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
    flat = tf.cast(record["maps"], tf.float32)[tf.cast(flipped, tf.int64), tf.cast(concept, tf.int64)]
    first, second = tf.split(flat, tf.stack([shape[0] * shape[1], shape[2] * shape[3]]))
    return tf.reshape(first, shape[:2]), tf.reshape(second, shape[2:])


def mask_and_weight(record: dict[str, tf.Tensor], concept: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """What the network shall learn of one concept: the union of its instances, crowds left open.

    Args:
        record: what `parse` returned.
        concept: int scalar, the place in "concepts".
        size: int [2], the photo's height and width.

    Returns:
        uint8 [H, W, 2]: the mask, 0 or 1, and the weight, 0 where only a crowd of the concept is.
    """
    mine = (record["names"] == record["concepts"][concept]) & (record["masks"] != "")
    mask = _union(tf.boolean_mask(record["masks"], mine & ~record["crowd"]), size)
    crowd = _union(tf.boolean_mask(record["masks"], mine & record["crowd"]), size)
    return tf.concat([mask, 1 - crowd * (1 - mask)], axis=2)


def _union(pngs: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Instance masks, PNG string [N], as one uint8 [H, W, 1], 0 or 1."""
    empty = tf.zeros(tf.concat([size, [1]], axis=0), tf.uint8)
    return tf.minimum(tf.foldl(lambda union, png: union | tf.io.decode_png(png, channels=1), pngs, empty), 1)


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
