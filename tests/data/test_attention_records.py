"""Attention records: a mask record goes in, the same record with maps comes out."""

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as rle

from cmask_tf.data import attention_records, schema
from cmask_tf.data.sources import Annotated, Object

CONCEPTS = ["hat", "été"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    hat = Object("hat", None, rle.encode(np.asfortranarray(np.eye(6, dtype=np.uint8))))
    photo = Annotated(tmp_path_factory.getbasetemp(), "7", 6, 6, (hat,), ("hat", "sunny"))
    return schema.encode(photo, b"pixels")


@pytest.fixture(scope="module")
def maps():
    random = np.random.default_rng(0)
    return [random.random((2, 2, *size)).astype(np.float16) for size in ((3, 4), (5, 2))]


def test_maps_come_back_by_concept_flip_and_scale(plain, maps):
    record = attention_records.parse(attention_records.encode(plain, CONCEPTS, maps))
    assert [name.decode() for name in record["concepts"].numpy()] == CONCEPTS
    assert record["shape"].numpy().tolist() == [3, 4, 5, 2]
    for concept in range(2):
        for flipped in (False, True):
            pair = attention_records.maps_of(record, tf.constant(concept), tf.constant(flipped))
            for scale in range(2):
                assert pair[scale].dtype == tf.float32
                np.testing.assert_array_equal(pair[scale], maps[scale][int(flipped), concept])


def test_the_bytes_are_laid_out_as_documented(plain, maps):
    example = tf.train.Example.FromString(attention_records.encode(plain, CONCEPTS, maps))
    raw = example.features.feature["attention/maps"].bytes_list.value[0]
    values = np.frombuffer(raw, np.float16).reshape(2, 2, 3 * 4 + 5 * 2)
    np.testing.assert_array_equal(values[1, 0, :12], maps[0][1, 0].ravel())
    np.testing.assert_array_equal(values[1, 0, 12:], maps[1][1, 0].ravel())


def test_a_concept_without_masks_is_labelled_by_its_boxes(tmp_path):
    hat = rle.encode(np.asfortranarray(np.eye(4, 6, dtype=np.uint8)))
    objects = (
        Object("hat", None, hat),
        Object("hat", (0.5, 0.5, 1.0, 1.0), None),  # one without its mask says nothing
        Object("shoe", (0.0, 0.5, 0.5, 1.0), None),
        Object("shoe", (0.75, 0.0, 0.76, 0.01), None),  # a pixel at least
        Object("shoe", (0.99, 0.99, 1.0, 1.0), None),  # also at the last corner
        Object("shoe", (0.0, 0.0, 1.0, 1.0), None, crowd=True),
    )
    plain = schema.encode(Annotated(tmp_path, "7", 4, 6, objects, ()), b"pixels")
    maps = [np.zeros((2, 2, 1, 1), np.float16)] * 2
    record = attention_records.parse(attention_records.encode(plain, ["hat", "shoe"], maps))
    labels = [attention_records.labels_of(record, place).numpy()[..., 0] for place in range(2)]
    np.testing.assert_array_equal(labels[0], np.eye(4, 6))
    shoe = np.zeros((4, 6))
    shoe[:2, 3:] = shoe[3, 0] = shoe[3, 5] = attention_records.BOX
    np.testing.assert_array_equal(labels[1], shoe)


def test_the_photo_is_kept(plain, maps):
    before = schema.parse(plain)
    after = attention_records.parse(attention_records.encode(plain, CONCEPTS, maps))
    for name in ("encoded", "height", "width"):
        np.testing.assert_array_equal(after[name], before[name])


def test_labels_are_the_union_of_a_concepts_instances_and_its_crowds_elsewhere(tmp_path):
    def rle_of(*rows):
        return rle.encode(np.asfortranarray(np.array(rows, np.uint8)))

    objects = (
        Object("hat", None, rle_of([1, 0, 0, 0], [0, 0, 0, 0])),
        Object("hat", None, rle_of([0, 1, 1, 0], [0, 0, 0, 0]), crowd=True),
        Object("hat", None, rle_of([1, 1, 0, 0], [0, 0, 0, 0])),  # after the crowd that it overlaps
        Object("hat", (0.0, 0.0, 1.0, 1.0)),  # no mask
        Object("coat", None, rle_of([0, 0, 0, 0], [1, 1, 1, 1]), crowd=True),
    )
    photo = Annotated(tmp_path, "7", 2, 4, objects, ())
    record = attention_records.encode(
        schema.encode(photo, b""), ["shoe", "hat"], [np.zeros((2, 2, 1, 1))] * 2
    )
    record = attention_records.parse(record)
    labels = [attention_records.labels_of(record, place).numpy()[..., 0].tolist() for place in range(2)]
    assert labels[0] == [[0] * 4, [0] * 4]
    assert labels[1] == [[1, 1, 2, 0], [0] * 4]


def test_maps_that_do_not_fit_the_concepts_are_refused(plain, maps):
    with pytest.raises(ValueError, match=r"\(2, 2, 3, 4\); expected \(2, 1, h, w\)"):
        attention_records.encode(plain, ["hat"], maps)


def test_each_concept_of_each_record_is_one_example(plain, maps, tmp_path):
    two = attention_records.encode(plain, CONCEPTS, maps)
    one = attention_records.encode(plain, ["hat"], [m[:, :1] for m in maps])
    none = attention_records.encode(plain, [], [m[:, :0] for m in maps])
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        for serialized in (two, none, one):
            writer.write(serialized)
    pairs = attention_records.pairs(tf.data.TFRecordDataset(str(tmp_path / "a")))
    found = [(serialized.numpy(), int(place)) for serialized, place in pairs]
    assert found == [(two, 0), (two, 1), (one, 0)]
    assert attention_records.count_pairs([str(tmp_path / "a")]) == 3


def test_a_mask_record_without_attention_is_refused(plain):
    with pytest.raises(tf.errors.InvalidArgumentError, match="attention/"):
        attention_records.parse(plain)
