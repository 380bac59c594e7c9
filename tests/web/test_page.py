"""What the page's buttons do, without a browser: what a visitor reads, and what is shown beside it."""

import re

import numpy as np
import pytest
from web_fixture import zip_of

from cmask_tf.evaluation.review_page import load_gradio
from cmask_tf.web import launch, page
from cmask_tf.web.scratch import Scratch

EVERYTHING, HALF = [], (0.5, 0.5)


@pytest.fixture
def scratch():
    with Scratch() as scratch:
        yield scratch


@pytest.fixture
def steps(engine, scratch):
    return page.Steps(engine, scratch, load_gradio("the test"))


def line(status):
    return re.sub("<[^>]+>", " ", status).strip()


def dropped(steps, photo, words=EVERYTHING):
    visit, _, status, picture, legend, *_ = steps.drop({"path": str(photo)}, words, *HALF)
    return visit, line(status), picture, legend


def test_a_photo_alone_shows_what_is_there(steps, photo):
    visit, told, picture, legend = dropped(steps, photo)
    assert told == "scene.png, 80 x 60 pixels: 1 of the words I know found."
    assert picture.dtype == np.uint8 and picture.shape == (675, 900, 3)
    assert "dress" in legend and "75" in legend and "bag" not in legend
    assert np.ptp(picture[20, 20].astype(int)) > 40  # the colour of the dress


def test_an_absent_word_is_in_the_legend_and_not_in_the_picture(steps, photo):
    _, told, picture, legend = dropped(steps, photo, ["hair", "dress"])
    assert told.endswith("1 of 2 words found.")
    assert re.findall(r'class="(absent)?"><span', legend) == ["absent", ""] and "not found" in legend


def test_a_file_that_is_no_photo_is_told_and_leaves_no_visit(steps, tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("these are notes")
    visit, told, picture, legend = dropped(steps, path)
    assert visit is None and picture is None and legend == ""
    assert told == "notes.jpg: not an image; expected a JPEG, PNG or other picture"


def test_names_are_never_markup(steps):
    assert "<b>" not in page.said("<b>x</b>.png: not an image")


def test_before_a_photo_every_button_asks_for_one(steps):
    first = "First drop a photo, or pick an example."
    assert line(steps.find(None, ["dress"], *HALF)[1]) == first
    assert line(steps.redraw(None, *HALF, None)[0]) == first
    assert line(steps.files(None, *HALF)[0]) == first
    assert line(steps.drop(None, [], *HALF)[2]) == first


def test_an_unknown_word_is_told_beside_the_others_and_guesses_are_offered(steps, photo):
    visit, *_ = dropped(steps, photo)
    guesses, status, picture, *_ = steps.find(visit, ["dress", "hare"], *HALF)
    assert "1 of 1 words found" in line(status) and "I do not know &#x27;hare&#x27;" in status
    choices = [value for _, value in guesses.choices]
    assert choices[0] == "hare\nhair" and guesses.visible and picture is not None
    assert steps.guess("hare\nhair", ["dress", "hare"]) == ["dress", "hair"]
    guesses, status, picture, *_ = steps.find(visit, ["hare"], *HALF)
    assert picture is None and guesses.visible


def test_a_slider_shows_more_without_the_model(steps, photo, toy):
    visit, *_ = dropped(steps, photo, ["dress", "bag"])
    asked = list(toy.decoded)
    status, *_ = steps.redraw(visit, 0.5, 0.2, "bag")
    assert line(status).endswith("2 of 2 words found.")
    assert toy.decoded == asked and toy.encoded == 1


def test_a_closer_look_is_the_mask_and_both_scales(steps, photo):
    visit, *_ = dropped(steps, photo, ["dress", "bag"])
    labels = [picture.label for picture in steps.closer(visit, "bag")]
    assert labels == ["Mask, white is certain", "Attention, 8 x 8 cells", "Attention, 16 x 16 cells"]
    assert not any(picture.visible for picture in steps.closer(visit, "hair"))


def test_files_lie_in_the_scratch_folder(steps, photo, scratch):
    visit, *_ = dropped(steps, photo)
    steps.files(visit, *HALF)
    names = {path.name for path in scratch.path.rglob("*") if path.is_file()}
    assert names == {"scene.masks.zip", "scene.cut-out.png", "scene.coco.json"}


def test_a_batch_tells_how_far_it_is_and_what_it_left_out(steps, photo, tmp_path):
    path = zip_of(tmp_path / "a.zip", {"a.png": photo.read_bytes(), "notes.jpg": b"notes"})
    told = [line(status) for status, _ in steps.batch(str(path), ["dress"], *HALF)]
    assert told[0] == "1 of 2 photos"
    assert "1 of 2 photos segmented." in told[-1] and "Left out: notes.jpg: not an image" in told[-1]
    for archive, words, expected in (
        (None, ["dress"], "First choose a zip of photos."),
        (str(path), [], "0 words; expected 1 to 32"),
        (str(photo), ["dress"], "scene.png: not a zip; expected a zip of photos"),
    ):
        assert [line(status) for status, _ in steps.batch(archive, words, *HALF)] == [expected]


def test_examples_are_photos_that_are_there():
    assert all(path.is_file() for path in launch.examples())
    assert "grace_hopper.jpg" in [path.name for path in launch.examples()]


def test_old_files_go_the_pages_own_stay_and_all_go_with_the_process():
    with Scratch(kept=0.0) as scratch:
        own = scratch.folder() / "example.png"
        own.write_bytes(b"x")
        scratch.keep()
        (scratch.folder() / "visitor.png").write_bytes(b"x")
        scratch.sweep()
        assert [path for path in scratch.path.rglob("*") if path.is_file()] == [own]
    assert not scratch.path.exists()
    with Scratch() as scratch:
        (scratch.folder() / "visitor.png").write_bytes(b"x")
        scratch.sweep()
        assert list(scratch.path.rglob("visitor.png"))
