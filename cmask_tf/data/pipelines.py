"""From records to batches: one tf.data pipeline per stage (4.1, 4.2, 4.3).

Every pipeline is a function of (seed, epoch), and of TensorFlow's global seed if one is set: the order
of the files, the shuffling and each example's augmentation follow from them and from the example's place
in that order, not from the batch size, the parallelism, the hosts or what ran before. `skip` batches are
passed over before anything is decoded, so a run that is taken up again sees exactly what it would have
seen. With `deterministic=False` a slow photo does not hold up the others: examples may then change places
with close neighbours, and their augmentation goes with them.

Nothing is filtered: an example without a usable concept or tag stays, with all ids -1, so that
`steps` is exact. The last batch of an epoch may be smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.data import attention_records, augment, schema, teacher_records
from cmask_tf.data.order import Order, Records, decoded, ordered, serialized
from cmask_tf.data.topics import Topics, name_table, sample
from cmask_tf.data.unreadable import BAD, INDEX, forgiving, reported

_READY = 4  # batches that wait for a trainer
_PADDING = -1
_WHOLE = (0.0, 0.0, 1.0, 1.0)  # the window that shows all of a picture
_OF_TAGS = 2  # folded into an example's seed; `augment.noise_grids` has the 1
_MARGIN = 2  # pixels: chroma is interpolated between neighbours, which a JPEG's crop has to include
Example = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Teacher:
    """Teacher records (`teacher_records`) beside box records.

    Attributes:
        files: one for each of the records' files.
        maps: N of Eqn. 2.
    """

    files: Sequence[str]
    maps: int


def steps(count: int, batch: int) -> int:
    """Batches in an epoch of `count` examples, the smaller last one included."""
    return -(-count // batch)


def embedding_batches(
    records: Records,
    topics: Topics,
    size: int,
    batch: int,
    tags: int = 0,
    **order,
) -> tf.data.Dataset:
    """Batches for Stage 1 (4.1).

    Args:
        records: one example per photo.
        topics: what tags mean; D is the dimension of its vectors.
        size: side of the square photo, S.
        batch: photos per batch, B.
        tags: of a photo, at most, each pass another choice; 0: all of them, as without training.
        order: the fields of `order.Order`.

    Returns:
        Batches of "image" float32 [B, S, S, 3] in 0..255 and "topic" float32 [B, D], null for a photo
        without a known tag.
    """
    order = Order(**order)

    def example(index: tf.Tensor, one: tf.Tensor) -> Example:
        record = schema.parse(one)
        photo, ids = Photo(record, order, index), topics.ids(record["tags"])
        if tags and order.train:
            seed = augment.example_seed(order.seed, order.epoch, index)
            ids = sample(ids, tags, tf.random.fold_in(seed, _OF_TAGS))
        return {"image": photo.image(size), "topic": topics.of(ids)}

    shapes = {"image": [size, size, 3], "topic": [topics.dim]}
    return assembled(serialized(records, order), example, order, batch, shapes)


def refinement_batches(
    records: Records,
    trained: Mapping[str, int],
    size: int,
    stride: int,
    batch: int,
    teacher: Teacher | None = None,
    **order,
) -> tf.data.Dataset:
    """Batches for Stage 2 (4.2). Crowd objects and names that are not trained are left out.

    Args:
        records: one example per photo.
        trained: trained index of each folded name.
        size: side of the square photo, S.
        stride: of the maps; h = w = S / stride, rounded up.
        batch: photos per batch, B.
        teacher: what `teacher_records` hold of the photos, if the frozen network does not run in training.
        order: the fields of `order.Order`.

    Returns:
        Batches of "image" float32 [B, S, S, 3] in 0..255; "concepts" int32 [B, A], trained indices, each
        once per photo, padded with -1, A at least 1; "targets" float32 [B, h, w, A], G of these
        concepts, 0 or 1; "tags" int32 [B, T] like "concepts". With a teacher also "matched" int32 [B, n],
        Psi_N of Eqn. 2, padded with -1, and "binary" bool [B, h, w, n], B(alpha0) of these maps.
    """
    table, grid, order = name_table(trained), steps(size, stride), Order(**order)

    def example(index: tf.Tensor, one: tf.Tensor | tuple[tf.Tensor, tf.Tensor]) -> Example:
        one, beside = one if teacher else (one, None)
        record = schema.parse(one)
        photo = Photo(record, order, index)
        boxes, visible = photo.boxes(record["boxes"])
        ids = table.lookup(record["names"])
        used = visible & (ids >= 0) & ~record["crowd"]
        concepts, slots = tf.unique(tf.boolean_mask(ids, used))
        columns = tf.maximum(tf.size(concepts), 1)
        found = {
            "image": photo.image(size),
            "concepts": _at_least_one(concepts),
            "targets": geometry.boxes_to_grid(tf.boolean_mask(boxes, used), slots, columns, grid, grid),
            "tags": _known(table, record["tags"]),
        }
        if teacher:
            view = photo.flipped(), photo.window()
            seen = teacher_records.targets(beside, *view, concepts, teacher.maps, grid)
            found |= dict(zip(("matched", "binary"), seen, strict=True))
        return found

    shapes = {"image": [size, size, 3], "concepts": [None], "targets": [grid, grid, None], "tags": [None]}
    if teacher:
        shapes |= {"matched": [None], "binary": [grid, grid, None]}
    examples = serialized(records, order, teacher.files if teacher else None)
    return assembled(examples, example, order, batch, shapes)


def verification_batches(
    records: Records,
    trained: Mapping[str, int],
    size: int,
    batch: int,
    negatives: int = 0,
    **order,
) -> tf.data.Dataset:
    """Batches for the verification network (supplement 5): which concepts a photo is tagged with.

    Args:
        records: one example per photo.
        trained: trained index, 0..V-1, of each folded name.
        size: side of the square photo, S.
        batch: photos per batch, B.
        negatives: concepts drawn for each photo anew beside those of its tags; 0: all V are asked about.
        order: the fields of `order.Order`.

    Returns:
        Batches of "image" float32 [B, S, S, 3] in 0..255; "concepts" int32 [B, M], trained indices, each
        once per photo, padded with -1; "present" bool [B, M].
    """
    table, order, count = name_table(trained), Order(**order), max(trained.values()) + 1

    def example(index: tf.Tensor, one: tf.Tensor) -> Example:
        record = schema.parse(one)
        tags = _known(table, record["tags"])
        concepts = tf.range(count)
        if negatives:
            seed = tf.random.fold_in(augment.example_seed(order.seed, order.epoch, index), _OF_TAGS)
            drawn = tf.random.stateless_uniform([negatives], seed, 0, count, tf.int32)
            concepts, _ = tf.unique(tf.concat([tags, drawn], axis=0))
        present = tf.reduce_any(concepts[:, tf.newaxis] == tags, axis=1) & (concepts >= 0)
        image = Photo(record, order, index).image(size)
        return {"image": image, "concepts": concepts, "present": present}

    shapes = {"image": [size, size, 3], "concepts": [None], "present": [None]}
    return assembled(serialized(records, order), example, order, batch, shapes)


def segmentation_batches(
    records: Records,
    size: int,
    batch: int,
    noise: float = 0.0,
    **order,
) -> tf.data.Dataset:
    """Batches for Stage 3 (4.3): one example per (photo, concept) of the attention records.

    The mask is the union of the concept's instances; its crowd regions have no weight in the loss.

    Args:
        records: attention records; `attention_records.count_pairs` counts their examples.
        size: side of the square photo, S.
        batch: examples per batch, B.
        noise: standard deviation of the smooth noise that training adds to the attention in [0, 1].
        order: the fields of `order.Order`.

    Returns:
        Batches of "image" float32 [B, S, S, 3] in 0..255; "attention" float32 [B, S, S, 2], each scale
        min-max normalised; "mask" and "weight" bool [B, S, S, 1], a quarter of the bytes of floats.
    """

    order = Order(**order)

    def example(index: tf.Tensor, pair: tuple[tf.Tensor, tf.Tensor]) -> Example:
        one, place = pair
        record = attention_records.parse(one)
        labels = attention_records.labels_of(record, place)
        photo = Photo(record, order, index, labels == attention_records.MASK)
        maps = attention_records.maps_of(record, place, photo.flipped())
        labels = geometry.resize_labels(photo.planes(labels), size)
        return {
            "image": photo.image(size),
            "mask": labels == attention_records.MASK,
            "weight": labels != attention_records.CROWD,
            "first": tf.ensure_shape(maps[0], shapes["first"]),
            "second": tf.ensure_shape(maps[1], shapes["second"]),
            "window": photo.window(),
            "noise": photo.noise(noise),
        }

    def enlarge(batch: Example) -> Example:
        """Attention of a whole batch at a time: cut to what is seen, in training noisy."""
        maps = [batch.pop(scale) for scale in ("first", "second")]
        attention = draw_attention(maps, batch.pop("window"), batch.pop("noise"), size, order.train)
        return batch | {"attention": attention}

    pairs = attention_records.pairs(serialized(records, order))
    shapes = {"image": [size, size, 3], "mask": [size, size, 1], "weight": [size, size, 1]}
    shapes |= dict(zip(("first", "second"), attention_records.map_shapes(records.files), strict=True))
    shapes |= {"window": [4], "noise": [2, *augment.GRID]}
    return assembled(pairs, example, order, batch, shapes, enlarge)


def draw_attention(
    maps: Sequence[tf.Tensor], window: tf.Tensor, noise: tf.Tensor, size: int, train: bool
) -> tf.Tensor:
    """The attention channels of Stage 3 (4.3): what is seen of each scale's map, in training with noise.

    Args:
        maps: float32 [N, h, w] of each scale.
        window: float32 [N, 4], what is seen, as `Photo.window` has it.
        noise: float32 [N, 2, *augment.GRID], of each scale.
        size: side of the square.
        train: add the noise, and stretch what is seen to [0, 1] once more.

    Returns:
        float32 [N, size, size, 2], each whole map min-max normalised.
    """
    channels = [[(geometry.min_max(one, (1, 2)), window)] for one in maps]
    if not train:
        return geometry.crop_maps(channels, size)
    whole = tf.zeros_like(window) + _WHOLE
    channels = [[*layers, (noise[:, i], whole)] for i, layers in enumerate(channels)]
    return geometry.min_max(geometry.crop_maps(channels, size), (1, 2))


def photo_batches(records: Records, sizes: Sequence[int], batch: int, *, skip: int = 0) -> tf.data.Dataset:
    """Plain photos in the order of the records, for the attention job and for validation.

    Returns:
        Batches of "image_S" float32 [B, S, S, 3] in 0..255 for each S of `sizes`, and "serialized" [B].
    """

    order = Order(0, 0, skip, train=False)

    def example(_: tf.Tensor, one: tf.Tensor) -> Example:
        image = decode_photo(schema.parse(one)["encoded"])
        images = {f"image_{size}": geometry.resize_image(image, size) for size in sizes}
        return {**images, "serialized": one}

    shapes = {f"image_{s}": [s, s, 3] for s in sizes} | {"serialized": []}
    return assembled(serialized(records, order), example, order, batch, shapes)


def decode_photo(encoded: tf.Tensor, window: tf.Tensor | None = None) -> tf.Tensor:
    """Decodes JPEG or PNG bytes as `imageio.read_image` does, but for EXIF.

    Args:
        encoded: string [].
        window: int32 [4] (top, left, rows, columns): what to decode of it. The pixels are those of the
            whole photo; a JPEG is not decoded below it, nor on its left and right.

    Returns:
        uint8 RGB [H, W, 3].
    """

    def png() -> tf.Tensor:
        pixels = tf.cast(tf.io.decode_png(encoded, channels=4), tf.float32)
        alpha = pixels[..., 3:] / 255
        pixels = tf.cast(tf.round(pixels[..., :3] * alpha + 255 * (1 - alpha)), tf.uint8)
        return pixels if window is None else augment.crop(pixels, window)

    def jpeg() -> tf.Tensor:
        exact = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}
        if window is None:
            return tf.io.decode_jpeg(encoded, **exact)
        start = tf.maximum(window[:2] - _MARGIN, 0)
        end = tf.minimum(window[:2] + window[2:] + _MARGIN, tf.image.extract_jpeg_shape(encoded)[:2])
        pixels = tf.image.decode_and_crop_jpeg(encoded, tf.concat([start, end - start], axis=0), **exact)
        return augment.crop(pixels, tf.concat([window[:2] - start, window[2:]], axis=0))

    return tf.ensure_shape(tf.cond(tf.io.is_jpeg(encoded), jpeg, png), [None, None, 3])


class Photo:
    """The photo of an example, and what lies over it; whole, or in training cut, mirrored and lit."""

    def __init__(self, record: Example, order: Order, index: tf.Tensor, mask: tf.Tensor | None = None):
        """Args:
        record: has "encoded", "height" and "width".
        order: the pass.
        index: of the example in the epoch.
        mask: bool [H, W, 1] of which a crop has to keep a part.
        """
        self._encoded, self._train = record["encoded"], order.train
        if order.train:
            self._seed = augment.example_seed(order.seed, order.epoch, index)
            self._drawn = augment.draws(self._seed)
            height, width = (tf.cast(record[side], tf.int32) for side in ("height", "width"))
            self.cut = augment.draw_cut(self._drawn, height, width, mask)

    def image(self, size: int) -> tf.Tensor:
        """float32 [size, size, 3], 0 to 255."""
        if not self._train:
            return geometry.resize_image(decode_photo(self._encoded), size)
        image = geometry.resize_image(decode_photo(self._encoded, self.cut.pixels), size)
        return augment.jitter(augment.mirror(image, self.cut.flipped), self._drawn[5:])

    def planes(self, planes: tf.Tensor) -> tf.Tensor:
        """Cuts [H, W, P] out like the photo."""
        if not self._train:
            return planes
        return augment.mirror(augment.crop(planes, self.cut.pixels), self.cut.flipped)

    def boxes(self, boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Boxes float32 [N, 4] as seen, and bool [N]: which of them are."""
        if not self._train:
            return boxes, tf.fill([tf.shape(boxes)[0]], True)
        boxes = tf.where(self.cut.flipped, augment.flip_boxes(boxes), boxes)
        return augment.crop_boxes(boxes, self.cut.window)

    def flipped(self) -> tf.Tensor:
        """bool []."""
        return self.cut.flipped if self._train else tf.constant(False)

    def window(self) -> tf.Tensor:
        """What is seen of the photo, mirrored if it is: float32 [4], (ymin, xmin, ymax, xmax) in 0..1."""
        return self.cut.window if self._train else tf.constant(_WHOLE)

    def noise(self, deviation: float, maps: int | tf.Tensor = 2) -> tf.Tensor:
        """Of attention maps, one for each scale, on a coarse grid: float32 [maps, *augment.GRID]."""
        if self._train and deviation:
            return augment.noise_grids(self._seed, maps, deviation)
        return tf.zeros([maps, *augment.GRID])


