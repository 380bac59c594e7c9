"""Record sets: whole or not at all, and equal to their source."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data import records as data_records
from cmask_tf.data import schema
from cmask_tf.data.coco import read_coco
from cmask_tf.data.records import RecordSet
from cmask_tf.data.sources import Annotated, Annotations, Object
from cmask_tf.errors import UserError

BOX = (0.25, 0.3, 0.625, 0.7)


def photos(folder, count=5, **changes):
    """Fake photos p0, p1, ... of 10 x 8, each tagged; every second one has a dog."""
    folder.mkdir(exist_ok=True)
    made = []
    for i in range(count):
        path = folder / f"p{i}.jpg"
        Image.new("RGB", (10, 8), (i * 40, 0, 0)).save(path)
        objects = (Object("dog", BOX), Object("dog", BOX), Object("ant", BOX))[: 3 * (i % 2)]
        fields = {"height": 8, "width": 10, "objects": objects, "tags": ("sky", f"tag {i}")} | changes
        made.append(Annotated(path, f"p{i}", **fields))
    return made


def write(photos, out, shards=None, source="", strict=False):
    """Of photos made in Python."""

    def source_of(work, faults):
        return replace(Annotations.of(photos), faults=faults)

    return data_records.write(source_of, out, inputs={}, source=source, strict=strict, shards=shards)


def read(directory):
    return [schema.parse(s) for s in tf.data.TFRecordDataset(RecordSet.open(directory).files)]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("shards", [1, 2, 4, 7])
def test_every_photo_is_in_one_shard_in_order_with_its_own_bytes(tmp_path, shards):
    source = photos(tmp_path / "in")
    write(source, tmp_path / "out", shards)
    files = RecordSet.open(tmp_path / "out").files
    assert [f.rsplit("/", 1)[1] for f in files] == [
        f"records-{i:05d}-of-{shards:05d}.tfrecord" for i in range(shards)
    ]
    records = read(tmp_path / "out")
    assert [r["source_id"].numpy().decode() for r in records] == ["p0", "p1", "p2", "p3", "p4"]
    assert [r["encoded"].numpy() for r in records] == [photo.image.read_bytes() for photo in source]


def test_shards_are_of_equal_length(tmp_path):
    write(photos(tmp_path / "in"), tmp_path / "out", 2)
    lengths = [len(list(tf.data.TFRecordDataset(f))) for f in RecordSet.open(tmp_path / "out").files]
    assert lengths == [2, 3]


def test_the_index_counts_photos_not_objects(tmp_path):
    summary = write(photos(tmp_path / "in"), tmp_path / "out", source="fake")
    index = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert index == {
        "source": "fake",
        "examples": 5,
        "level": "box",
        "concepts": {"ant": 2, "dog": 2},
        "tags": {"sky": 5} | {f"tag {i}": 1 for i in range(5)},
        "shards": ["records-00000-of-00001.tfrecord"],
        "read": 0,
        "bad": {},
        "left_out": {},
        "fault_examples": {},
    }
    assert (summary.examples, summary.concepts) == (5, index["concepts"])
    records = RecordSet.open(tmp_path / "out")
    assert (records.examples, records.level, records.concepts, records.tags) == (
        5,
        "box",
        index["concepts"],
        index["tags"],
    )


def test_labels_count_from_one_in_the_indexs_sorted_names(tmp_path):
    write(photos(tmp_path / "in"), tmp_path / "out")
    (file,) = RecordSet.open(tmp_path / "out").files
    second = tf.train.Example.FromString(list(tf.data.TFRecordDataset(file))[1].numpy())
    assert list(second.features.feature["image/object/class/label"].int64_list.value) == [2, 2, 1]


WHOLE = rle.encode(np.ones((8, 10), np.uint8, "F"))


@pytest.mark.parametrize(
    "objects, level",
    [((), "tag"), ((Object("dog", BOX),), "box"), ((Object("dog", None, WHOLE), Object("ant", BOX)), "mask")],
)
def test_the_level_is_the_strongest_there_is(tmp_path, objects, level):
    assert write(photos(tmp_path / "in", objects=objects), tmp_path / "out").level == level


def test_coco_file_to_records_and_back(tmp_path):
    """Pixels, boxes and words of the file, against pycocotools."""
    photos(tmp_path / "in", 1)
    polygon = [1.5, 1, 8, 2.5, 6, 7, 2, 6]
    hole = np.ones((8, 10), np.uint8, "F")
    hole[3:5, 4:6] = 0
    crowd = {"size": [8, 10], "counts": [30, 5, 45]}
    shapes = [[polygon], {"size": [8, 10], "counts": rle.encode(hole)["counts"].decode()}, crowd]
    boxes = [[1.5, 1, 6.5, 6], [0, 0, 10, 8], [3.3, 6, 1, 1.7]]
    values = {
        "images": [{"id": 3, "file_name": "p0.jpg", "height": 8, "width": 10}],
        "categories": [{"id": 5, "name": "T-Shirt"}, {"id": 9, "name": "\u00dcber"}],
        "annotations": [
            {"id": i, "image_id": 3, "category_id": c, "segmentation": s, "bbox": b, "iscrowd": int(i == 2)}
            for i, (s, b, c) in enumerate(zip(shapes, boxes, (5, 9, 5), strict=True))
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(values))
    source = partial(read_coco, tmp_path / "coco.json", tmp_path / "in")
    data_records.write(source, tmp_path / "out", inputs={}, source="coco")
    (record,) = read(tmp_path / "out")
    truth = [rle.decode(rle.merge(rle.frPyObjects([polygon], 8, 10))), hole]
    truth.append(rle.decode(rle.frPyObjects(crowd, 8, 10)))
    for png, mask in zip(record["masks"], truth, strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(png)[..., 0], mask)
    expected = [[y / 8, x / 10, (y + h) / 8, (x + w) / 10] for x, y, w, h in boxes]
    np.testing.assert_allclose(record["boxes"], expected, atol=1e-6)
    assert [name.decode() for name in record["names"].numpy()] == ["t shirt", "\u00fcber", "t shirt"]
    assert record["crowd"].numpy().tolist() == [False, False, True]


def broken(path):
    encoded = path.read_bytes()
    return {
        "text": b"this is not a picture",
        "header": encoded[: len(encoded) // 4],
        "truncated": encoded[:-10],
        "empty": b"",
        "gif": b"GIF89a" + encoded,
    }


@pytest.mark.parametrize(
    "kind, told",
    [
        ("text", "expected a JPEG or PNG photo"),
        ("header", "truncated"),
        ("truncated", "truncated"),
        ("empty", "expected a JPEG or PNG photo"),
        ("gif", "expected a JPEG or PNG photo"),
    ],
)
def test_a_broken_photo_is_named_and_no_set_is_there(tmp_path, kind, told):
    source = photos(tmp_path / "in")
    source[3].image.write_bytes(broken(source[3].image)[kind])
    with pytest.raises(UserError) as error:
        write(source, tmp_path / "out")
    assert str(error.value).startswith(f"{source[3].image}: {told}")
    assert not (tmp_path / "out").exists()


def test_one_broken_photo_in_many_is_skipped_counted_and_reported(tmp_path):
    source = photos(tmp_path / "in", 12)
    source[3].image.write_bytes(b"this is not a picture")
    summary = write(source, tmp_path / "out", 3)
    assert [r["source_id"].numpy().decode() for r in read(tmp_path / "out")] == [
        f"p{i}" for i in range(12) if i != 3
    ]
    ((reason, count),) = summary.bad.items()
    assert (summary.examples, reason, count) == (11, "expected a JPEG or PNG photo", 1)
    assert summary.concepts == {"ant": 5, "dog": 5}
    (example,) = summary.fault_examples[reason]
    assert example.startswith(f"{source[3].image}: {reason} (")
    report = (tmp_path / "out" / "report.md").read_text()
    assert f"| {reason} | 1 |" in report and f"- {example}" in report
    assert "| dog | 5 |" in report and "| sky | 11 |" in report


def test_when_strict_one_broken_photo_is_an_error(tmp_path):
    source = photos(tmp_path / "in", 12)
    source[3].image.write_bytes(b"this is not a picture")
    with pytest.raises(UserError, match="p3.jpg: expected a JPEG or PNG photo"):
        write(source, tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()


def test_photos_that_were_mended_are_read_by_the_next_run(tmp_path):
    source = photos(tmp_path / "in")
    whole = source[3].image.read_bytes()
    source[3].image.write_bytes(b"broken")
    with pytest.raises(UserError):
        write(source, tmp_path / "out", 5)
    source[3].image.write_bytes(whole)
    assert (write(source, tmp_path / "out", 5).examples, names_in(tmp_path)) == (5, ["in", "out"])


def test_a_photo_of_another_size_than_annotated_is_named(tmp_path):
    with pytest.raises(
        UserError, match="p0.jpg: photo of another size .*stored as 10 x 8, annotated as 8 x 10"
    ):
        write(photos(tmp_path / "in", height=10, width=8), tmp_path / "out")


def test_exif_orientation_is_left_alone(tmp_path):
    (photo,) = photos(tmp_path / "in", 1)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to see it upright
    Image.new("RGB", (10, 8)).save(photo.image, exif=exif)
    write([photo], tmp_path / "out")
    (record,) = read(tmp_path / "out")
    assert (int(record["height"]), int(record["width"])) == (8, 10)


def test_a_set_is_replaced_only_when_the_new_one_is_whole(tmp_path):
    source = photos(tmp_path / "in")
    write(source[:2], tmp_path / "out", 2)
    source[3].image.write_bytes(b"broken")
    with pytest.raises(UserError):
        write(source, tmp_path / "out")
    assert RecordSet.open(tmp_path / "out").examples == 2
    write(source[:3], tmp_path / "out")
    assert RecordSet.open(tmp_path / "out").examples == 3
    assert names_in(tmp_path / "out") == ["dataset.json", "records-00000-of-00001.tfrecord", "report.md"]


def test_a_folder_with_other_files_is_never_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years")
    with pytest.raises(UserError, match="out: holds thesis.txt"):
        write(photos(tmp_path / "in"), tmp_path / "out")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years"


def test_what_a_killed_run_left_is_cleared(tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "records-00003-of-00009.tfrecord").write_text("half")
    with pytest.raises(UserError, match="dataset.json: unfinished"):
        RecordSet.open(tmp_path / "out")
    write(photos(tmp_path / "in"), tmp_path / "out")
    assert names_in(tmp_path) == ["in", "out"]
    assert len(names_in(tmp_path / "out")) == 3


def test_a_set_of_the_earlier_form_opens(tmp_path):
    """Its index counts "skipped" objects and has no faults."""
    write(photos(tmp_path / "in"), tmp_path / "out")
    index = tmp_path / "out" / "dataset.json"
    new = ("read", "bad", "left_out", "fault_examples")
    values = {key: value for key, value in json.loads(index.read_text()).items() if key not in new}
    index.write_text(json.dumps(values | {"skipped": {"box without area": 2}}))
    assert RecordSet.open(tmp_path / "out").examples == 5
    assert data_records.Summary.load(tmp_path / "out").left_out == {"box without area": 2}


def test_opening_what_is_missing_or_broken_is_told(tmp_path):
    with pytest.raises(UserError, match="out/dataset.json: missing"):
        RecordSet.open(tmp_path / "out")
    write(photos(tmp_path / "in"), tmp_path / "out", 2)
    (tmp_path / "out" / "records-00001-of-00002.tfrecord").unlink()
    with pytest.raises(UserError, match="records-00001-of-00002.tfrecord: missing"):
        RecordSet.open(tmp_path / "out")
    (tmp_path / "out" / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match="dataset.json: not the index"):
        RecordSet.open(tmp_path / "out")


def test_by_default_there_is_a_shard_for_a_thousand_photos(tmp_path, monkeypatch):
    monkeypatch.setattr(data_records, "SHARD_PHOTOS", 2)
    assert len(write(photos(tmp_path / "in"), tmp_path / "out").shards) == 3


@pytest.mark.parametrize("count, shards, message", [(0, 1, "no photos"), (1, 0, "--shards 0")])
def test_nothing_to_do_is_told(tmp_path, count, shards, message):
    with pytest.raises(UserError, match=message):
        write(photos(tmp_path / "in", count), tmp_path / "out", shards)
    assert names_in(tmp_path) == ["in"]
