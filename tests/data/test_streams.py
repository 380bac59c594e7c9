"""Streams: lists inside large JSON files, CSV rows, packed files, byte order marks, what is neither."""

import gzip
import io
import json
import tracemalloc

import pytest

from cmask_tf.data import streams
from cmask_tf.data.streams import csv_rows, holds_a_list, json_entries
from cmask_tf.errors import UserError

VALUES = [{"a": 1, "b": [1.5, -2e3, None, True]}, "é ", 7, []]


def test_a_list_in_an_object_a_list_alone_and_an_object_of_entries_give_the_same(tmp_path):
    path = tmp_path / "a.json"
    for value, key in [({"x": [0], "y": VALUES}, "y"), (VALUES, None), (dict(enumerate(VALUES)), None)]:
        path.write_text(json.dumps(value))
        assert list(json_entries(path, key)) == VALUES


@pytest.mark.parametrize(
    "text, is_list", [(" \n[1]", True), ("\ufeff[]", True), ('{"a": [1]}', False), ("", False)]
)
def test_a_list_is_told_from_an_object_by_its_first_byte(tmp_path, text, is_list):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    assert holds_a_list(path) is is_list


def test_whole_numbers_stay_whole_and_others_are_floats(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[3, 3.0, 1e2]")
    assert [type(value) for value in json_entries(path)] == [int, float, float]


@pytest.mark.parametrize("start", ["", "\ufeff", "\ufeff \n", "  \n\t"])
def test_a_byte_order_mark_and_white_space_are_passed_over(tmp_path, start):
    path = tmp_path / "a.json"
    path.write_text(start + json.dumps(VALUES), encoding="utf-8")
    assert list(json_entries(path)) == VALUES
    path.write_text("\ufeffa,b\n", encoding="utf-8")
    assert list(csv_rows(path)) == [(1, ["a", "b"])]


def test_packed_files_are_read(tmp_path):
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(VALUES).encode()))
    assert list(json_entries(path)) == VALUES


def test_rows_carry_their_line_and_empty_lines_do_not_count(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\r\n\n"c ""d"", x",e\rf')
    assert list(csv_rows(path)) == [(1, ["a", "b"]), (3, ['c "d", x', "e"]), (4, ["f"])]


def test_a_quote_that_is_not_closed_ends_with_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,"b\nc,d\n"e""f","g\nh,i')
    rows = [["a", "b\n"], ["c", "d"], ['e"f', "g\n"], ["h", "i"]]
    assert list(csv_rows(path)) == list(enumerate(rows, 1))


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "a.json"

    def peak(entries):
        path.write_text(json.dumps([{"text": "x" * 200}] * entries))
        tracemalloc.start()
        count = sum(1 for _ in json_entries(path))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == entries
        return top

    assert peak(40_000) < peak(4_000) + 100_000  # the larger file is 8 MB


NEITHER = [
    (b"", "not JSON"),
    (b"[1, 2", "not JSON"),
    (b"[1, 2] x", "not JSON"),
    (b'{"y": [NaN]}', "not JSON"),
    (b'["\xff"]', "not JSON"),
    (b"[123456789012345678901234567890]", "not JSON"),
    (b"7", "a list of records"),
    (b'"x"', "a list of records"),
]


@pytest.mark.parametrize("content, message", NEITHER)
def test_what_is_no_list_of_entries_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"a.json: .*{message}") as error:
        list(json_entries(path, "y" if content[:1] == b"{" else None))
    assert "\n" not in str(error.value)


def test_an_empty_list_is_no_missing_list(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"x": {"y": [1]}, "y": []}')
    assert list(json_entries(path, "y")) == []
    with pytest.raises(UserError, match="expected a list 'z' of objects"):
        list(json_entries(path, "z"))


def test_files_that_cannot_be_read_are_named(tmp_path):
    packed = tmp_path / "a.json.gz"
    packed.write_bytes(b"no gzip")
    for path in (tmp_path / "none.json", tmp_path, packed):
        with pytest.raises(UserError, match=f"{path.name}: cannot be read"):
            list(json_entries(path))
    packed.write_bytes(gzip.compress(b'["' + b"x" * 5000)[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        list(json_entries(packed))


def test_a_text_of_endless_length_is_no_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a\n"' + "x" * 200_000)
    with pytest.raises(UserError, match="a.csv:2: not a CSV file"):
        list(csv_rows(path))


def test_an_error_of_the_reader_of_entries_is_not_taken_for_the_files(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match="mine"):
        for _ in json_entries(path):
            raise ValueError("mine")


def test_the_bar_counts_the_bytes_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps(VALUES).encode()))
    bars, make = [], streams.tqdm
    monkeypatch.setattr(streams, "tqdm", lambda **k: bars.append(make(**k, file=io.StringIO())) or bars[-1])
    list(json_entries(path))
    assert (bars[0].n, bars[0].total, bars[0].desc) == (path.stat().st_size,) * 2 + ("reading a.json.gz",)
