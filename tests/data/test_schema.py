"""tf.Example records: what goes in comes out, and Model Garden's TfExampleDecoder reads it."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data import schema
from cmask_tf.data.sources import Annotated, Object

HEIGHT, WIDTH = 8, 10
MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[2:5, 3:7] = 1
RLE = rle.encode(np.asfortranarray(MASK))
BOX = (0.25, 0.3, 0.625, 0.7)
SIDES = ("ymin", "xmin", "ymax", "xmax")
HAT, DOG = Object("red hat", BOX, RLE), Object("stra\u00dfe", (0.0, 0.1, 0.5, 1.0), None, crowd=True)


def jpeg():
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(file, "JPEG")
    return file.getvalue()


def photo(*objects, tags=()):
    return Annotated(Path("folder/a.jpg"), "7", HEIGHT, WIDTH, objects, tags)


def model_garden(serialized):
    """The reading half of official.vision.dataloaders.tf_example_decoder.TfExampleDecoder(include_mask=True),
    written from its documented keys: every list dense, every mask a PNG of one size."""
    floats = [f"image/object/bbox/{side}" for side in SIDES] + ["image/object/area"]
    spec = {
        "image/encoded": tf.io.FixedLenFeature((), tf.string),
        "image/source_id": tf.io.FixedLenFeature((), tf.string),
        "image/height": tf.io.FixedLenFeature((), tf.int64, -1),
        "image/width": tf.io.FixedLenFeature((), tf.int64, -1),
        "image/object/class/label": tf.io.VarLenFeature(tf.int64),
        "image/object/is_crowd": tf.io.VarLenFeature(tf.int64),
        "image/object/mask": tf.io.VarLenFeature(tf.string),
        **{key: tf.io.VarLenFeature(tf.float32) for key in floats},
    }
    values = tf.io.parse_single_example(serialized, spec)
    values = {k: tf.sparse.to_dense(v) if isinstance(v, tf.SparseTensor) else v for k, v in values.items()}
    pngs = values["image/object/mask"]
    values["masks"] = [tf.io.decode_png(png, channels=1)[..., 0].numpy() for png in pngs]
    values["boxes"] = tf.stack([values[key] for key in floats[:4]], -1).numpy()
    return values


def test_parse_gives_back_what_was_encoded():
    encoded = jpeg()
    record = schema.parse(schema.encode(photo(HAT, DOG, tags=("beach", "red hat")), encoded))
    assert record["encoded"].numpy() == encoded
    assert (record["source_id"].numpy(), int(record["height"]), int(record["width"])) == (b"7", HEIGHT, WIDTH)
    np.testing.assert_allclose(record["boxes"], [HAT.box, DOG.box], atol=1e-6)
    assert [name.decode() for name in record["names"].numpy()] == ["red hat", "stra\u00dfe"]
    assert record["crowd"].numpy().tolist() == [False, True]
    assert record["tags"].numpy().tolist() == [b"beach", b"red hat"]
    np.testing.assert_array_equal(tf.io.decode_png(record["masks"][0])[..., 0], MASK)
    assert record["masks"][1].numpy() == b""


def test_dtypes_and_shapes_inside_a_pipeline():
    records = [schema.encode(photo(HAT, DOG), jpeg()), schema.encode(photo(tags=("x",)), jpeg())]
    first, empty = tf.data.Dataset.from_tensor_slices(records).map(schema.parse)
    assert {key: value.dtype for key, value in first.items()} == {
        "encoded": tf.string,
        "source_id": tf.string,
        "height": tf.int64,
        "width": tf.int64,
        "boxes": tf.float32,
        "names": tf.string,
        "crowd": tf.bool,
        "masks": tf.string,
        "tags": tf.string,
    }
    shapes = {key: tuple(empty[key].shape) for key in ("boxes", "names", "crowd", "masks", "tags")}
    assert shapes == {"boxes": (0, 4), "names": (0,), "crowd": (0,), "masks": (0,), "tags": (1,)}


def test_a_mask_without_a_box_gets_the_masks_box():
    record = schema.parse(schema.encode(photo(Object("red hat", None, RLE)), jpeg()))
    np.testing.assert_allclose(record["boxes"], [BOX], atol=1e-6)


@pytest.mark.parametrize("objects", [(), (HAT,), (DOG,), (HAT, DOG)], ids=["none", "mask", "box", "both"])
def test_model_garden_reads_the_record(objects):
    labels = {"red hat": 1, "stra\u00dfe": 2}
    values = model_garden(schema.encode(photo(*objects), jpeg(), labels))
    assert tf.io.decode_image(values["image/encoded"]).shape == (HEIGHT, WIDTH, 3)
    assert values["image/object/class/label"].numpy().tolist() == [labels[thing.name] for thing in objects]
    assert values["image/object/is_crowd"].numpy().tolist() == [thing.crowd for thing in objects]
    boxes = np.reshape([thing.box for thing in objects], (-1, 4))
    np.testing.assert_allclose(values["boxes"], boxes, atol=1e-6)
    # Every object has a PNG, or none has: the decoder stacks them.
    expected = [MASK if thing.mask else 0 * MASK for thing in objects] if HAT in objects else []
    np.testing.assert_array_equal(values["masks"], expected)


def test_area_is_the_masks_or_else_the_boxs_in_pixels():
    ring = MASK.copy()
    ring[3, 4] = 0
    with_hole = Object("red hat", BOX, rle.encode(np.asfortranarray(ring)))
    values = model_garden(schema.encode(photo(with_hole, DOG), jpeg()))
    np.testing.assert_allclose(values["image/object/area"], [11, 4 * 9], atol=1e-4)


def test_parse_reads_a_record_of_model_gardens_own_converter():
    """It has no has_mask, and no tags; is_crowd may be missing."""

    def texts(*values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    def ints(*values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def floats(*values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    png = tf.io.encode_png(MASK[..., None]).numpy()
    features = {
        "image/encoded": texts(jpeg()),
        "image/height": ints(HEIGHT),
        "image/width": ints(WIDTH),
        "image/object/class/text": texts(b"dog"),
        "image/object/class/label": ints(18),
        "image/object/mask": texts(png),
        **{f"image/object/bbox/{side}": floats(v) for side, v in zip(SIDES, BOX, strict=True)},
    }
    example = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    record = schema.parse(example)
    assert record["masks"].numpy().tolist() == [png]
    assert record["crowd"].numpy().tolist() == [False]
    assert record["names"].numpy().tolist() == [b"dog"]
    np.testing.assert_allclose(record["boxes"], [BOX], atol=1e-6)


def test_png_photos_are_copied_and_say_so():
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(file, "PNG")
    example = tf.train.Example.FromString(schema.encode(photo(), file.getvalue()))
    assert example.features.feature["image/format"].bytes_list.value[0] == b"png"
    assert example.features.feature["image/filename"].bytes_list.value[0] == b"a.jpg"
    assert example.features.feature["image/encoded"].bytes_list.value[0] == file.getvalue()
