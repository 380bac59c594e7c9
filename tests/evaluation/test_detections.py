"""A detector's COCO results as a system: instances merged to masks, and every way a file can be wrong."""

import gzip
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.errors import UserError
from cmask_tf.evaluation.detections import Detections

HEIGHT, WIDTH = 6, 8
ANNOTATIONS = {
    "images": [
        {"id": 11, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
        {"id": 12, "file_name": "val/b.png", "height": HEIGHT, "width": WIDTH},
        {"id": 13, "file_name": "test/b.png", "height": HEIGHT, "width": WIDTH},
    ],
    "categories": [{"id": 1, "name": "Dog"}, {"id": 7, "name": "tree"}],
    "annotations": [],
}
PHOTO = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def columns(first, last):
    """bool [HEIGHT, WIDTH], set from one column up to another."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[:, first:last] = True
    return mask


def result(mask, score, image=11, **more):
    code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    shape = {"size": list(mask.shape), "counts": code["counts"].decode()}
    return {"image_id": image, "category_id": 1, "segmentation": shape, "score": score, "bbox": []} | more


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "val/b.png", "test/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(PHOTO).save(tmp_path / name)
    (tmp_path / "annotations.json").write_text(json.dumps(ANNOTATIONS))
    return tmp_path


def opened(folder, results, **options):
    text = results if isinstance(results, str) else json.dumps(results)
    (folder / "results.json").write_text(text)
    return Detections(folder / "results.json", annotations=folder / "annotations.json", **options)


def answer(system, folder, name="dog", photo="a.png"):
    (one,) = system.predict(folder / photo, PHOTO, [name])
    return one


def test_a_concepts_instances_from_the_least_score_on_are_one_mask(folder):
    found = [result(columns(0, 2), 0.9), result(columns(5, 6), 0.5), result(columns(3, 4), 0.49)]
    one = answer(opened(folder, found), folder)
    np.testing.assert_array_equal(one.probability, columns(0, 2) | columns(5, 6))
    assert one.probability.dtype == np.float32
    assert (one.name, one.score, one.present, one.attention) == ("dog", 0.9, True, None)


def test_the_least_score_is_the_callers(folder):
    found = [result(columns(0, 2), 0.9), result(columns(3, 4), 0.3)]
    one = answer(opened(folder, found, least_score=0.25), folder)
    np.testing.assert_array_equal(one.probability, columns(0, 2) | columns(3, 4))


def test_a_score_below_the_least_is_still_the_score_of_presence(folder):
    one = answer(opened(folder, [result(columns(0, 2), 0.2), result(columns(0, 2), 0.4)]), folder)
    assert (one.score, one.present, one.probability.any()) == (0.4, False, False)


def test_nothing_found_is_an_empty_mask_and_not_a_missing_one(folder):
    system = opened(folder, [result(columns(0, 2), 0.9)])
    assert system.answers("tree") and system.answers("Dog")
    for name, photo in (("tree", "a.png"), ("dog", "val/b.png")):
        one = answer(system, folder, name, photo)
        assert one.probability.shape == (HEIGHT, WIDTH) and not one.probability.any()
        assert (one.score, one.present) == (0.0, False)
    assert not system.answers("cat")


def test_answers_come_in_the_order_of_the_question(folder):
    system = opened(folder, [result(columns(0, 2), 0.9), result(columns(3, 4), 0.8, category_id=7)])
    names = ["tree", "dog", "tree"]
    found = list(system.predict(folder / "a.png", PHOTO, names))
    assert [one.name for one in found] == names and [one.score for one in found] == [0.8, 0.9, 0.8]


def test_polygons_both_forms_of_rle_and_names_are_read(folder):
    counts = [0, 2 * HEIGHT, HEIGHT * (WIDTH - 2)]
    polygon = [[3, 0, 5, 0, 5, HEIGHT, 3, HEIGHT]]
    found = [
        result(PHOTO[..., 0], 0.9, segmentation={"size": [HEIGHT, WIDTH], "counts": counts}),
        result(PHOTO[..., 0], 0.9, segmentation=polygon, category_id=None, category="DOG"),
    ]
    one = answer(opened(folder, found), folder)
    np.testing.assert_array_equal(one.probability, columns(0, 2) | columns(3, 5))


def test_results_may_bring_their_own_categories(folder):
    own = {"categories": [{"id": 1, "name": "cat"}], "annotations": [result(columns(0, 2), 0.9)]}
    system = opened(folder, own)
    assert system.answers("cat") and not system.answers("dog")
    np.testing.assert_array_equal(answer(system, folder, "cat").probability, columns(0, 2))


def test_a_packed_file_is_read_too(folder):
    (folder / "r.json.gz").write_bytes(gzip.compress(json.dumps([result(columns(0, 2), 0.9)]).encode()))
    system = Detections(folder / "r.json.gz", annotations=folder / "annotations.json")
    assert answer(system, folder).present


def test_photos_of_one_name_are_told_apart_by_their_folders(folder):
    system = opened(folder, [result(columns(0, 2), 0.9, image=13)])
    assert answer(system, folder, photo="test/b.png").present
    assert not answer(system, folder, photo="val/b.png").present
    with pytest.raises(UserError, match="other/b.png: several photos of that name"):
        answer(system, folder, photo="other/b.png")


def test_masks_lie_on_the_stored_pixels_and_turn_with_the_photo(folder):
    photo = Image.fromarray(PHOTO)
    photo.getexif()[274] = 6  # a quarter clockwise when shown
    photo.save(folder / "a.png", exif=photo.getexif())
    system = opened(folder, [result(columns(0, 2), 0.9)])
    (one,) = system.predict(folder / "a.png", np.zeros((WIDTH, HEIGHT, 3), np.uint8), ["dog"])
    np.testing.assert_array_equal(one.probability, np.rot90(columns(0, 2), -1))


def test_an_unknown_photo_or_one_of_another_size_is_told(folder):
    system = opened(folder, [])
    with pytest.raises(UserError, match="c.png: no such photo in .*annotations.json"):
        answer(system, folder, photo="c.png")
    with pytest.raises(UserError, match=r"a.png: 4 x 3 pixels; .*annotations.json has 8 x 6"):
        list(system.predict(folder / "a.png", np.zeros((3, 4, 3), np.uint8), ["dog"]))


GOOD = result(columns(0, 2), 0.9)
BOX = GOOD | {"segmentation": None, "bbox": [1, 1, 3, 3]}
WRONG = {
    "image": (GOOD | {"image_id": 5}, "result number 2: no such image in .*annotations.json"),
    "no image": ({}, "result number 2: expected image_id"),
    "category": (GOOD | {"category_id": 3}, "result number 2: expected one of the file's categories .'3'"),
    "name": (GOOD | {"category_id": None, "category": "cat"}, "number 2: expected one of .* .'cat'"),
    "no category": (GOOD | {"category_id": None}, "result number 2: expected category_id"),
    "size": (result(columns(0, 2)[:, :5], 0.9), "result number 2: RLE of another size than the image"),
    "broken RLE": (
        GOOD | {"segmentation": {"size": [6, 8], "counts": "?"}},
        "number 2: the RLE|number 2: brok",
    ),
    "polygon": (GOOD | {"segmentation": [[1, "x"]]}, "result number 2: a polygon is a list"),
    "box only": (BOX, "result number 2: expected a segmentation, polygons or an RLE; a box is no mask"),
    "no score": (GOOD | {"score": None}, "result number 2: expected a score from 0 to 1"),
    "score": (GOOD | {"score": 1.5}, r"result number 2: expected a score from 0 to 1 \(1.5\)"),
    "a text": ("dog", "result number 2: expected an object"),
}


@pytest.mark.parametrize("entry, message", WRONG.values(), ids=WRONG)
def test_a_wrong_entry_is_told_with_its_file_and_place(folder, entry, message):
    with pytest.raises(UserError, match=message) as told:
        opened(folder, [GOOD, entry])
    assert str(told.value).startswith(str(folder / "results.json")) and "\n" not in str(told.value)


BROKEN = {
    "NaN": (json.dumps([GOOD, GOOD | {"score": float("nan")}]), "not JSON .*, after result number 1"),
    "cut off": (json.dumps([GOOD, GOOD])[:-9], "not JSON .*, after result number 1"),
    "empty": ("", "not JSON|expected"),
    "object": (json.dumps({"annotations": [GOOD]}), "expected .*'categories'"),
}


@pytest.mark.parametrize("text, message", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_in_one_line(folder, text, message):
    with pytest.raises(UserError, match=message) as told:
        opened(folder, text)
    assert str(told.value).startswith(str(folder / "results.json")) and "\n" not in str(told.value)


def test_a_file_that_is_not_there_is_told(folder):
    with pytest.raises(UserError, match="nothing.json: cannot be read"):
        Detections(folder / "nothing.json", annotations=folder / "annotations.json")
