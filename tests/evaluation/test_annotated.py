"""Presence is measured where it is annotated: a photo of pseudo masks does not tell what it does not show."""

import csv
import json

import numpy as np
import pytest
from evaluation_fixture import LEFT, TOP, FakeSegmenter, write_photos

from cmask_tf.evaluation.annotated import told_absent
from cmask_tf.evaluation.evaluate import evaluate
from cmask_tf.evaluation.figures.examples import read_examples
from cmask_tf.evaluation.systems import Prediction, SegmenterSystem
from cmask_tf.reproduce.scores import verified

CATEGORIES = {
    "dress": {"level": "mask", "kind": "object"},
    "hair": {"level": "box", "kind": "part"},
    "cape": {"level": "zero", "kind": "object"},
}
# The first two are drawn, the others made from boxes.
TRUTHS = [{"dress": TOP}, {"dress": LEFT, "hair": LEFT}, {"hair": TOP}, {"hair": LEFT, "cape": ~TOP}]
PSEUDO = [("hair", 1), ("hair", 2), ("hair", 3), ("cape", 3)]
SCORES = {(0, "dress"): 0.9, (1, "dress"): 0.2, (2, "dress"): 0.8, (2, "cape"): 0.7, (3, "hair"): 0.6}


class Hats:
    """It knows hats alone and finds one, the left half, in every photo."""

    def answers(self, name):
        return name == "hat"

    def predict(self, path, image, names):
        for name in names:
            yield Prediction(name, LEFT.astype(np.float32), None, 0.9, True)


@pytest.fixture
def world(tmp_path):
    """Photos and their masks, those of PSEUDO marked as such."""
    folder = tmp_path / "photos"
    folder.mkdir()
    file = write_photos(folder, TRUTHS, CATEGORIES)
    content = json.loads(file.read_text())
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    for entry in content["annotations"]:
        entry["pseudo"] = (names[entry["category_id"]], entry["image_id"]) in PSEUDO
    file.write_text(json.dumps(content))
    return folder, file


@pytest.fixture
def scored(world, tmp_path):
    system = SegmenterSystem(FakeSegmenter({"dress": TOP, "hair": TOP, "cape": ~TOP}, SCORES))
    metrics = evaluate(system, *world, tmp_path / "out")
    with open(tmp_path / "out" / "examples.csv", newline="") as file:
        return metrics, list(csv.DictReader(file)), tmp_path / "out"


def test_only_photos_with_drawn_masks_tell_what_is_absent_and_of_mask_level_concepts_alone(world):
    _, file = world
    everything = told_absent(file, CATEGORIES)
    assert everything == [{"dress"}, {"dress"}, set(), set()]


def test_without_pseudo_masks_everything_that_is_not_annotated_is_absent(tmp_path):
    assert told_absent(write_photos(tmp_path, TRUTHS, CATEGORIES), CATEGORIES) is None


def test_a_pair_that_nobody_annotated_has_a_row_without_a_truth(scored):
    _, rows, _ = scored
    assert len(rows) == len(TRUTHS) * len(CATEGORIES)
    truth = {(row["photo"], row["concept"]): row["truth"] for row in rows}
    present = {(f"{n}.png", name) for n, masks in enumerate(TRUTHS) for name in masks}
    assert truth == {pair: "1" if pair in present else "" for pair in truth}
    assert all(row["score"] and row["area"] for row in rows)


def test_quality_is_of_all_masks_and_presence_of_fully_annotated_pairs(scored):
    metrics, rows, _ = scored
    presence = metrics["presence"]
    # The dresses of the drawn photos; hair and cape were annotated only where they are.
    assert (presence["pairs"], presence["pairs_present"]) == (2, 2)
    assert (presence["recall"], presence["by_concept"]["hair"]["pairs"]) == (1 / 2, 0)
    assert presence["auc_pooled"] is None and presence["false_area"] is None
    assert metrics["semantic"] is None
    assert metrics["levels"]["box"]["iou"] == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)
    assert verified(rows) == {}


def test_an_absence_that_is_told_counts(world, tmp_path):
    """A hat is drawn in the second photo: of the first it is told that there is none."""
    folder, file = world
    content = json.loads(file.read_text())
    drawn = next(entry for entry in content["annotations"] if entry["image_id"] == 0)
    content["categories"].append({"id": 9, "name": "hat", "level": "mask", "kind": "object"})
    content["annotations"].append(drawn | {"id": 99, "category_id": 9, "image_id": 1})
    file.write_text(json.dumps(content))
    metrics = evaluate(Hats(), folder, file, tmp_path / "out")
    hat = metrics["presence"]["by_concept"]["hat"]
    assert (hat["pairs"], hat["pairs_present"], hat["precision"], hat["recall"]) == (2, 1, 1 / 2, 1.0)
    assert metrics["presence"]["false_area"] == 1 / 2
    with open(tmp_path / "out" / "examples.csv", newline="") as rows:
        assert verified(csv.DictReader(rows)) == {
            level: {"precision": 1 / 2, "recall": 1.0, "pairs": 2} for level in ("mask", "all")
        }


def test_a_picture_of_scores_says_what_is_not_annotated(scored):
    _, _, out = scored
    highest = read_examples(out / "examples.csv").highest
    assert [(one.photo, one.there) for one in highest["dress"][:2]] == [("0.png", True), ("2.png", None)]
