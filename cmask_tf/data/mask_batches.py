"""Batches with the masks of whole photos, for networks that do not ask for a concept (the trained baselines).

Photos, masks and their augmentation are those of Stage 3 (`pipelines`), but an example is a photo with all
its masks, not a photo and one concept.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.data import pipelines, schema
from cmask_tf.data.order import Order, Records, serialized
from cmask_tf.data.topics import name_table

_NOWHERE = -1  # a plane that does not exist: `unsorted_segment_max` leaves it out


def mask_batches(
    records: Records, planes: Mapping[str, int], size: int, batch: int, **order
) -> tf.data.Dataset:
    """A photo and what lies on each plane of it: the union of the masks of the plane's names.

    Args:
        records: one example per photo.
        planes: folded name -> plane, 0 to P - 1; objects of other names, and without a mask, are left out.
        size: side of the square photo, S.
        batch: photos per batch, B.
        order: the fields of `order.Order`.

    Returns:
        Batches of "image" float32 [B, S, S, 3] in 0..255; "mask" bool [B, S, S, P]; "weight" bool
        [B, S, S, P], False where a plane has crowds and no mask.
    """
    table, count, order = name_table(planes), max(planes.values()) + 1, Order(**order)

    def example(index: tf.Tensor, one: tf.Tensor) -> dict[str, tf.Tensor]:
        record = schema.parse(one)
        ids = table.lookup(record["names"])
        used = (ids >= 0) & (record["masks"] != "")
        masks = _decoded(tf.boolean_mask(record["masks"], used), record)
        slots = tf.pad(tf.boolean_mask(ids, used), [[0, 1]], constant_values=_NOWHERE)
        crowd = tf.pad(tf.boolean_mask(record["crowd"], used), [[0, 1]])
        single = tf.reduce_any(masks & ~crowd, axis=-1, keepdims=True)
        photo = pipelines.Photo(record, order, index, single)
        # Labels keep the values of single pixels: what is united when it is small is united all the same.
        small = tf.transpose(geometry.resize_labels(photo.planes(tf.cast(masks, tf.uint8)), size), (2, 0, 1))
        mask, crowds = (
            _united(tf.boolean_mask(small, rows), tf.boolean_mask(slots, rows), count)
            for rows in (~crowd, crowd)
        )
        return {"image": photo.image(size), "mask": mask, "weight": mask | ~crowds}

    shapes = {"image": [size, size, 3], "mask": [size, size, count], "weight": [size, size, count]}
    return pipelines.assembled(serialized(records, order), example, order, batch, shapes)


def _decoded(pngs: tf.Tensor, record: dict[str, tf.Tensor]) -> tf.Tensor:
    """bool [H, W, N + 1] from N PNGs; the last is empty, so that there always is one."""
    height, width = (tf.cast(record[side], tf.int32) for side in ("height", "width"))
    empty = tf.io.encode_png(tf.zeros(tf.stack([height, width, 1]), tf.uint8))
    masks = tf.map_fn(
        lambda png: tf.io.decode_png(png, channels=1)[..., 0],
        tf.concat([pngs, [empty]], axis=0),
        fn_output_signature=tf.TensorSpec([None, None], tf.uint8),
    )
    return tf.transpose(masks, (1, 2, 0)) > 0


def _united(masks: tf.Tensor, slots: tf.Tensor, count: int) -> tf.Tensor:
    """bool [S, S, count] from masks uint8 [N, S, S] and their planes int32 [N]."""
    united = tf.math.unsorted_segment_max(masks, slots, count)
    return tf.transpose(united, (1, 2, 0)) > 0
