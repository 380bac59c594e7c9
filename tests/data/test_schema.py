"""tf.Example records: what goes in comes out, and Model Garden's TfExampleDecoder reads it."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from model_garden import TfExampleDecoder, tfrecord_lib
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


@pytest.mark.parametrize("include_mask", [False, True], ids=["boxes", "masks"])
@pytest.mark.parametrize("objects", [(), (HAT,), (DOG,), (HAT, DOG)], ids=["none", "mask", "box", "both"])
def test_model_gardens_decoder_reads_the_record(objects, include_mask):
    labels, encoded = {"red hat": 1, "stra\u00dfe": 2}, jpeg()
    decoder = TfExampleDecoder(include_mask=include_mask)
    records = tf.data.Dataset.from_tensors(schema.encode(photo(*objects, tags=("x",)), encoded, labels))
    (values,) = records.map(decoder.decode).as_numpy_iterator()
    assert (values["source_id"], values["height"], values["width"]) == (b"7", HEIGHT, WIDTH)
    np.testing.assert_array_equal(values["image"], tf.io.decode_jpeg(encoded))
    assert values["groundtruth_classes"].tolist() == [labels[thing.name] for thing in objects]
    assert values["groundtruth_is_crowd"].tolist() == [thing.crowd for thing in objects]
    boxes = np.reshape([thing.box for thing in objects], (-1, 4))
    np.testing.assert_allclose(values["groundtruth_boxes"], boxes, atol=1e-6)
    assert ("groundtruth_instance_masks" in values) == include_mask
    if include_mask:
        # Every object has a PNG, or none has: the decoder stacks them.
        expected = [MASK if thing.mask else 0 * MASK for thing in objects] if HAT in objects else []
        found = values["groundtruth_instance_masks"]
        np.testing.assert_array_equal(found, np.reshape(expected, (-1, HEIGHT, WIDTH)))


def test_area_is_the_masks_or_else_the_boxs_in_pixels():
    ring = MASK.copy()
    ring[3, 4] = 0
    with_hole = Object("red hat", BOX, rle.encode(np.asfortranarray(ring)))
    values = TfExampleDecoder().decode(schema.encode(photo(with_hole, DOG), jpeg()))
    np.testing.assert_allclose(values["groundtruth_area"], [11, 4 * 9], atol=1e-4)


@pytest.mark.parametrize("with_crowd", [True, False])
def test_parse_reads_a_record_of_model_gardens_helpers(with_crowd):
    """It has no has_mask, and no tags; is_crowd may be missing."""
    feature = tfrecord_lib.convert_to_feature
    features = tfrecord_lib.image_info_to_feature_dict(HEIGHT, WIDTH, "a.jpg", 7, encoded := jpeg(), "jpg")
    png = tfrecord_lib.encode_mask_as_png(MASK)
    features |= {f"image/object/bbox/{side}": feature([v]) for side, v in zip(SIDES, BOX, strict=True)}
    features |= {"image/object/class/text": feature([b"dog"]), "image/object/class/label": feature([18])}
    features |= {"image/object/mask": feature([png])}
    if with_crowd:
        features["image/object/is_crowd"] = feature([1])
    example = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    record = {key: value.numpy() for key, value in schema.parse(example).items()}
    assert (record["encoded"], record["source_id"], record["height"]) == (encoded, b"7", HEIGHT)
    assert record["masks"].tolist() == [png] and record["tags"].tolist() == []
    assert record["crowd"].tolist() == [with_crowd]
    assert record["names"].tolist() == [b"dog"]
    np.testing.assert_allclose(record["boxes"], [BOX], atol=1e-6)


def test_png_photos_are_copied_and_say_so():
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(file, "PNG")
    example = tf.train.Example.FromString(schema.encode(photo(), file.getvalue()))
    assert example.features.feature["image/format"].bytes_list.value[0] == b"png"
    assert example.features.feature["image/filename"].bytes_list.value[0] == b"a.jpg"
    assert example.features.feature["image/encoded"].bytes_list.value[0] == file.getvalue()
