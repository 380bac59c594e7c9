"""Bad records: skipped and counted, or told at once; and when a whole file counts as wrong."""

import json

import pytest

from cmask_tf.errors import UserError
from cmask_tf.faults import EARLY, EXAMPLES, BadRecord, Faults


def bad(number, reason="expected a number"):
    return BadRecord(reason, f"a.csv:{number}", "found x")


def test_a_bad_record_says_where_what_was_expected_and_what_was_found():
    assert str(bad(7)) == "a.csv:7: expected a number (found x)"
    assert str(BadRecord("expected a number", "a.csv:7")) == "a.csv:7: expected a number"


def test_bad_records_are_counted_by_reason_with_the_first_few_as_examples():
    faults = Faults()
    faults.read(1000)
    for number in range(8):
        faults.skip(bad(number))
    faults.skip(bad(9, "not UTF-8"))
    faults.check()
    assert (faults.good, faults.bad) == (1000, {"expected a number": 8, "not UTF-8": 1})
    assert faults.examples["expected a number"] == [str(bad(number)) for number in range(EXAMPLES)]


def test_when_strict_the_first_bad_record_is_an_error():
    with pytest.raises(UserError, match="^a.csv:7: expected a number .found x.$"):
        Faults(strict=True).skip(bad(7))


def test_records_of_no_use_are_counted_and_never_an_error():
    faults = Faults(strict=True)
    for number in range(EARLY):
        faults.leave_out("box without area", f"a.csv:{number}")
    faults.check()
    assert faults.left_out == {"box without area": EARLY} and not faults.bad


@pytest.mark.parametrize("good, worse", [(9, 1), (18, 2), (900, 100)])
def test_a_tenth_may_be_bad_and_no_more(good, worse):
    faults = Faults()
    faults.read(good)
    for number in range(worse):
        faults.skip(bad(number))
    faults.check()
    faults.skip(bad(999))
    with pytest.raises(UserError, match=f"^a.csv:0: .*; {worse + 1} of {good + worse + 1} records are bad$"):
        faults.check()


def test_the_only_record_that_is_bad_is_told_as_it_is():
    faults = Faults()
    faults.skip(bad(1))
    with pytest.raises(UserError, match="found x.$"):
        faults.check()


def test_a_long_file_of_bad_records_is_told_before_its_end():
    faults = Faults()
    with pytest.raises(UserError, match=f"^a.csv:0: .*; {EARLY} of {EARLY} records are bad"):
        for number in range(10 * EARLY):
            faults.skip(bad(number))


def test_counts_survive_a_file_of_json():
    faults, later = Faults(), Faults()
    faults.read(100)
    faults.skip(bad(1))
    faults.leave_out("no area", "a.csv:2")
    later.read(5)
    later.restore(json.loads(json.dumps(faults.state())))
    assert later.state() == faults.state()


def test_parts_add_up():
    whole, part = Faults(), Faults()
    for faults in (whole, part):
        faults.read(100)
        for number in range(4):
            faults.skip(bad(number))
    whole.add(part.state())
    assert (whole.good, whole.bad["expected a number"]) == (200, 8)
    assert whole.examples["expected a number"] == [str(bad(number)) for number in (0, 1, 2, 3, 0)]
