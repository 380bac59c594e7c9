"""From records to batches: one tf.data pipeline per stage (4.1, 4.2, 4.3).

Every pipeline is a function of (seed, epoch), and of TensorFlow's global seed if one is set: the order
of the files, the shuffling and each example's augmentation follow from them and from the example's place
in that order, not from the batch size, the parallelism or what ran before. `skip` batches are passed
over before anything is decoded, so a run that is taken up again sees exactly what it would have seen.

Nothing is filtered: an example without a usable concept or tag stays, with all ids -1, so that
`steps` is exact. The last batch of an epoch may be smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.data import attention_records, augment, schema

SHUFFLE = 4096  # serialized examples that are held for shuffling
_READY = 4  # batches that wait for a trainer
_PADDING = -1
Example = dict[str, tf.Tensor]


class Records(Protocol):
    """Where examples come from; `records.RecordSet` is one."""

    files: Sequence[str]


def steps(count: int, batch: int) -> int:
    """Batches in an epoch of `count` examples, the smaller last one included."""
    return -(-count // batch)


def embedding_batches(
    records: Records,
    spelling: Mapping[str, int],
    size: int,
    batch: int,
    *,
    seed: int,
    epoch: int,
    skip: int = 0,
    train: bool = True,
) -> tf.data.Dataset:
    """Batches for Stage 1 (4.1).

    Args:
        records: one example per photo.
        spelling: vocabulary index of each folded name; tags that are not in it are dropped.
        size: side of the square photo, S.
        batch: photos per batch, B.
        seed: of the run.
        epoch: counted from 0.
        skip: batches to pass over.
        train: shuffle and augment.

    Returns:
        Batches of "image" float32 [B, S, S, 3] in 0..255 and "tags" int32 [B, T], vocabulary indices,
        each once per photo, padded with -1, T at least 1.
    """
    table = name_table(spelling)

    def example(index: tf.Tensor, serialized: tf.Tensor) -> Example:
        record = schema.parse(serialized)
        seeds = _seeds(seed, epoch, index)
        view = augment.view(decode_photo(record["encoded"]), seeds, train)
        return {"image": _finish(view.image, size, seeds, train), "tags": _known(table, record["tags"])}

    order = _order(_serialized(records, seed, epoch, train), seed, epoch, skip * batch, train)
    return _padded(order, example, batch, {"image": [size, size, 3], "tags": [None]})


def refinement_batches(
    records: Records,
    trained: Mapping[str, int],
    size: int,
    stride: int,
    batch: int,
    *,
    seed: int,
    epoch: int,
    skip: int = 0,
    train: bool = True,
) -> tf.data.Dataset:
    """Batches for Stage 2 (4.2). Crowd objects and names that are not trained are left out.

    Args:
        records: one example per photo.
        trained: trained index of each folded name.
        size: side of the square photo, S.
        stride: of the maps; h = w = S / stride, rounded up.
        batch: photos per batch, B.
        seed: of the run.
        epoch: counted from 0.
        skip: batches to pass over.
        train: shuffle and augment.

    Returns:
        Batches of "image" float32 [B, S, S, 3] in 0..255; "concepts" int32 [B, A], trained indices, each
        once per photo, padded with -1, A at least 1; "targets" float32 [B, h, w, A], G of these
        concepts, 0 or 1; "tags" int32 [B, T] like "concepts".
    """
    table, grid = name_table(trained), steps(size, stride)

    def example(index: tf.Tensor, serialized: tf.Tensor) -> Example:
        record = schema.parse(serialized)
        seeds = _seeds(seed, epoch, index)
        view = augment.view(decode_photo(record["encoded"]), seeds, train)
        boxes = tf.where(view.flipped, augment.flip_boxes(record["boxes"]), record["boxes"])
        boxes, visible = augment.crop_boxes(boxes, view.window)
        ids = table.lookup(record["names"])
        used = visible & (ids >= 0) & ~record["crowd"]
        concepts, slots = tf.unique(tf.boolean_mask(ids, used))
        columns = tf.maximum(tf.size(concepts), 1)
        return {
            "image": _finish(view.image, size, seeds, train),
            "concepts": _at_least_one(concepts),
            "targets": geometry.boxes_to_grid(tf.boolean_mask(boxes, used), slots, columns, grid, grid),
            "tags": _known(table, record["tags"]),
        }

    order = _order(_serialized(records, seed, epoch, train), seed, epoch, skip * batch, train)
    shapes = {"image": [size, size, 3], "concepts": [None], "targets": [grid, grid, None], "tags": [None]}
    return _padded(order, example, batch, shapes)


def segmentation_batches(
    records: Records,
    size: int,
    batch: int,
    *,
    seed: int,
    epoch: int,
    skip: int = 0,
    train: bool = True,
    noise: float = 0.0,
) -> tf.data.Dataset:
    """Batches for Stage 3 (4.3): one example per (photo, concept) of the attention records.

    The mask is the union of the concept's instances; its crowd regions have no weight in the loss.

    Args:
        records: attention records; `attention_records.count_pairs` counts their examples.
        size: side of the square photo, S.
        batch: examples per batch, B.
        seed: of the run.
        epoch: counted from 0.
        skip: batches to pass over.
        train: shuffle and augment.
        noise: standard deviation of the smooth noise that training adds to the attention in [0, 1].

    Returns:
        Batches of "image" float32 [B, S, S, 3] in 0..255; "attention" float32 [B, S, S, 2], each scale
        min-max normalised; "mask" and "weight" float32 [B, S, S, 1], 0 or 1.
    """

    def example(index: tf.Tensor, pair: tuple[tf.Tensor, tf.Tensor]) -> Example:
        serialized, place = pair
        record = attention_records.parse(serialized)
        seeds = _seeds(seed, epoch, index)
        image = decode_photo(record["encoded"])
        planes = attention_records.mask_and_weight(record, place, tf.shape(image)[:2])
        view = augment.view(image, seeds, train, planes)
        attention = _attention(attention_records.maps_of(record, place, view.flipped), view.window, size)
        if train:
            attention += augment.smooth_noise(seeds[3], size, 2, noise)
            attention = geometry.min_max(attention, (0, 1))
        mask, weight = tf.split(tf.cast(geometry.resize_labels(view.planes, size), tf.float32), 2, axis=2)
        image = _finish(view.image, size, seeds, train)
        return {"image": image, "attention": attention, "mask": mask, "weight": weight}

    serialized = attention_records.pairs(_serialized(records, seed, epoch, train))
    order = _order(serialized, seed, epoch, skip * batch, train)
    shapes = {"image": [size, size, 3], "attention": [size, size, 2]}
    shapes |= {"mask": [size, size, 1], "weight": [size, size, 1]}
    return _padded(order, example, batch, shapes)


def photo_batches(records: Records, sizes: Sequence[int], batch: int, *, skip: int = 0) -> tf.data.Dataset:
    """Plain photos in the order of the records, for the attention job and for validation.

    Returns:
        Batches of "image_S" float32 [B, S, S, 3] in 0..255 for each S of `sizes`, and "serialized" [B].
    """

    def example(_: tf.Tensor, serialized: tf.Tensor) -> Example:
        image = decode_photo(schema.parse(serialized)["encoded"])
        images = {f"image_{size}": geometry.resize_image(image, size) for size in sizes}
        return {**images, "serialized": serialized}

    order = _order(_serialized(records, 0, 0, False), 0, 0, skip * batch, False)
    return _padded(order, example, batch, {f"image_{s}": [s, s, 3] for s in sizes} | {"serialized": []})


def decode_photo(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes JPEG or PNG bytes to uint8 RGB [H, W, 3] as `imageio.read_image` does, but for EXIF."""

    def png() -> tf.Tensor:
        pixels = tf.cast(tf.io.decode_png(encoded, channels=4), tf.float32)
        alpha = pixels[..., 3:] / 255
        return tf.cast(tf.round(pixels[..., :3] * alpha + 255 * (1 - alpha)), tf.uint8)

    def jpeg() -> tf.Tensor:
        return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    return tf.ensure_shape(tf.cond(tf.io.is_jpeg(encoded), jpeg, png), [None, None, 3])


