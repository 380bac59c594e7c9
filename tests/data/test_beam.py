"""Conversion on Apache Beam: the same files as one process writes, whatever is wrong with the source."""

import csv
import filecmp
import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("apache_beam", reason="Apache Beam is not installed")

from cmask_tf.cli import main  # noqa: E402
from cmask_tf.data import beam, records  # noqa: E402
from cmask_tf.data.coco import read_coco  # noqa: E402
from cmask_tf.data.masks import read_masks  # noqa: E402
from cmask_tf.data.open_images import read_open_images  # noqa: E402
from cmask_tf.data.tags import read_tags  # noqa: E402
from cmask_tf.data.visual_genome import read_visual_genome  # noqa: E402
from cmask_tf.errors import UserError  # noqa: E402

HEIGHT, WIDTH, PHOTOS = 12, 16, 14


@pytest.fixture
def images(tmp_path) -> Path:
    """Photos 0.jpg to 13.jpg; 12 is no photo, 13 has another size than annotated."""
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(PHOTOS):
        size = (HEIGHT, WIDTH) if number != 13 else (WIDTH, HEIGHT)
        cv2.imwrite(str(folder / f"{number}.jpg"), noise.integers(0, 255, (*size, 3), np.uint8))
    (folder / "12.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture
def coco(tmp_path) -> Path:
    """Forty annotations and one of most faults that COCO files have."""
    photos = [{"id": n, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH} for n in range(1, PHOTOS)]
    photos.insert(3, {"id": 99, "file_name": "2.jpg", "height": HEIGHT, "width": WIDTH})  # a second id
    photos += [{"id": 1, "file_name": "1.jpg", "height": 9, "width": 9}, {"id": 70, "height": 5, "width": 5}]
    photos.append({"id": 71, "file_name": "3.jpg", "height": 9, "width": 9})  # a second id, another size
    ring = [2, 2, 10, 2, 10, 9, 2, 9]
    entries = [
        {"id": n, "image_id": 1 + n * 7 % 13, "category_id": 1 + n % 3, "segmentation": [ring]}
        for n in range(40)
    ]
    for number, change in enumerate(
        (
            {"image_id": 99, "segmentation": None, "bbox": [1, 1, 4, 5]},
            {"image_id": 71},
            {"category_id": 50},
            {"image_id": 500},
            {"image_id": None},
            {"segmentation": [[1, 2, 3]], "bbox": [1, 2, 3, 4]},
        )
    ):
        entries.insert(5 * number, entries[0] | {"id": 100 + number} | change)
    categories = [{"id": n, "name": name} for n, name in enumerate(("zebra", "Red Hats", "apple"), 1)]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"annotations": entries, "images": photos, "categories": categories}))
    return path


def same_files(read: partial, folder: Path, **settings) -> records.Summary:
    """Converts both ways and compares every file; gives what was written."""
    local, ours = folder / "local", folder / "beam"
    settings = {"inputs": {}, "source": "some photos"} | settings
    written = records.write(read, local, **settings)
    assert beam.write(read, ours, runner="DirectRunner", **settings) == written
    names = sorted(path.name for path in local.iterdir())
    assert sorted(path.name for path in ours.iterdir()) == names
    assert filecmp.cmpfiles(local, ours, names, shallow=False) == (names, [], [])
    return written


@pytest.fixture(autouse=True)
def lenient(monkeypatch):
    """These sources are small: more than a tenth of each is bad."""
    monkeypatch.setattr("cmask_tf.faults.MOST", 0.6)


def test_coco_with_faults_gives_the_same_files_in_three_shards(coco, images, tmp_path):
    written = same_files(partial(read_coco, coco, images), tmp_path, shards=3)
    assert len(written.shards) == 3
    assert sum(written.bad.values()) == 9
    assert written.left_out["annotation of a photo that was left out"] == 1


