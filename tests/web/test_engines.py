"""The two engines: the real model gives what `ConceptSegmenter` gives, a server what it answers."""

import numpy as np
import pytest
from fake_serving import FakeServing
from PIL import Image
from segmenter_fixture import WORDS, smallest_model, smallest_segmenter
from segmenter_fixture import photo as noise
from web_fixture import png, red_and_green

from cmask_tf.errors import UserError
from cmask_tf.serving.client import SegmentClient
from cmask_tf.web import engines
from cmask_tf.web.engines import LocalEngine, ServerEngine, WrongQuestion
from cmask_tf.web.visit import Thresholds, open_visit


@pytest.fixture
def served():
    with FakeServing() as server, SegmentClient(server.target, deadline=20) as client:
        yield server, ServerEngine(client)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return smallest_segmenter(smallest_model(tmp_path_factory.getbasetemp() / "smallest-model"))


def test_the_model_in_this_process_answers_as_the_segmenter_does(segmenter, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(noise()).save(path)
    visit = open_visit(LocalEngine(segmenter), path)
    visit.ask(LocalEngine(segmenter), WORDS[:3])
    features = segmenter.encode(noise())
    expected, attention = segmenter.segment(WORDS[:3], features), segmenter.attention(WORDS[:3], features)
    for index, name in enumerate(WORDS[:3]):
        found = visit.found(name)
        np.testing.assert_allclose(found.probability(60, 45), expected.masks[index], atol=1e-6)
        assert found.score == pytest.approx(expected.scores[index], abs=1e-6)
        for got, scale in zip(found.attention, attention, strict=True):
            np.testing.assert_allclose(got, scale[index], atol=1e-6)


def test_what_is_likely_there_begins_with_what_the_segmenter_finds_present(segmenter, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(noise()).save(path)
    engine = LocalEngine(segmenter)
    photo = engine.open(path)
    likely, present = engine.likely(photo), segmenter.present(photo.content)
    assert set(likely[: len(present)]) == set(present)
    scores = dict(zip(segmenter.vocabulary.names, segmenter.scores(photo.content), strict=True))
    assert [scores[name] for name in likely] == sorted((scores[name] for name in likely), reverse=True)
    assert all(scores[name] >= engines.FAINTEST for name in likely)


def test_a_server_answers_word_by_word_and_is_not_asked_again(served, photo):
    server, engine = served
    visit = open_visit(engine, photo)
    visit.ask(engine, ["red", "green"])
    visit.ask(engine, ["green", "red"])
    assert server.calls == 1
    green, red = visit.rows(Thresholds())
    assert (green.name, green.present, red.name, red.present) == ("green", False, "red", True)
    np.testing.assert_array_equal(visit.found("red").probability(60, 80) >= 0.5, red_and_green()[..., 0] > 0)
    assert visit.found("red").attention == ()


def test_of_a_large_photo_a_small_grid_is_kept_beside_the_servers_png(served, tmp_path):
    _, engine = served
    path = tmp_path / "large.png"
    path.write_bytes(png(red_and_green(900, 1200)))
    visit = open_visit(engine, path)
    visit.ask(engine, ["red"])
    assert visit.found("red").small.shape == (240, engines.GRID)
    assert visit.found("red").probability(900, 1200).shape == (900, 1200)
    assert visit.rows(Thresholds())[0].area == pytest.approx(0.75, abs=0.01)


def test_a_server_has_to_be_asked_for_words(served, photo):
    _, engine = served
    visit = open_visit(engine, photo)
    with pytest.raises(UserError, match="type at least one"):
        visit.ask(engine, [])
    with pytest.raises(WrongQuestion, match="does not know 'mauve'"):
        visit.ask(engine, ["red", "mauve"])
    visit.ask(engine, ["red"])


def test_a_server_that_is_away_is_one_line(photo, impatient):
    with SegmentClient("127.0.0.1:1", deadline=10) as client:
        engine = ServerEngine(client)
        visit = open_visit(engine, photo)
        with pytest.raises(WrongQuestion, match="127.0.0.1:1: no server answers there") as caught:
            visit.ask(engine, ["red"])
    assert "\n" not in str(caught.value)