def _finish(image: tf.Tensor, size: int, seeds: tf.Tensor, train: bool) -> tf.Tensor:
    image = geometry.resize_image(image, size)
    return augment.jitter(image, seeds[2]) if train else image


def _seeds(seed: int, epoch: int, index: tf.Tensor) -> tf.Tensor:
    """int [4, 2]: for the flip, the crop, the light and the noise."""
    return tf.random.split(augment.example_seed(seed, epoch, index), 4)


def _attention(maps: tuple[tf.Tensor, tf.Tensor], window: tf.Tensor, size: int) -> tf.Tensor:
    """Two raw maps [h, w], normalised, then cut to the window: float32 [size, size, 2]."""
    stretched = [geometry.min_max(m, (0, 1))[..., tf.newaxis] for m in maps]
    return tf.concat([geometry.crop_maps(m, window, size) for m in stretched], axis=2)


def _serialized(records: Records, seed: int, epoch: int, train: bool) -> tf.data.Dataset:
    """Serialized examples; for training the files are taken in another order every epoch, and in turns."""
    files = list(records.files)
    if not train:
        return tf.data.TFRecordDataset(files)
    np.random.default_rng([seed, epoch]).shuffle(files)
    dataset = tf.data.Dataset.from_tensor_slices(files)
    return dataset.interleave(tf.data.TFRecordDataset, cycle_length=4, block_length=16)


