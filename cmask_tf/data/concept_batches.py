"""Stage 3's photos with several of their concepts at a time, for a network that encodes the image once (4.3).

The pairs of `pipelines.segmentation_batches` decode and encode a photo once for each of its concepts. Here an
example is a photo; photo, masks and attention of all concepts are cut, mirrored and lit alike.
"""

from __future__ import annotations

import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.data import attention_records, augment
from cmask_tf.data.order import Order, Records, serialized
from cmask_tf.data.pipelines import Example, Photo, assembled, draw_attention
from cmask_tf.data.topics import sample

_OF_CONCEPTS = 3  # folded into an example's seed; `augment` and `pipelines` have 1 and 2
_NONE = -1


def concept_batches(
    records: Records,
    size: int,
    batch: int,
    concepts: int = 0,
    noise: float = 0.0,
    **order,
) -> tf.data.Dataset:
    """Batches for Stage 3 of `lite`: one example per photo of the attention records.

    The mask of a concept is the union of its instances; its crowd regions have no weight in the loss.

    Args:
        records: attention records.
        size: side of the square photo, S.
        batch: photos per batch, B.
        concepts: of a photo, at most, in training drawn anew each epoch; 0: all of them.
        noise: standard deviation of the smooth noise that training adds to the attention in [0, 1].
        order: the fields of `order.Order`.

    Returns:
        Batches of "image" float32 [B, S, S, 3] in 0..255; "concepts" int32 [B, K], the place of each concept
        in its record, -1 for none, and in training for one of which the cut leaves less than a quarter;
        "attention" float32 [B, K, S, S, 2], each scale min-max normalised; "mask" and "weight" bool
        [B, K, S, S, 1]; "boxed" bool [B, K], whose "mask" are boxes. K is at least 1.
    """
    order = Order(**order)

    def example(index: tf.Tensor, one: tf.Tensor) -> Example:
        record = attention_records.parse(one)
        places = tf.range(tf.size(record["concepts"]))
        if concepts and order.train:
            seed = augment.example_seed(order.seed, order.epoch, index)
            places = sample(places, concepts, tf.random.fold_in(seed, _OF_CONCEPTS))
        labels = _labels(record, places)
        shown = tf.reduce_any(_inside(labels), axis=-1, keepdims=True)
        photo = Photo(record, order, index, shown)
        seen = photo.planes(labels)
        kept = _kept(labels, seen) if order.train else tf.fill(tf.shape(labels)[2:], True)
        first, second = _maps(record, places, photo.flipped())
        count = tf.shape(labels)[2]
        return {
            "image": photo.image(size),
            "concepts": tf.where(kept, _or_none(places), _NONE),
            "labels": tf.transpose(geometry.resize_labels(seen, size), (2, 0, 1)),
            "first": tf.ensure_shape(first, shapes["first"]),
            "second": tf.ensure_shape(second, shapes["second"]),
            "window": photo.window(),
            "noise": tf.reshape(photo.noise(noise, 2 * count), [count, 2, *augment.GRID]),
        }

    def finish(batch: Example) -> Example:
        return _finished(batch, size, order.train)

    shapes = {"image": [size, size, 3], "concepts": [None], "labels": [None, size, size]}
    first, second = attention_records.map_shapes(records.files)
    shapes |= {"first": [None, *first], "second": [None, *second]}
    shapes |= {"window": [4], "noise": [None, 2, *augment.GRID]}
    return assembled(serialized(records, order), example, order, batch, shapes, finish)


def _finished(batch: Example, size: int, train: bool) -> Example:
    """Attention and masks of a whole batch at a time."""
    labels, count = batch.pop("labels")[..., tf.newaxis], tf.shape(batch["concepts"])[1]
    window, grids = tf.repeat(batch.pop("window"), count, axis=0), _joined(batch.pop("noise"))
    maps = [_joined(batch.pop(scale)) for scale in ("first", "second")]
    attention = draw_attention(maps, window, grids, size, train)
    return batch | {
        "attention": tf.reshape(attention, [-1, count, size, size, 2]),
        "mask": _inside(labels),
        "boxed": tf.reduce_any(labels == attention_records.BOX, axis=(2, 3, 4)),
        "weight": (labels != attention_records.CROWD) & (batch["concepts"] >= 0)[..., None, None, None],
    }


def _inside(labels: tf.Tensor) -> tf.Tensor:
    return (labels == attention_records.MASK) | (labels == attention_records.BOX)


def _labels(record: Example, places: tf.Tensor) -> tf.Tensor:
    """uint8 [H, W, K] of the concepts at places int32 [K], as `attention_records.labels_of`; without any an
    empty one."""
    height, width = (tf.cast(record[side], tf.int32) for side in ("height", "width"))

    def planes() -> tf.Tensor:
        return tf.map_fn(
            lambda place: attention_records.labels_of(record, place)[..., 0],
            places,
            fn_output_signature=tf.TensorSpec([None, None], tf.uint8),
        )

    empty = tf.zeros(tf.stack([1, height, width]), tf.uint8)
    return tf.transpose(tf.cond(tf.size(places) > 0, planes, lambda: empty), (1, 2, 0))


def _maps(record: Example, places: tf.Tensor, flipped: tf.Tensor) -> list[tf.Tensor]:
    """Raw maps float32 [K, h, w] at both scales of the concepts at places int32 [K]; zeros without any."""
    shape = record["shape"]
    flat = tf.gather(record["maps"][tf.cast(flipped, tf.int32)], places)
    flat = tf.pad(tf.cast(flat, tf.float32), [[0, tf.maximum(1 - tf.size(places), 0)], [0, 0]])
    sides = tf.split(flat, tf.stack([shape[0] * shape[1], shape[2] * shape[3]]), axis=1)
    return [
        tf.reshape(side, tf.concat([[-1], part], axis=0))
        for side, part in zip(sides, (shape[:2], shape[2:]), strict=True)
    ]


def _kept(whole: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    """bool [K]: the concepts of which a cut of labels [H, W, K] leaves a quarter, and something."""
    areas = [
        tf.math.count_nonzero(_inside(labels), axis=(0, 1), dtype=tf.float32) for labels in (whole, seen)
    ]
    return (areas[1] >= augment.LEAST_INSIDE * areas[0]) & (areas[1] > 0)


def _or_none(places: tf.Tensor) -> tf.Tensor:
    return tf.pad(places, [[0, tf.maximum(1 - tf.size(places), 0)]], constant_values=_NONE)


def _joined(planes: tf.Tensor) -> tf.Tensor:
    """[B, K, ...] -> [B K, ...]."""
    return tf.reshape(planes, tf.concat([[-1], tf.shape(planes)[2:]], axis=0))
