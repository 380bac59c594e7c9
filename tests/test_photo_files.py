"""Photos of a command line: what is found, what is refused, and how many are in work at a time."""

import threading

import numpy as np
import pytest
from PIL import Image

from cmask_tf.errors import UserError
from cmask_tf.photo_files import ahead, are_many, find


@pytest.fixture
def trip(tmp_path):
    """Two photos, one more in a folder below, and what is none."""
    for name in ("trip/b.JPG", "trip/a.png", "trip/day 2/c.jpg", "trip/._a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name, format="PNG")
    (tmp_path / "trip" / "notes.txt").write_text("rain")
    return tmp_path / "trip"


def names(paths, out):
    return [path.name for path in find(paths, out)]


def test_a_folder_is_its_photos_by_name_without_hidden_ones_and_not_below(trip, tmp_path):
    assert names([trip], tmp_path / "out") == ["a.png", "b.JPG"]
    assert are_many([trip]) and not are_many([trip / "a.png"])


def test_a_pattern_is_the_photos_that_it_names(trip, tmp_path):
    assert names([trip / "*.png"], tmp_path / "out") == ["a.png"]
    assert names([trip / "*"], tmp_path / "out") == ["a.png", "b.JPG"]
    assert names([trip / "**" / "*.jpg"], tmp_path / "out") == ["c.jpg"]
    assert are_many([trip / "*.png"])


def test_a_file_with_wildcards_in_its_name_is_that_file(trip, tmp_path):
    odd = (trip / "a.png").rename(trip / "a[1].png")
    assert find([odd], tmp_path) == [odd]
    assert not are_many([odd])


@pytest.mark.parametrize(
    ("path", "out", "message"),
    [
        ("no.jpg", "out", "no such image"),
        ("trip/*.gif", "out", "no photo has such a name"),
        ("trip", "trip", "holds the photos and the outputs"),
        ("trip/*.png", "trip", "holds the photos and the outputs"),
        ("trip/*/*.jpg", "trip/masks", "holds the photos and the outputs"),
        ("trip/**", "trip/masks", "holds the photos and the outputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(trip, tmp_path, path, out, message):
    with pytest.raises(UserError, match=message):
        find([tmp_path / path], tmp_path / out)


def test_outputs_may_go_below_a_folder_of_photos(trip):
    assert names([trip], trip / "masks") == names([trip / "*.*"], trip / "masks") == ["a.png", "b.JPG"]


def test_work_ahead_comes_in_order_with_errors_in_their_places():
    def work(item):
        if item == 2:
            raise UserError("two")
        return item * 10

    results = [(item, str(value)) for item, value in ahead(work, range(5), jobs=3)]
    assert results == [(0, "0"), (1, "10"), (2, "two"), (3, "30"), (4, "40")]


@pytest.mark.parametrize(("first_alone", "begun"), [(False, [3, 4, 5, 6]), (True, [1, 4, 5, 6])])
def test_no_more_than_jobs_are_begun_ahead_of_what_was_taken(first_alone, begun):
    count, changed = 0, threading.Condition()

    def work(item):
        nonlocal count
        with changed:
            count += 1
            changed.notify_all()

    seen = []
    for _ in ahead(work, range(100), jobs=3, first_alone=first_alone):
        expected = begun[len(seen)]
        with changed:
            changed.wait_for(lambda least=expected: count >= least, timeout=20)
            changed.wait_for(lambda most=expected: count > most, timeout=0.1)
            seen.append(count)
        if len(seen) == len(begun):
            break
    assert seen == begun


def test_what_is_no_user_error_ends_the_work():
    def work(item):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(ahead(work, [1], jobs=1))
