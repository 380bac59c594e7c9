"""Reviewing pseudo masks: verdicts on disk at once, going on where it stopped, the cleaned file, the page."""

import hashlib
import json
import urllib.request

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from cmask_tf.errors import UserError
from cmask_tf.evaluation.review import Review
from cmask_tf.evaluation.review_page import build, launch, picture, repainted

SIZE = (12, 16)


def segmentation(mask):
    found = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(SIZE), "counts": found["counts"].decode()}


def square(k):
    mask = np.zeros(SIZE, bool)
    mask[k : k + 4, k : k + 5] = True
    return mask


@pytest.fixture
def file(tmp_path):
    """Three pseudo masks on photos 1, 1 and 2, and a drawn one on photo 3."""
    (tmp_path / "images").mkdir()
    for n in (1, 2, 3):
        cv2.imwrite(str(tmp_path / "images" / f"{n}.png"), np.full((*SIZE, 3), 50 * n, np.uint8))
    rows = [(11, 1, 1, True), (12, 1, 2, True), (13, 2, 1, True), (14, 3, 1, False)]
    content = {
        "info": {"pseudo": True},
        "images": [{"id": n, "file_name": f"{n}.png", "height": 12, "width": 16} for n in (1, 2, 3)],
        "categories": [{"id": 1, "name": "hat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {
                "id": i,
                "image_id": n,
                "category_id": c,
                "pseudo": p,
                "segmentation": segmentation(square(i - 11)),
            }
            for i, n, c, p in rows
        ],
    }
    path = tmp_path / "masks.json"
    path.write_text(json.dumps(content))
    return path


def open_(file):
    return Review(file, file.parent / "images")


def test_what_is_shown(file):
    review = open_(file)
    assert len(review) == 3 and review.decided == 0 and review.first_undecided() == 0
    item = review.show(1)
    assert item.name == "dog" and item.verdict is None and item.photo.shape == (*SIZE, 3)
    np.testing.assert_array_equal(item.mask, square(1))


def test_a_decision_is_on_disk_at_once_and_the_next_run_goes_on(file):
    open_(file).accept(0)
    again = open_(file)
    assert again.decided == 1 and again.first_undecided() == 1
    again.repaint(1, square(5))
    item = open_(file).show(1)
    assert item.verdict == "repainted"
    np.testing.assert_array_equal(item.mask, square(5))
    assert [path.name for path in file.parent.glob("*.partial")] == []


def test_undecided_masks_are_found_round_the_end(file):
    review = open_(file)
    review.accept(2)
    assert review.first_undecided(3) == 0
    review.accept(0)
    review.reject(1)
    assert review.first_undecided(1) is None


def test_a_decision_can_be_changed(file):
    review = open_(file)
    review.accept(0)
    review.reject(0)
    assert open_(file).show(0).verdict == "rejected"
    review.repaint(0, square(5))
    assert open_(file).show(0).verdict == "repainted"


def test_accepting_a_repainted_mask_keeps_what_is_shown(file):
    review = open_(file)
    review.repaint(0, square(5))
    review.accept(0)
    np.testing.assert_array_equal(open_(file).show(0).mask, square(5))


def test_the_cleaned_file(file, tmp_path):
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    review = open_(file)
    review.accept(0)
    review.repaint(1, square(6))
    review.reject(2)
    assert review.finish(tmp_path / "clean.json") == {"accepted": 1, "rejected": 1, "repainted": 1}
    clean = json.loads((tmp_path / "clean.json").read_text())
    assert [image["id"] for image in clean["images"]] == [1, 3]
    assert [(a["id"], a.get("reviewed")) for a in clean["annotations"]] == [
        (11, "accepted"),
        (12, "repainted"),
        (14, None),
    ]
    painted = clean["annotations"][1]
    np.testing.assert_array_equal(rle.decode(painted["segmentation"]), square(6))
    assert painted["area"] == 20 and painted["bbox"] == [6, 6, 5, 4]
    assert clean["info"] == {"pseudo": True, "reviewed": True}
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


def test_finishing_too_early_is_an_error(file, tmp_path):
    review = open_(file)
    review.accept(0)
    with pytest.raises(UserError, match="2 of 3 masks have no verdict yet"):
        review.finish(tmp_path / "clean.json")
    assert not (tmp_path / "clean.json").exists()


