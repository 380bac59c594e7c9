"""The journal of a run over many photos: what it holds, what it forgets, and whom it refuses."""

import os

import pytest

from cmask_tf.errors import UserError
from cmask_tf.journal import Journal
from cmask_tf.photo_files import stamp

SETTINGS = {"concepts": ["dress"], "format": "png"}
ROWS = [{"concept": "dress", "score": 0.5}]


@pytest.fixture
def photos(tmp_path):
    made = [tmp_path / f"{name}.jpg" for name in ("a", "b", "caf\udce9")]  # the last is a name in Latin-1
    for photo in made:
        photo.write_bytes(b"pixels")
    return made


def write(path, photos, settings=SETTINGS):
    with Journal(path, settings) as journal:
        for photo in photos:
            journal.add(photo, stamp(photo), 3, 4, ROWS)


def test_what_is_finished_is_there_in_the_next_run(photos, tmp_path):
    path = tmp_path / "out" / "journal"
    write(path, photos[::2])
    with Journal(path, SETTINGS) as journal:
        assert [journal.holds(photo) for photo in photos] == [True, False, True]
        entry = journal.read(photos[2])
        assert (entry["height"], entry["width"], entry["rows"]) == (3, 4, ROWS)
        journal.add(photos[1], stamp(photos[1]), 3, 4, [])
        assert journal.read(photos[1])["rows"] == []
        assert journal.read(photos[0])["rows"] == ROWS


def test_a_photo_that_was_changed_is_not_finished(photos, tmp_path):
    path = tmp_path / "journal"
    write(path, photos)
    os.utime(photos[0], ns=(1, 1))
    photos[1].write_bytes(b"other pixels")
    with Journal(path, SETTINGS) as journal:
        assert [journal.holds(photo) for photo in photos] == [False, False, True]
        journal.add(photos[0], stamp(photos[0]), 5, 6, [])
    with Journal(path, SETTINGS) as journal:
        assert journal.holds(photos[0]) and journal.read(photos[0])["height"] == 5


@pytest.mark.parametrize("cut", [1, 30, 10_000])
def test_a_line_that_was_not_finished_is_done_again(photos, tmp_path, cut):
    path = tmp_path / "journal"
    write(path, photos[:2])
    path.write_bytes(path.read_bytes()[:-cut])
    write(path, photos[1:])
    with Journal(path, SETTINGS) as journal:
        assert [journal.holds(photo) for photo in photos] == [cut < 10_000, True, True]


def test_other_settings_are_refused_and_nothing_is_lost(photos, tmp_path):
    path = tmp_path / "journal"
    write(path, photos)
    before = path.read_bytes()
    with pytest.raises(
        UserError, match="holds the outputs of another model, other concepts or another format"
    ):
        Journal(path, SETTINGS | {"concepts": ["bag"]})
    assert path.read_bytes() == before


def test_one_process_at_a_time(photos, tmp_path):
    path = tmp_path / "journal"
    write(path, photos)
    with Journal(path, SETTINGS), pytest.raises(UserError, match="another process is writing to it"):
        Journal(path, SETTINGS)


def test_nothing_is_made_before_a_photo_is_finished(tmp_path):
    with Journal(tmp_path / "out" / "journal", SETTINGS):
        assert not (tmp_path / "out").exists()


def test_without_a_path_it_lives_as_long_as_the_run(photos, tmp_path):
    before = sorted(tmp_path.iterdir())
    with Journal(None, SETTINGS) as journal:
        journal.add(photos[0], stamp(photos[0]), 3, 4, ROWS)
        assert journal.holds(photos[0]) and journal.read(photos[0])["rows"] == ROWS
    assert sorted(tmp_path.iterdir()) == before
