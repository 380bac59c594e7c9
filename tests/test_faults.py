"""Bad records are skipped and counted; a file of them is an error."""

import pytest

from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults


def read(good: int, bad: int, name: str = "a.jsonl") -> Faults:
    faults = Faults()
    faults.read(good)
    for number in range(1, bad + 1):
        faults.skip(BadRecord("not JSON", f"{name}:{number}", f"character {number}"))
    return faults


def test_faults_are_counted_by_reason_and_five_examples_are_kept():
    faults = read(good=93, bad=6)
    faults.skip(BadRecord("no photo", "a.jsonl:9"))
    assert faults.bad == {"not JSON": 6, "no photo": 1} and faults.good == 93
    assert faults.examples["not JSON"] == [f"a.jsonl:{n}: not JSON (character {n})" for n in range(1, 6)]
    assert faults.examples["no photo"] == ["a.jsonl:9: no photo"]


def test_a_strict_reading_stops_at_the_first_fault():
    with pytest.raises(UserError, match=r"^a.jsonl:3: not JSON \(line end\)$"):
        Faults(strict=True).skip(BadRecord("not JSON", "a.jsonl:3", "line end"))


def test_a_tenth_may_be_bad_and_no_more():
    read(good=90, bad=10).check()
    with pytest.raises(UserError, match=r"^a.jsonl:1: not JSON \(character 1\); 11 of 100 records are bad"):
        read(good=89, bad=11).check()


def test_nothing_read_and_nothing_skipped_is_no_fault():
    Faults().check()


def test_readers_of_parts_add_up_as_one_reader_of_all():
    first, second = read(50, 3, "a"), read(40, 4, "b")
    second.skip(BadRecord("no photo", "b:9"))
    first.add(second.state())
    assert first.good == 90 and first.bad == {"not JSON": 7, "no photo": 1}
    assert [example[:3] for example in first.examples["not JSON"]] == ["a:1", "a:2", "a:3", "b:1", "b:2"]
    assert len(second.examples["not JSON"]) == 4
