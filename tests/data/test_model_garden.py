"""A COCO file through our converter and Model Garden's: either's records read by either's reader."""

import json

import numpy as np
import plain
import pytest
import tensorflow as tf
from model_garden import TfExampleDecoder, converter, tfrecord_lib

from cmask_tf.cli import main
from cmask_tf.data import schema
from cmask_tf.data.records import RecordSet


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "world"
    assert main(["data", "world", "--scenes", "30", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module", params=[("ccp", "val"), ("world", "train")], ids=["ccp", "world"])
def written(request, tmp_path_factory):
    """(records of Model Garden's converter, records of ours, names by label of ours) of one COCO file."""
    folder, (name, split) = tmp_path_factory.mktemp("garden"), request.param
    data = request.getfixturevalue(name)
    images, file = data / "images" / split, folder / "instances.json"
    value = json.loads((data / "coco" / f"instances_{split}.json").read_text())
    # Their converter reads compressed RLE of no crowd.
    value["annotations"] = [a for a in value["annotations"] if not _is_compressed(a["segmentation"])]
    file.write_text(json.dumps(value))
    _convert_by_model_garden(file, images, folder)
    options = ["--annotations", str(file), "--images", str(images), "--out", str(folder / "ours")]
    assert main(["data", "coco", *options]) == 0
    ours = RecordSet.open(folder / "ours")
    theirs = sorted(map(str, folder.glob("theirs*.tfrecord")))
    return tf.data.TFRecordDataset(theirs), tf.data.TFRecordDataset(ours.files), sorted(ours.concepts)


PHOTOS = 12  # for the decoder, which makes every mask a float32 of the photo's size


def _is_compressed(segmentation):
    return isinstance(segmentation, dict) and isinstance(segmentation["counts"], str)


def _convert_by_model_garden(file, images, folder):
    by_photo, names = converter._load_object_annotations(str(file))
    rows = converter.generate_annotations(
        converter._load_images_info(str(file)),
        [str(images)],
        img_to_obj_annotation=by_photo,
        id_to_name_map=names,
        include_masks=True,
    )
    prefix, process = str(folder / "theirs"), converter.create_tf_example
    assert tfrecord_lib.write_tf_record_dataset(prefix, rows, process, 1, multiple_processes=0) == 0


def by_id(records):
    return {record["source_id"]: record for record in records.as_numpy_iterator()}


def test_our_parser_reads_the_same_from_both(written):
    """But for their boxes, which are the file's, and the spelling of names."""
    theirs, ours = (by_id(records.map(schema.parse)) for records in written[:2])
    assert list(theirs) == list(ours)
    assert sum(len(record["masks"]) for record in theirs.values()) > 5
    for key, record in theirs.items():
        same = ours[key]
        assert record["encoded"] == same["encoded"]
        assert (record["height"], record["width"]) == (same["height"], same["width"])
        np.testing.assert_allclose(record["boxes"], same["boxes"], atol=1e-6)
        assert [plain.folded(name.decode()).encode() for name in record["names"]] == same["names"].tolist()
        assert record["crowd"].tolist() == same["crowd"].tolist()
        for png, other in zip(record["masks"], same["masks"], strict=True):
            np.testing.assert_array_equal(tf.io.decode_png(png), tf.io.decode_png(other))


@pytest.mark.parametrize("include_mask", [False, True], ids=["boxes", "masks"])
def test_their_decoder_reads_the_same_from_both(written, include_mask):
    """But for the labels: they keep the category ids, ours count the names."""
    decode = TfExampleDecoder(include_mask=include_mask).decode
    theirs, ours = (by_id(records.take(PHOTOS).map(decode)) for records in written[:2])
    names = {key: record["names"] for key, record in by_id(written[1].map(schema.parse)).items()}
    assert list(theirs) == list(ours)
    fields = ["image", "height", "width", "groundtruth_is_crowd", "groundtruth_boxes", "groundtruth_area"]
    for key, record in ours.items():
        assert [written[2][k - 1].encode() for k in record["groundtruth_classes"]] == names[key].tolist()
        for field in fields + ["groundtruth_instance_masks"] * include_mask:
            np.testing.assert_allclose(record[field], theirs[key][field], atol=1e-6, err_msg=field)
