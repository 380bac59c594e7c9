"""Our records as Model Garden's Mask R-CNN parser wants them.

Its own decoder reads our records (`data/schema.py`), but not two record sets together: each counts its own
labels, and photos without any mask would have boxes for which no mask can be gathered.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from cmask_tf.data import schema
from cmask_tf.detectors.classes import Classes


def decoder(classes: Classes) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """serialized record -> what `TfExampleDecoder.decode` returns of it, with classes of both sets.

    "image" uint8 [H, W, 3], "groundtruth_boxes" float32 [N, 4], "groundtruth_classes" int64 [N],
    "groundtruth_is_crowd" bool [N] and "groundtruth_instance_masks" float32 [N, H, W]. An object of which
    there is no mask has zeros; in a photo without any, all are [N, 1, 1]. Names of no class are left out.
    """
    numbers = classes.numbers()
    keys, values = list(numbers), list(numbers.values())
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(keys, tf.constant(values, tf.int64)), default_value=0
    )

    def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        row = schema.parse(serialized)
        ids = table.lookup(row["names"])
        known = ids > 0
        image = tf.io.decode_image(row["encoded"], channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        return {
            "source_id": row["source_id"],
            "image": image,
            "height": row["height"],
            "width": row["width"],
            "groundtruth_classes": ids[known],
            "groundtruth_boxes": row["boxes"][known],
            "groundtruth_is_crowd": row["crowd"][known],
            "groundtruth_instance_masks": _masks(row["masks"][known], row["height"], row["width"]),
        }

    return decode


def _masks(pngs: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """float32 [N, H, W] of 0 and 1; [N, 1, 1] of zeros where no object has a mask."""

    def one(png: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            png == "",
            lambda: tf.zeros(tf.stack([height, width]), tf.float32),
            lambda: tf.cast(tf.io.decode_png(png, channels=1)[..., 0] > 0, tf.float32),
        )

    masks = tf.cond(
        tf.reduce_any(pngs != ""),
        lambda: tf.map_fn(one, pngs, fn_output_signature=tf.TensorSpec([None, None], tf.float32)),
        lambda: tf.zeros([tf.size(pngs), 1, 1]),
    )
    masks.set_shape([None, None, None])
    return masks