def assembled(
    examples: tf.data.Dataset,
    example: Callable,
    order: Order,
    batch: int,
    shapes: dict[str, list],
    finish: Callable[[Example], Example] | None = None,
) -> tf.data.Dataset:
    """Orders, decodes, joins to batches, finishes those; ids are padded with -1, the rest with 0."""
    values = {name: _PADDING for name in ("concepts", "tags", "matched")} | {"serialized": ""}
    values |= dict.fromkeys(("mask", "weight", "binary", "present"), False)
    values["labels"] = tf.constant(0, tf.uint8)
    padding = {name: values.get(name, 0.0) for name in shapes}
    example = forgiving(example, shapes, padding)
    shapes, padding = {**shapes, INDEX: [], BAD: []}, {**padding, INDEX: tf.constant(0, tf.int64), BAD: ""}
    batches = decoded(ordered(examples, order, batch), example, order, batch, shapes, padding)
    batches = batches.map(lambda rows, *count: (reported(rows), *count) if count else reported(rows))
    if finish:
        batches = batches.map(lambda rows, *count: (finish(rows), *count) if count else finish(rows))
    # Left to tune themselves, pipelines hold a trainer up for seconds at the end of an epoch: in TensorFlow
    # 2.20 an iterator's destruction waits for its tuning thread, with every tuning algorithm.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(_READY).with_options(options)


def _known(table: tf.lookup.StaticHashTable, names: tf.Tensor) -> tf.Tensor:
    """The indices of the names that the table holds, each once: int32 [T], [-1] when there is none."""
    ids = table.lookup(names)
    return _at_least_one(tf.unique(tf.boolean_mask(ids, ids >= 0))[0])


def _at_least_one(ids: tf.Tensor) -> tf.Tensor:
    return tf.pad(ids, [[0, tf.maximum(1 - tf.size(ids), 0)]], constant_values=_PADDING)