def _order(examples: tf.data.Dataset, seed: int, epoch: int, skip: int, train: bool) -> tf.data.Dataset:
    """(index in the epoch, example) from the `skip`-th example on."""
    if train:
        derived = int(np.random.default_rng([seed, epoch, 1]).integers(2**31))
        examples = examples.shuffle(SHUFFLE, seed=derived, reshuffle_each_iteration=False)
    return examples.enumerate().skip(skip)


def _padded(
    order: tf.data.Dataset, example: Callable, batch: int, shapes: dict[str, list]
) -> tf.data.Dataset:
    """Decodes in parallel, in order, and joins to batches; ids are padded with -1, the rest with 0."""
    values = {"concepts": _PADDING, "tags": _PADDING, "serialized": ""}
    decoded = order.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    padding = {name: values.get(name, 0.0) for name in shapes}
    # Left to tune themselves, pipelines hold a trainer up for seconds at the end of an epoch: in TensorFlow
    # 2.20 an iterator's destruction waits for its tuning thread. Without it AUTOTUNE means one call a core.
    options = tf.data.Options()
    options.autotune.enabled = False
    return decoded.padded_batch(batch, shapes, padding).prefetch(_READY).with_options(options)


def name_table(indices: Mapping[str, int]) -> tf.lookup.StaticHashTable:
    """The index of each folded name; -1 for any other."""
    names = tf.constant(list(indices), tf.string)
    values = tf.constant(list(indices.values()), tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(names, values), _PADDING)


def _known(table: tf.lookup.StaticHashTable, names: tf.Tensor) -> tf.Tensor:
    """The indices of the names that the table holds, each once: int32 [T], [-1] when there is none."""
    ids = table.lookup(names)
    return _at_least_one(tf.unique(tf.boolean_mask(ids, ids >= 0))[0])


def _at_least_one(ids: tf.Tensor) -> tf.Tensor:
    return tf.pad(ids, [[0, tf.maximum(1 - tf.size(ids), 0)]], constant_values=_PADDING)
