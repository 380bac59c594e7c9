"""Faults of several workers, merged."""

import random

import pytest

from cmask_tf.data.placed_faults import PlacedFaults, place
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults


def meet(faults: Faults, number: int) -> None:
    """What a reader finds in record `number`."""
    where = f"a.json: record {number}"
    if number % 7 == 3:
        faults.skip(BadRecord("late", where) if number > 40 else BadRecord("early", where))
    elif number % 5 == 1:
        faults.leave_out("no use", where)
    else:
        faults.read()


@pytest.fixture
def merged() -> PlacedFaults:
    workers, numbers = [PlacedFaults() for _ in range(4)], list(range(100))
    random.Random(0).shuffle(numbers)
    for turn, number in enumerate(numbers):
        worker = workers[turn % 4]
        worker.place = place(number // 50, number % 50)
        meet(worker, number)
    return PlacedFaults.merged([PlacedFaults.merged(workers[:2]), *workers[2:]])


def test_any_share_of_the_work_gives_what_one_reader_counts(merged, monkeypatch):
    monkeypatch.setattr("cmask_tf.faults.MOST", 0.5)
    alone = Faults()
    for number in range(100):
        meet(alone, number)
    told = merged.told(strict=False)
    assert told.state() == alone.state()
    assert list(told.bad) == list(alone.bad)


def test_too_many_are_an_error_that_names_the_first_record(merged):
    with pytest.raises(UserError, match="record 3: early; 14 of 82 records are bad"):
        merged.told(strict=False)


def test_the_first_is_the_error_when_strict(merged):
    with pytest.raises(UserError, match="record 3: early$"):
        merged.told(strict=True)


def test_a_broken_file_comes_before_its_records(merged):
    merged.broken = [(place(0, 9), "a.json: not JSON")]
    with pytest.raises(UserError, match="a.json: not JSON"):
        merged.told(strict=False)
