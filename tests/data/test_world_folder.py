"""ConceptWorld's folder: the public formats, complete or absent, and what each level leaves out."""

import csv
import functools
import io
import json
from contextlib import redirect_stdout

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

from cmask_tf.data.world import write_world, writer
from cmask_tf.data.world.annotate import (
    ANNOTATED,
    MISSING,
    WRONG,
    encode,
    outline_objects,
    polygons,
    tag,
    uncompressed,
)
from cmask_tf.data.world.concepts import ALIASES, ALL_WORDS, CONCEPTS, MASKED, OPEN_IMAGES, VISUAL_GENOME
from cmask_tf.data.world.scene import make_scene
from cmask_tf.errors import UserError

SCENES = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("world") / "out"
    write_world(out, SCENES)
    return out


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def _coco(path):
    with redirect_stdout(io.StringIO()):
        return COCO(str(path))


@functools.cache
def _scene(image_id):
    split = ("train", "val", "test")[image_id // 10**8 - 1]
    return make_scene(0, split, image_id % 10**8)


def test_the_splits_have_80_8_and_12_percent(folder):
    counts = {
        split: len(list((folder / "images" / split).glob("*.jpg"))) for split in ("train", "val", "test")
    }
    assert counts == {"train": 48, "val": 5, "test": 7} == writer.split_sizes(SCENES)
    assert writer.split_sizes(2000) == {"train": 1600, "val": 160, "test": 240}


def test_photos_are_jpegs_of_the_annotated_size(folder):
    for image in json.loads((folder / "coco/concept_masks_test.json").read_text())["images"]:
        photo = cv2.imread(str(folder / "images/test" / image["file_name"]))
        assert photo.shape == (image["height"], image["width"], 3)
        difference = photo[..., ::-1].astype(int) - _scene(image["id"]).image
        assert np.abs(difference).mean() < 6


def test_no_training_tag_is_of_the_zero_level(folder):
    train, everything = _lines(folder / "tags/train.jsonl"), _lines(folder / "tags/all_tags_for_pmi.jsonl")
    zero = {name for name, concept in CONCEPTS.items() if concept.level == "zero"}
    assert [line["image"] for line in train] == [line["image"] for line in everything]
    assert all((folder / line["image"]).is_file() for line in train)
    for kept, full in zip(train, everything, strict=True):
        assert kept["tags"] == [word for word in full["tags"] if word not in zero] and kept["tags"]
        assert set(full["tags"]) <= set(ALL_WORDS)
    assert len(zero & {word for line in everything for word in line["tags"]}) >= 5


def test_tags_are_missing_and_wrong_at_the_stated_rates():
    rng = np.random.default_rng(0)
    truth = list(CONCEPTS)[::5]
    drawn = [tag(rng, truth) for _ in range(4000)]
    given = np.mean([len(set(tags) & set(truth)) for tags in drawn])
    wrong = np.mean([len(set(tags) - set(truth)) for tags in drawn])
    assert given / len(truth) == pytest.approx(1 - MISSING, abs=0.01)
    assert wrong / given == pytest.approx(WRONG, abs=0.004)
    assert tag(np.random.default_rng(0), ["sky"])


def test_concept_masks_are_exactly_what_was_drawn(folder):
    for split in ("val", "test"):
        masks = _coco(folder / f"coco/concept_masks_{split}.json")
        assert {c["name"]: (c["level"], c["kind"]) for c in masks.cats.values()} == {
            name: (concept.level, concept.kind) for name, concept in CONCEPTS.items()
        }
        for image_id in masks.imgs:
            truth = _scene(image_id).masks()
            found = {masks.cats[a["category_id"]]["name"]: a for a in masks.imgToAnns[image_id]}
            assert set(found) == set(truth)
            for name, annotation in found.items():
                assert np.array_equal(masks.annToMask(annotation).astype(bool), truth[name])
                assert annotation["area"] == truth[name].sum()


def test_coco_outlines_the_objects_of_the_mask_level_only(folder):
    coco = _coco(folder / "coco/instances_train.json")
    assert [category["name"] for category in coco.cats.values()] == list(MASKED)
    forms = set()
    for annotation in coco.anns.values():
        name = coco.cats[annotation["category_id"]]["name"]
        drawn, truth = coco.annToMask(annotation).astype(bool), _scene(annotation["image_id"]).mask(name)
        assert (drawn & truth).sum() >= 0.93 * drawn.sum() > 0
        assert annotation["area"] == drawn.sum()
        forms.add(type(annotation["segmentation"]))
    assert forms == {list, dict}


def test_a_group_is_one_crowd():
    crowds = 0
    for index in range(60):
        scene = make_scene(0, "train", index)
        grouped = [instance for instance in scene.instances if instance.group and instance.name in MASKED]
        if not grouped:
            continue
        found = [entry for entry in outline_objects(scene) if entry[2]]
        assert len(found) == 1 and isinstance(found[0][1]["counts"], list)
        shape = found[0][1]
        visible = rle.decode(rle.frPyObjects(shape, *shape["size"])).astype(bool)
        expected = np.logical_or.reduce([scene.mask(instance.name, instance.labels) for instance in grouped])
        assert (visible & ~expected).sum() == 0 and visible.sum() > 0.9 * expected.sum()
        crowds += 1
    assert crowds


def test_boxes_are_normalised_and_hold_what_they_name(folder):
    with open(folder / "openimages/class-descriptions-boxable.csv") as file:
        names = {label: name.lower() for label, name in csv.reader(file)}
    assert tuple(names.values()) == OPEN_IMAGES
    with open(folder / "openimages/train-annotations-bbox.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 60
    for row in rows[:400]:
        left, right, top, bottom = (float(row[key]) for key in ("XMin", "XMax", "YMin", "YMax"))
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
        mask = _scene(int(row["ImageID"])).mask(names[row["LabelName"]])
        height, width = mask.shape
        box = np.round([top * height, bottom * height, left * width, right * width]).astype(int)
        inner = mask[box[0] : box[1], box[2] : box[3]]
        assert inner[0].any() and inner[-1].any() and inner[:, 0].any() and inner[:, -1].any()


def test_visual_genome_has_the_other_half_some_under_an_alias(folder):
    aliases = {
        line.split(",")[0]: line.split(",")[1:]
        for line in (folder / "visual_genome/object_alias.txt").read_text().split()
    }
    assert {name: tuple(others) for name, others in aliases.items()} == ALIASES
    own = {alias: name for name, others in aliases.items() for alias in others}
    images = {
        image["image_id"]: image
        for image in json.loads((folder / "visual_genome/image_data.json").read_text())
    }
    seen = set()
    for entry in json.loads((folder / "visual_genome/objects.json").read_text()):
        image = images[entry["image_id"]]
        for thing in entry["objects"]:
            seen.add(thing["names"][0])
            assert own.get(thing["names"][0], thing["names"][0]) in VISUAL_GENOME
            assert thing["w"] > 0 and 0 <= thing["x"] <= image["width"] - thing["w"]
            assert thing["h"] > 0 and 0 <= thing["y"] <= image["height"] - thing["h"]
    assert seen & set(own) and seen & set(VISUAL_GENOME)


def test_only_a_share_of_the_training_photos_is_annotated_and_it_is_one_share(folder):
    coco = {image["id"] for image in json.loads((folder / "coco/instances_train.json").read_text())["images"]}
    genome = {
        image["image_id"] for image in json.loads((folder / "visual_genome/image_data.json").read_text())
    }
    with open(folder / "openimages/train-annotations-bbox.csv") as file:
        boxed = {int(row["ImageID"]) for row in csv.DictReader(file)}
    assert boxed <= coco == genome
    assert len(coco) / 48 == pytest.approx(ANNOTATED, abs=0.2)


def test_the_concept_list_counts_what_is_in_the_files(folder):
    table = json.loads((folder / "concepts.json").read_text())
    assert {name: (row["level"], row["kind"]) for name, row in table.items()} == {
        name: (concept.level, concept.kind) for name, concept in ALL_WORDS.items()
    }
    lines = _lines(folder / "tags/train.jsonl")
    for name, row in table.items():
        assert row["n_train_tags"] == sum(name in line["tags"] for line in lines)
        assert not row["n_train_boxes"] or row["level"] in ("mask", "box")


def test_polygons_follow_the_pixels_and_holes_become_rle():
    mask = np.zeros((40, 50), bool)
    cv2.circle(view := mask.view(np.uint8), (20, 20), 9, 1, -1)
    view[5:9, 35:49] = 1
    coded = rle.merge(rle.frPyObjects(polygons(mask), *mask.shape))
    assert np.array_equal(rle.decode(coded).astype(bool), mask)
    mask[18:22, 18:22] = False
    assert polygons(mask) is None


def test_run_lengths_decode_to_the_mask():
    mask = np.random.default_rng(0).random((9, 7)) < 0.5
    for first in (False, True):
        mask[0, 0] = first
        assert np.array_equal(rle.decode(rle.frPyObjects(uncompressed(mask), 9, 7)).astype(bool), mask)
        assert np.array_equal(rle.decode(encode(mask)).astype(bool), mask)


def test_the_same_bytes_each_time_alone_or_in_a_pool_and_for_more_scenes(tmp_path, monkeypatch):
    write_world(tmp_path / "a", 12, seed=5)
    monkeypatch.setattr(writer, "_ALONE", 1)
    write_world(tmp_path / "b", 12, seed=5)
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert files == {
        path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*") if path.is_file()
    }
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    monkeypatch.undo()
    write_world(tmp_path / "c", 20, seed=5)
    for photo in (name for name in files if name.suffix == ".jpg"):
        assert (tmp_path / "a" / photo).read_bytes() == (tmp_path / "c" / photo).read_bytes()
    few, many = (_lines(tmp_path / name / "tags/train.jsonl") for name in "ac")
    assert many[: len(few)] == few


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="expected a folder that is empty"):
        write_world(tmp_path, 12)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "world").mkdir()
    write_world(tmp_path / "world", 10)
    assert (tmp_path / "world/concepts.json").is_file()


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(seed, split, index):
        raise OSError("disk full")

    monkeypatch.setattr(writer, "make_scene", broken)
    with pytest.raises(OSError, match="disk full"):
        write_world(tmp_path / "world", 12)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("scenes", "seed"), [(9, 0), (-1, 0), (12, -3)])
def test_numbers_out_of_range_are_told(tmp_path, scenes, seed):
    with pytest.raises(UserError, match="expected"):
        write_world(tmp_path / "world", scenes, seed)
