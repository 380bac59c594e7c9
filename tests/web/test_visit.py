"""A visitor's photo: encoded once, a word decoded once, thresholds for nothing, bad files in one line."""

import numpy as np
import pytest
from web_fixture import huge_png, png, red_and_green

from cmask_tf.errors import UserError
from cmask_tf.web.engines import MAX_PIXELS, MOST_WORDS
from cmask_tf.web.visit import MOST_KEPT, Thresholds, look_up, open_visit


def test_the_second_word_costs_its_decoding_alone(engine, toy, photo):
    visit = open_visit(engine, photo)
    visit.ask(engine, ["dress"])
    visit.ask(engine, ["dress", "bag"])
    visit.ask(engine, ["bag"])
    assert toy.encoded == 1 and toy.decoded == ["dress", "bag"]
    assert [row.name for row in visit.rows(Thresholds())] == ["bag"]


def test_thresholds_act_without_the_model(engine, toy, photo):
    visit = open_visit(engine, photo)
    visit.ask(engine, ["dress", "bag", "hair"])
    before = list(toy.decoded)
    rows = visit.rows(Thresholds(mask=0.5, presence=0.5))
    assert [(row.name, row.present) for row in rows] == [("dress", True), ("bag", False), ("hair", False)]
    assert rows[0].score == pytest.approx(0.75, abs=0.02) and rows[0].area == pytest.approx(0.75, abs=0.02)
    assert rows[0].mask[:, : 3 * 900 // 4 - 40].all() and not rows[0].mask[:, 3 * 900 // 4 + 40 :].any()
    assert [row.present for row in visit.rows(Thresholds(presence=0.2))] == [True, True, False]
    loose, strict = (visit.rows(Thresholds(mask=mask))[0].area for mask in (0.05, 0.95))
    assert loose > rows[0].area > strict
    assert toy.decoded == before


def test_without_words_what_is_there_is_shown_best_first(engine, photo):
    visit = open_visit(engine, photo)
    visit.ask(engine, [])
    assert [row.name for row in visit.rows(Thresholds())] == ["dress"]
    assert [row.name for row in visit.rows(Thresholds(presence=0.1))] == ["dress", "bag"]


def test_an_asked_word_is_shown_as_absent_one_that_nobody_named_is_not(engine, photo):
    visit = open_visit(engine, photo)
    visit.ask(engine, ["hair"])
    assert [(row.name, row.present) for row in visit.rows(Thresholds())] == [("hair", False)]
    visit.ask(engine, [])
    assert "hair" not in [row.name for row in visit.rows(Thresholds())]


def test_two_visits_share_nothing(engine, toy, photo, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(png(red_and_green()[:, ::-1].copy()))
    first, second = open_visit(engine, photo), open_visit(engine, other)
    first.ask(engine, ["dress"])
    second.ask(engine, ["dress", "bag"])
    [dress] = first.rows(Thresholds())
    assert dress.mask[:, 0].all() and not second.rows(Thresholds())[0].mask[:, 0].any()
    assert toy.encoded == 2


def test_too_many_words_at_a_time_are_refused(engine, photo):
    visit = open_visit(engine, photo)
    with pytest.raises(UserError, match=f"expected at most {MOST_WORDS}"):
        visit.ask(engine, [f"word {i}" for i in range(MOST_WORDS + 1)])


def test_old_answers_make_room(engine, toy, photo):
    visit = open_visit(engine, photo)
    for start in range(0, 3 * MOST_KEPT, MOST_WORDS):
        visit.ask(engine, [f"word {i}" for i in range(start, start + MOST_WORDS)])
    visit.ask(engine, ["word 0"])  # of long ago: asked again
    assert toy.decoded.count("word 0") == 2
    visit.ask(engine, [f"word {i}" for i in range(3 * MOST_KEPT - 3, 3 * MOST_KEPT)])
    assert toy.decoded.count(f"word {3 * MOST_KEPT - 1}") == 1


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("notes.jpg", b"these are notes", "notes.jpg: not an image"),
        ("cut.png", png(red_and_green())[:-30], "cut.png: a damaged or truncated image"),
        ("empty.png", b"", "empty.png: not an image"),
        (
            "huge.png",
            huge_png(6000),
            f"huge.png: 6000 x 6000 pixels; expected at most {MAX_PIXELS // 10**6} mil",
        ),
        ("bomb.png", huge_png(), f"bomb.png: more than {MAX_PIXELS} pixels"),
    ],
)
def test_a_file_that_is_no_photo_is_one_line_without_the_servers_folders(
    engine, toy, tmp_path, name, content, message
):
    path = tmp_path / "secret-folder" / name
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{message}") as caught:
        open_visit(engine, path)
    assert "\n" not in str(caught.value) and "secret-folder" not in str(caught.value)
    assert toy.encoded == 0


def test_words_are_names_in_any_spelling_each_once(engine):
    names, unknown = look_up(engine.vocabulary, ["Dresses", " dress", "purse", "", "red hat"])
    assert names == ["dress", "bag", "red hat"] and unknown == {}


def test_of_an_unknown_word_the_nearest_names_are_told(engine):
    names, unknown = look_up(engine.vocabulary, ["bag", "dres"])
    assert names == ["bag"] and list(unknown) == ["dres"] and unknown["dres"][0] == "dress"


def test_without_a_vocabulary_every_word_is_taken_as_it_is():
    assert look_up(None, ["Red Hat ", "Red Hat", "x"]) == (["Red Hat", "x"], {})


def test_the_mask_at_the_photos_size_is_the_previews(engine, photo):
    visit = open_visit(engine, photo)
    visit.ask(engine, ["dress"])
    mask = visit.found("dress").probability(60, 80)
    assert mask.dtype == np.float32 and mask.shape == (60, 80)
    assert mask[:, :55].min() > 0.9 and mask[:, 65:].max() < 0.1