@pytest.mark.parametrize(
    "mask, message",
    [(np.zeros(SIZE, bool), "nothing is painted"), (np.ones((3, 4), bool), "expected 16 x 12 pixels")],
)
def test_a_mask_that_cannot_be_one_is_refused(file, mask, message):
    review = open_(file)
    with pytest.raises(UserError, match=message):
        review.repaint(0, mask)
    assert review.decided == 0


def test_decisions_of_another_file_are_not_taken(file):
    open_(file).accept(0)
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = segmentation(square(3))
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="decisions of another masks.json"):
        open_(file)


def test_a_broken_sidecar_is_told(file):
    review = open_(file)
    review.accept(0)
    content = json.loads(review.sidecar.read_text())
    review.sidecar.write_text(json.dumps(content | {"decisions": {"11": {"verdict": "maybe"}}}))
    with pytest.raises(UserError, match="not a file of decisions"):
        open_(file)


def test_a_file_without_pseudo_masks_is_told(file):
    content = json.loads(file.read_text())
    content["annotations"] = content["annotations"][3:]
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="nothing to review"):
        open_(file)


def strokes(add, remove):
    """What the editor gives back: a layer with pink and blue strokes."""
    layer = np.zeros((*SIZE, 4), np.uint8)
    layer[add], layer[remove] = (255, 0, 96, 255), (0, 144, 255, 255)
    return {"layers": [layer]}


def test_a_mask_is_tinted_on_its_photo():
    photo = np.full((*SIZE, 3), 100, np.uint8)
    background = picture(photo, square(2))["background"]
    np.testing.assert_array_equal((background != photo).any(axis=-1), square(2))
    assert (photo == 100).all()


def test_strokes_add_to_a_mask_and_take_away():
    found = repainted(square(0), strokes(square(4), square(0)[::-1] | square(1)))
    np.testing.assert_array_equal(found, (square(0) | square(4)) & ~square(1))


@pytest.mark.parametrize("painted", [None, {"layers": []}])
def test_without_a_stroke_a_mask_stays_as_it_is(painted):
    np.testing.assert_array_equal(repainted(square(3), painted), square(3))


def test_a_layer_that_the_browser_scaled_is_brought_back():
    layer = strokes(square(2), square(7) & False)["layers"][0]
    large = cv2.resize(layer, (32, 24), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(repainted(square(7), {"layers": [large]}), square(7) | square(2))


PAINTED = (square(2) & ~square(0)) | square(7)


@pytest.fixture
def served(file):
    from gradio_client import Client

    page = build(open_(file), file.parent / "clean.json")
    address = launch(page, block=False)
    yield Client(address, verbose=False), address, file
    page.close()


def test_the_page_walks_through_the_masks_and_writes_the_cleaned_file(served):
    from gradio_client import handle_file

    client, address, file = served
    assert address.startswith("http://127.0.0.1:")
    title, editor = client.predict(api_name="/open")
    assert "hat" in title and "mask 1 of 3, 0 decided" in title
    assert cv2.imread(editor["value"]["background"]).shape == (*SIZE, 3)
    title, _ = client.predict(api_name="/accept")
    assert "dog" in title and "mask 2 of 3, 1 decided" in title
    assert open_(file).decided == 1
    title, _ = client.predict(api_name="/back")
    assert "hat (accepted)" in title
    assert "mask 2 of 3, 1 decided" in client.predict(api_name="/accept")[0]
    title, editor = client.predict(api_name="/reject")
    assert "mask 3 of 3" in title
    editor = {"background": handle_file(editor["value"]["background"]), "composite": None}
    cv2.imwrite(
        str(file.parent / "strokes.png"), strokes(square(7), square(0))["layers"][0][..., [2, 1, 0, 3]]
    )
    editor["layers"] = [handle_file(str(file.parent / "strokes.png"))]
    title, editor = client.predict(editor, api_name="/repaint")
    assert "All masks have a verdict" in title and editor is None
    clean = json.loads((file.parent / "clean.json").read_text())
    assert [entry.get("reviewed") for entry in clean["annotations"]] == ["accepted", "repainted", None]
    np.testing.assert_array_equal(rle.decode(clean["annotations"][1]["segmentation"]), PAINTED)


def test_the_page_names_no_address_outside(served):
    _, address, _ = served
    with urllib.request.urlopen(address) as response:
        text = response.read().decode()
    assert not [host for host in ("googleapis", "gstatic", "cloudflare", "jsdelivr", "unpkg") if host in text]
