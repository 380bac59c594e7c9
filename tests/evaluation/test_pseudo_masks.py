"""Masks from boxes: GrabCut, its seeds, and the file that says it is pseudo."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from cmask_tf.cli import main as cmask
from cmask_tf.data.coco import coco_categories, load_concept_masks
from cmask_tf.errors import UserError
from cmask_tf.evaluation.pseudo_masks import grabcut, make_pseudo_masks, seeds_of

SIZE = (60, 90)
DISC = cv2.circle(np.zeros(SIZE, np.uint8), (30, 30), 18, 1, -1).astype(bool)
DISC_BOX = (12.0, 12.0, 37.0, 37.0)


def photo_of(mask, seed=0):
    """Something orange on noisy green."""
    noise = np.random.default_rng(seed).integers(0, 40, (*mask.shape, 3))
    return (np.where(mask[..., None], (220, 120, 20), (20, 110, 60)) + noise).clip(0, 255).astype(np.uint8)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_a_mask_from_a_box_is_nearer_to_the_thing_than_the_box():
    box = np.zeros(SIZE, bool)
    box[12:49, 12:49] = True
    found = grabcut(photo_of(DISC), [DISC_BOX])
    assert iou(found, DISC) > 0.95 > 0.8 > iou(box, DISC)
    assert not (found & ~box).any()


def test_several_boxes_are_one_mask():
    two = DISC | np.roll(DISC, 40, axis=1)
    found = grabcut(photo_of(two), [DISC_BOX, (52.0, 12.0, 37.0, 37.0)])
    assert iou(found, two) > 0.95


def test_the_same_photo_gives_the_same_mask():
    photo = photo_of(DISC)
    first = grabcut(photo, [DISC_BOX])
    cv2.setRNGSeed(99)
    np.testing.assert_array_equal(first, grabcut(photo, [DISC_BOX]))


def test_attention_says_which_of_two_things_in_a_box_is_meant():
    two = DISC | np.roll(DISC, 40, axis=1)
    photo = photo_of(two)
    photo[np.roll(DISC, 40, axis=1)] = (30, 30, 200)
    attention = cv2.GaussianBlur(DISC.astype(np.float32), (0, 0), 6)
    box = (12.0, 12.0, 77.0, 37.0)
    assert iou(grabcut(photo, [box], attention), DISC) > max(0.8, iou(grabcut(photo, [box]), DISC))


def test_constant_attention_says_nothing():
    photo = photo_of(DISC)
    flat = np.full(SIZE, 0.3, np.float32)
    np.testing.assert_array_equal(grabcut(photo, [DISC_BOX], flat), grabcut(photo, [DISC_BOX]))


@pytest.mark.parametrize("box", [(0, 0, 90, 60), (-5, -5, 200, 200)])
def test_a_box_that_is_the_whole_photo_is_its_own_mask(box):
    assert grabcut(photo_of(DISC), [box]).all()


@pytest.mark.parametrize("box", [(89.5, 59.5, 5, 5), (0, 0, 0.2, 0.2), (30, 30, 1, 1)])
def test_a_box_of_a_pixel_is_that_pixel(box):
    assert 1 <= grabcut(photo_of(DISC), [box]).sum() <= 4


def test_a_photo_of_one_colour_keeps_the_box():
    """GrabCut has nothing to go by; the box is what is known."""
    flat = np.full((*SIZE, 3), 90, np.uint8)
    assert grabcut(flat, [DISC_BOX]).sum() == 37 * 37


@pytest.fixture
def boxes(tmp_path):
    """Two photos: an orange disc by its box, and one with a drawn mask; a category without any."""
    (tmp_path / "images").mkdir()
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), photo_of(DISC, number)[..., ::-1])
    drawn = rle.encode(np.asfortranarray(DISC, np.uint8))
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]} for n in (1, 2)],
        "categories": [
            {"id": 5, "name": "disc", "level": "box", "kind": "object"},
            {"id": 9, "name": "dog", "level": "mask", "kind": "object"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 5, "bbox": list(DISC_BOX)},
            {
                "id": 2,
                "image_id": 2,
                "category_id": 9,
                "bbox": list(DISC_BOX),
                "segmentation": {"size": list(SIZE), "counts": drawn["counts"].decode()},
            },
        ],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    return tmp_path


def test_the_file_is_a_coco_file_that_says_what_is_pseudo(boxes):
    out = boxes / "masks.json"
    assert make_pseudo_masks(boxes / "boxes.json", boxes / "images", out) == (1, 1)
    content = json.loads(out.read_text())
    assert content["info"]["pseudo"] is True and "GrabCut" in content["info"]["method"]
    assert [entry["pseudo"] for entry in content["annotations"]] == [True, False]
    assert content["annotations"][0]["boxes"] == [list(DISC_BOX)]
    assert coco_categories(out) == coco_categories(boxes / "boxes.json")
    masks = [found for _, found in load_concept_masks(out, boxes / "images")]
    assert iou(masks[0]["disc"], DISC) > 0.95
    np.testing.assert_array_equal(masks[1]["dog"], DISC)


def test_attention_is_asked_for_names_without_a_drawn_mask_only(boxes):
    asked = []

    def attention(photo, names):
        asked.append(list(names))
        return {}

    make_pseudo_masks(boxes / "boxes.json", boxes / "images", boxes / "masks.json", attention)
    assert asked == [["disc"]]
    assert "attention" in json.loads((boxes / "masks.json").read_text())["info"]["method"]


WRONG = [
    (lambda c: c["annotations"][0].update(bbox=[1, 2, 0, 4]), "annotation 1: expected bbox"),
    (lambda c: c["annotations"][0].update(category_id=7), "annotation 1: expected an image and a category"),
    (lambda c: c["images"][0].update(file_name="9.png"), "image 1: photo is not there"),
    (lambda c: c["images"][0].update(height=7), "1.png: 90 x 60, annotated as 90 x 7"),
    (lambda c: c.pop("images"), "expected images, categories and annotations"),
]


@pytest.mark.parametrize("change, message", WRONG)
def test_a_wrong_file_is_told_and_leaves_nothing(boxes, change, message):
    content = json.loads((boxes / "boxes.json").read_text())
    change(content)
    (boxes / "boxes.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        make_pseudo_masks(boxes / "boxes.json", boxes / "images", boxes / "masks.json")
    assert not list(boxes.glob("masks*"))


class Segmenter:
    """Two scales of attention; knows one word."""

    class vocabulary:
        @staticmethod
        def find(name):
            return 0 if name == "disc" else None

    def encode(self, photo):
        return photo

    def attention(self, names, features):
        assert names == ["disc"]
        return [np.array([[[3.0, 5.0], [3.0, 5.0]]]), np.ones((1, 3, 3))]


def test_seeds_are_the_mean_of_both_scales_and_only_of_known_words():
    maps = seeds_of(Segmenter())(photo_of(DISC), ["disc", "yurt"])
    assert set(maps) == {"disc"} and maps["disc"].shape == SIZE
    np.testing.assert_allclose(maps["disc"][:, [0, -1]], [[0, 0.5]] * SIZE[0], atol=1e-6)
    assert seeds_of(Segmenter())(photo_of(DISC), ["yurt"]) == {}


def test_the_benchmark_prints_a_table(boxes):
    make_pseudo_masks(boxes / "boxes.json", boxes / "images", boxes / "masks.json")
    script = Path(__file__).parents[2] / "benchmarks" / "pseudo_masks.py"
    command = [sys.executable, script, "--masks", boxes / "masks.json", "--images", boxes / "images"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == "| level | concepts | masks | whole box | GrabCut, box |"
    assert len(lines) == 6


def test_boxes_may_come_as_a_record_set(boxes, tmp_path):
    """Of any source; the masks are those of the same boxes in a COCO file."""
    content = json.loads((boxes / "boxes.json").read_text())
    for annotation in content["annotations"]:
        annotation.pop("segmentation", None)
    (boxes / "boxes.json").write_text(json.dumps(content))
    given = ["--images", str(boxes / "images"), "--annotations", str(boxes / "boxes.json")]
    assert cmask(["data", "coco", *given, "--out", str(tmp_path / "records")]) == 0
    made = []
    for name, source in (("file", boxes / "boxes.json"), ("records", tmp_path / "records")):
        make_pseudo_masks(source, boxes / "images", tmp_path / f"{name}.json")
        made.append(list(load_concept_masks(tmp_path / f"{name}.json", boxes / "images")))
    for (_, expected), (_, found) in zip(*made, strict=True):
        assert found.keys() == expected.keys()
        for concept, mask in expected.items():
            np.testing.assert_array_equal(found[concept], mask)


def test_a_record_set_that_has_masks_is_refused(boxes, tmp_path):
    given = ["--images", str(boxes / "images"), "--annotations", str(boxes / "boxes.json")]
    assert cmask(["data", "coco", *given, "--out", str(tmp_path / "records")]) == 0
    with pytest.raises(UserError, match="records: a record set of level mask; expected one with boxes alone"):
        make_pseudo_masks(tmp_path / "records", boxes / "images", tmp_path / "masks.json")
    assert not (tmp_path / "masks.json").exists()
