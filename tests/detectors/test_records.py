"""What Mask R-CNN* reads of our records, and the classes that two record sets have together."""

import json

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as rle

from cmask_tf.data.records import RecordSet
from cmask_tf.data.schema import encode
from cmask_tf.data.sources import Annotated, Object
from cmask_tf.detectors.classes import Classes
from cmask_tf.detectors.records import decoder
from cmask_tf.errors import UserError

H, W = 4, 6
BOX = (0.0, 0.0, 0.5, 1.0)
CLASSES = Classes(("cat", "dog", "tree"), ("dog",))


def mask_of(rows):
    mask = np.zeros((H, W), np.uint8)
    mask[:rows] = 1
    return rle.encode(np.asfortranarray(mask))


def decoded(tmp_path, *objects):
    png = tf.io.encode_png(np.full((H, W, 3), 7, np.uint8)).numpy()
    labels = {thing.name: 40 + n for n, thing in enumerate(objects)}  # a set's own, of no use to another
    row = encode(Annotated(tmp_path / "a.png", "a", H, W, objects), png, labels)
    return {key: value.numpy() for key, value in decoder(CLASSES)(tf.constant(row)).items()}


def test_names_and_not_the_sets_labels_are_the_classes(tmp_path):
    row = decoded(tmp_path, Object("tree", BOX), Object("cat", BOX, crowd=True))
    assert row["groundtruth_classes"].tolist() == [3, 1] and row["groundtruth_classes"].dtype == np.int64
    assert row["groundtruth_is_crowd"].tolist() == [False, True]
    np.testing.assert_allclose(row["groundtruth_boxes"], [BOX, BOX])
    assert row["image"].shape == (H, W, 3) and (row["image"] == 7).all()


def test_a_name_of_no_class_is_left_out_with_all_that_is_its(tmp_path):
    row = decoded(tmp_path, Object("yurt", (0, 0, 1, 1), mask_of(4)), Object("dog", BOX, mask_of(2)))
    assert row["groundtruth_classes"].tolist() == [2]
    np.testing.assert_allclose(row["groundtruth_boxes"], [BOX])
    assert row["groundtruth_instance_masks"].sum(axis=(1, 2)).tolist() == [2 * W]


def test_an_object_without_a_mask_has_zeros_beside_those_with_one(tmp_path):
    row = decoded(tmp_path, Object("dog", BOX, mask_of(2)), Object("tree", BOX))
    masks = row["groundtruth_instance_masks"]
    assert masks.shape == (2, H, W) and masks.dtype == np.float32
    assert masks[0, :2].all() and not masks[0, 2:].any() and not masks[1].any()


@pytest.mark.parametrize("objects", [(), (Object("tree", BOX), Object("cat", BOX))], ids=["none", "boxes"])
def test_a_photo_without_masks_costs_no_memory_for_them(tmp_path, objects):
    row = decoded(tmp_path, *objects)
    assert row["groundtruth_instance_masks"].shape == (len(objects), 1, 1)
    assert not row["groundtruth_instance_masks"].any()


def record_set(tmp_path, name, level, *concepts):
    return RecordSet(tmp_path / name, [], 3, dict.fromkeys(concepts, 1), {}, level)


def test_classes_are_the_concepts_of_both_sets_in_one_order(tmp_path):
    boxes = record_set(tmp_path, "boxes", "box", "tree", "dog", "cat")
    classes = Classes.of(boxes, record_set(tmp_path, "masks", "mask", "dog", "ant"))
    assert classes.names == ("ant", "cat", "dog", "tree") and classes.masked == ("ant", "dog")
    assert classes.numbers() == {"ant": 1, "cat": 2, "dog": 3, "tree": 4}
    classes.save(tmp_path)
    assert Classes.load(tmp_path) == classes


def test_records_without_masks_or_a_broken_file_are_told(tmp_path):
    boxes = record_set(tmp_path, "boxes", "box", "tree")
    with pytest.raises(UserError, match="boxes: expected a record set with masks"):
        Classes.of(boxes, boxes)
    (tmp_path / "classes.json").write_text(json.dumps({"names": ["a"]}))
    with pytest.raises(UserError, match='classes.json: expected "names" and "masked"'):
        Classes.load(tmp_path)
