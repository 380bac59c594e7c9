"""Mask R-CNN*: built, trained for some steps and asked, at its smallest size, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from cmask_tf.data.records import write
from cmask_tf.data.sources import Annotated, Annotations, Object
from cmask_tf.evaluation.detections import Detections
from cmask_tf.imageio import read_image

SIDE = 64
SCRIPT = Path(__file__).with_name("small_detector.py")


def photo_of(folder, number):
    """A photo with a disc and a square: its path and their masks bool [SIDE, SIDE]."""
    noise = np.random.default_rng(number).integers(0, 60, (SIDE, SIDE, 3), np.uint8)
    disc = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (16 + 4 * number, 20), 11, 1, -1) > 0
    square = np.zeros((SIDE, SIDE), bool)
    square[40:58, 30 - 3 * number : 48 - 3 * number] = True
    noise[disc], noise[square] = (40, 200, 240), (220, 60, 30)
    path = folder / f"{number}.png"
    cv2.imwrite(str(path), noise)
    return path, disc, square


def thing(name, mask, drawn):
    code = rle.encode(np.asfortranarray(mask, np.uint8))
    x, y, w, h = rle.toBbox(code).tolist()
    box = (y / SIDE, x / SIDE, (y + h) / SIDE, (x + w) / SIDE)
    return Object(name, box, code if drawn else None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of four photos with boxes of discs and squares, and of four with masks of discs."""
    folder = tmp_path_factory.mktemp("detector")
    (folder / "images").mkdir()
    photos = [photo_of(folder / "images", number) for number in range(4)]
    for name, drawn in (("boxes", False), ("masks", True)):
        annotated = [
            Annotated(
                path,
                str(number),
                SIDE,
                SIDE,
                (thing("disc", disc, drawn), *(() if drawn else (thing("square", square, False),))),
            )
            for number, (path, disc, square) in enumerate(photos)
        ]
        out = folder / "records" / name
        out.parent.mkdir(exist_ok=True)
        write(lambda *_, rows=annotated: Annotations.of(rows), out, inputs={}, source="test")
    content = {
        "images": [
            {"id": n, "file_name": path.name, "height": SIDE, "width": SIDE}
            for n, (path, _, _) in enumerate(photos)
        ],
        "categories": [{"id": 9, "name": "disc"}, {"id": 4, "name": "sky"}],
        "annotations": [],
    }
    (folder / "photos.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def seen(folder):
    """What `small_detector.py` saw."""
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, SCRIPT, folder], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_mask_head_has_one_channel_for_all_classes(seen):
    assert seen["mask_channels"] == [1]


def test_both_record_sets_are_learnt_together_and_boxes_have_no_mask(seen):
    drawn, classes = np.array(seen["drawn"]), np.array(seen["gt_classes"])
    assert set(classes[classes > 0]) == {1, 2}
    assert not (drawn[classes == 2] > 0).any()


def test_the_mask_loss_is_of_objects_with_a_drawn_mask_of_a_concept_with_masks(seen):
    """Of the five regions the first and the last: no background, no square, no disc without a mask."""
    made = seen["mask_losses"]
    logits, targets = (np.array(made[key])[0, [0, 4]] for key in ("logits", "targets"))
    entropy = np.logaddexp(0, logits) - targets * logits
    np.testing.assert_allclose(made["loss"], entropy.sum() / (entropy.size + 0.01), rtol=1e-5)


def test_steps_lower_the_loss(seen):
    """The first step that of the proposals' scores; the rest takes some, as each draws other regions."""
    losses = seen["losses"]
    assert np.isfinite(list(losses.values())).all()
    assert losses["rpn_score_loss"][1] < losses["rpn_score_loss"][0]
    assert losses["total_loss"][-1] < 0.9 * losses["total_loss"][0]
    assert np.mean(losses["mask_loss"][-3:]) < np.mean(losses["mask_loss"][:3])


def test_an_interrupted_training_goes_on_from_its_last_checkpoint(seen, folder):
    assert seen["steps"] == [2, 2]
    assert sorted(file.name for file in (folder / "out").glob("ckpt-*.index")) == [
        "ckpt-2.index",
        "ckpt-4.index",
    ]


def test_training_begins_with_the_backbones_checkpoint_and_with_no_other(seen, folder):
    same, message = seen["begun_with"]
    assert same and message.startswith(f"{folder / 'other-1'}: not the weights of this backbone")


def test_another_recipe_does_not_take_up_the_checkpoints(seen, folder):
    assert seen["wrong_out"].startswith(f"{folder / 'out'}: holds the training of another recipe")


def test_boxes_and_masks_come_back_to_the_photos_pixels(seen):
    """The network saw 32 px as 64; the second instance is behind the number that it found."""
    (one,) = seen["placed"]
    assert (one["category_id"], one["score"], one["bbox"]) == (2, 0.75, [0.0, 0.0, 16.0, 16.0])
    mask = rle.decode(one["segmentation"])
    assert mask.shape == (16, 32)
    assert mask[1:15, 1:15].all() and not mask[:, 18:].any()


def test_its_results_are_scored_like_any_detectors(seen, folder):
    assert seen["exit_code"] == 0
    content = json.loads((folder / "results.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
    assert {0, 1, 2, 3} >= {entry["image_id"] for entry in content["annotations"]} != set()
    system = Detections(folder / "results.json", 0.0, annotations=folder / "photos.json")
    assert system.answers("disc") and system.answers("square") and not system.answers("sky")
    path = folder / "images" / "0.png"
    found = list(system.predict(path, read_image(path), ["disc", "square"]))
    assert any(one.present for one in found)