def test_lines_of_a_file_of_ids_that_name_no_photo_are_told_once(coco, images, tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text("1\n2.jpg\nabsent\n5\n7\n8\n")
    written = same_files(partial(read_coco, coco, images, ids=ids), tmp_path)
    assert written.bad["id of no image in the file"] == 1
    assert written.examples == 5


def test_open_images_in_parts_gives_the_same_files(images, tmp_path, monkeypatch):
    monkeypatch.setattr(beam, "PART_BYTES", 100)  # a row or two
    boxes, classes, labels = (tmp_path / f"{name}.csv" for name in ("boxes", "classes", "labels"))
    classes.write_text("/m/1,Dog\n/m/2,Animal\n/m/3,Red hat\n")
    tree = tmp_path / "tree.json"
    tree.write_text(
        json.dumps(
            {
                "LabelName": "/m/0",
                "Subcategory": [{"LabelName": "/m/2", "Subcategory": [{"LabelName": "/m/1"}]}],
            }
        )
    )
    rows = [[str(n % 14), f"/m/{1 + n % 3}", 0.1, 0.5, 0.2, 0.9, n % 2] for n in range(30)]
    rows.insert(4, ["1", "/m/9", 0.1, 0.5, 0.2, 0.9, 0])
    rows.insert(9, ["absent", "/m/1", 0.1, 0.5, 0.2, 0.9, 0])
    rows.insert(11, ["absent", "/m/1", 0.1, 0.5, 0.2, 0.9, 0])
    rows.insert(15, ["1", "/m/1", 3, 50, 20, 90, 0])
    rows.insert(16, ["1", "/m/1", 0.1])
    rows.insert(17, ["2", "/m/1", 0.5, 0.5, 0.2, 0.9, 0])
    with boxes.open("w", newline="") as file:
        csv.writer(file).writerow(["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf"])
        file.write("\n")
        csv.writer(file).writerows(rows)
    labels.write_text(
        "ImageID,Source,LabelName,Confidence\n1,v,/m/3,1\n2,v,/m/2,0\nabsent,v,/m/2,1\n1,v,/m/1,x\n3,v,/m/3,1\n"
    )
    read = partial(read_open_images, boxes, classes, images, hierarchy=tree, labels=labels)
    written = same_files(read, tmp_path)
    assert written.concepts["animal"] > written.concepts["dog"] > 0
    assert written.tags == {"red hat": 2}


def test_visual_genome_gives_the_same_files(images, tmp_path):
    sizes = [
        {"image_id": n, "url": f"https://x.org/VG/{n}.jpg", "height": HEIGHT, "width": WIDTH}
        for n in range(13)
    ]
    sizes += [sizes[0], {"image_id": 50, "url": "2.jpg", "height": HEIGHT, "width": WIDTH}]
    thing = {"names": ["A man.", "dog"], "x": 1, "y": 2, "w": 5, "h": 6}
    found = [{"image_id": n, "objects": [thing | {"object_id": n}]} for n in (5, 3, 50, 2, 9, 60, 3, 4)]
    found += [{"image_id": 8, "objects": [thing, {"names": [], "x": 1, "y": 1, "w": 1, "h": 1}, 7]}]
    paths = [tmp_path / "objects.json", tmp_path / "image_data.json"]
    for path, value in zip(paths, (found, sizes), strict=True):
        path.write_text(json.dumps(value))
    aliases = tmp_path / "aliases.txt"
    aliases.write_text("person,a man\n")
    written = same_files(partial(read_visual_genome, *paths, images, aliases=aliases), tmp_path)
    assert written.concepts == {"dog": 6, "person": 6}


@pytest.mark.parametrize("name", ["tags.jsonl", "tags.csv"])
def test_tags_give_the_same_files(name, images, tmp_path, monkeypatch):
    monkeypatch.setattr(beam, "PART_BYTES", 64)
    lines = [(f"images/{n % 14}.jpg", ["Red hats", "sea", f"word {n}"]) for n in range(20)]
    lines.insert(2, ("absent.jpg", ["sea"]))
    if name == "tags.jsonl":
        text = [json.dumps({"image": image, "tags": words}) for image, words in lines]
        text[5:5] = ["", "{", '{"image": "1.jpg", "tags": "sea"}']
    else:
        text = ["image,tags", *(f"{image},{';'.join(words)}" for image, words in lines), "one"]
    (tmp_path / name).write_text("\ufeff" + "\n".join(text))
    written = same_files(partial(read_tags, tmp_path / name, images, folded=False), tmp_path)
    assert written.tags["Red hats"] == 13
    assert written.left_out == {"second line for a photo": 6}


def test_folders_of_classes_give_the_same_files(images, tmp_path):
    (images / "sea" / "red hat").mkdir(parents=True)
    for number, folder in enumerate(("sea", "sea/red hat", "sea")):
        (images / f"{number}.jpg").rename(images / folder / f"{number}.jpg")
    (images / "sea" / "notes.txt").write_text("")
    written = same_files(partial(read_tags, images, images), tmp_path)
    assert written.tags == {"red hat": 1, "sea": 3}


def test_png_masks_give_the_same_files(images, tmp_path):
    masks = tmp_path / "masks"
    (masks / "2").mkdir(parents=True)
    half = np.zeros((HEIGHT, WIDTH), np.uint8)
    half[:6] = 1
    for name in ("1.dog.png", "2/red hat.png", "2.cat.png", "3.png", "13.dog.png", "nobody.png"):
        cv2.imwrite(str(masks / name), half)
    (masks / "labels.txt").write_text("1 sky\n")
    (masks / "notes.txt").write_text("")
    written = same_files(partial(read_masks, images, masks), tmp_path)
    assert written.concepts == {"cat": 1, "dog": 1, "red hat": 1, "sky": 1}


def test_the_first_bad_record_of_the_file_is_the_error_when_strict(coco, images, tmp_path):
    settings = {"inputs": {}, "source": "coco", "strict": True}
    with pytest.raises(UserError) as local:
        records.write(partial(read_coco, coco, images), tmp_path / "local", **settings)
    with pytest.raises(UserError) as ours:
        beam.write(partial(read_coco, coco, images), tmp_path / "beam", runner="DirectRunner", **settings)
    assert str(ours.value) == str(local.value)
    assert not (tmp_path / "beam").exists() and not (tmp_path / "beam.partial").exists()


def test_a_file_that_breaks_off_is_one_line_and_nothing_is_written(coco, images, tmp_path, capsys):
    coco.write_text(coco.read_text()[:-400])
    out = tmp_path / "out"
    arguments = ["coco", "--annotations", str(coco), "--images", str(images), "--out", str(out)]
    assert main(["data", *arguments, "--beam", "DirectRunner"]) == 2
    assert f"cmask: error: {coco}: not JSON" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_source_without_photos_is_one_line(text, images, tmp_path):
    (tmp_path / "tags.jsonl").write_text(text)
    read = partial(read_tags, tmp_path / "tags.jsonl", images)
    with pytest.raises(UserError, match="tags: no photos to convert"):
        beam.write(read, tmp_path / "out", inputs={}, source="tags", runner="DirectRunner")


def test_finished_shards_are_kept_by_the_next_run(coco, images, tmp_path, monkeypatch):
    read = partial(read_coco, coco, images)
    settings = {"inputs": {}, "source": "coco", "shards": 3, "runner": "DirectRunner"}
    monkeypatch.setattr(records, "describe", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        beam.write(read, tmp_path / "out", **settings)
    monkeypatch.undo()
    shards = sorted((tmp_path / "out.partial").glob("*.tfrecord"))
    before = [shard.stat().st_ino for shard in shards]
    shards[1].unlink()
    monkeypatch.setattr("cmask_tf.faults.MOST", 0.6)
    beam.write(read, tmp_path / "out", **settings)
    after = [(tmp_path / "out" / shard.name).stat().st_ino for shard in shards]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]


def _interrupted(*args):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--beam", "NoRunner"], "NoRunner"),
        (["--beam", "DirectRunner", "--beam-option", "no_such=1"], "no_such"),
        (["--beam-option", "streaming"], "expected --beam RUNNER"),
    ],
)
def test_a_runner_or_option_that_beam_does_not_know_is_one_line(
    options, expected, coco, images, tmp_path, capsys
):
    arguments = ["coco", "--annotations", str(coco), "--images", str(images), "--out", str(tmp_path / "out")]
    assert main(["data", *arguments, *options]) == 2
    told = capsys.readouterr().err
    assert expected in told and told.count("\n") == 1


def test_ccp_gives_the_same_files(ccp, tmp_path):
    boxes = ccp / "openimages"
    read = partial(
        read_open_images,
        boxes / "train-annotations-bbox.csv",
        boxes / "class-descriptions-boxable.csv",
        ccp / "images" / "train",
    )
    assert same_files(read, tmp_path, shards=2).examples > 500
