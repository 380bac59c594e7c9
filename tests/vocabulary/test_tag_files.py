"""Files of tagged photos: which are meant, and what is in them."""

import gzip
import json

import pytest

from cmask_tf.errors import UserError
from cmask_tf.faults import Faults
from cmask_tf.vocabulary.tag_files import Part, parts, tag_files, tag_lines

GOOD = '{"image": "a.jpg", "tags": ["red hat", "man, old"]}\n'


def write(path, text: str):
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["tags.jsonl", "tags.jsonl.gz"])
def test_json_lines_are_read_in_order_with_their_places(tmp_path, name):
    path = write(tmp_path / name, "\ufeff" + GOOD + "\n" + '{"image": "b", "tags": [], "more": 1}\r\n')
    assert list(tag_lines(path)) == [
        (f"{path}:1", "a.jpg", ["red hat", "man, old"]),
        (f"{path}:3", "b", []),
    ]


@pytest.mark.parametrize("name", ["tags.csv", "tags.csv.gz"])
@pytest.mark.parametrize("heading", ["", "image,tags\n", "Image, Tags\r\n", "\ufeff"])
def test_csv_has_the_photo_and_a_column_of_tags(tmp_path, name, heading):
    text = heading + 'a.jpg,"red, hat; beach"\nb c.jpg,"sky;""sea; sun"";;"\n\n"d,e.jpg",\n'
    found = [line[1:] for line in tag_lines(write(tmp_path / name, text))]
    assert found == [("a.jpg", ["red, hat", "beach"]), ("b c.jpg", ["sky", "sea; sun"]), ("d,e.jpg", [])]


def test_a_heading_may_have_its_columns_in_any_place_and_others(tmp_path):
    path = write(tmp_path / "tags.tsv", 'tags\twho\timage\n12" record; red, hat\tann\ta.jpg\n')
    assert list(tag_lines(path)) == [(f"{path}:2", "a.jpg", ['12" record', "red, hat"])]


@pytest.mark.parametrize("heading", ["image,labels", "photo,tags", "image,tags,tags"])
def test_a_heading_without_both_columns_is_an_error(tmp_path, heading):
    path = write(tmp_path / "tags.csv", heading + "\na.jpg,hat\n")
    with pytest.raises(UserError, match="tags.csv:1: expected a heading with the columns image and tags"):
        list(tag_lines(path, Faults()))


def test_only_the_last_ending_of_a_name_tells_the_form(tmp_path):
    assert list(tag_lines(write(tmp_path / "a.jsonl.csv", "a.jpg,hat\n")))[0][1:] == ("a.jpg", ["hat"])


BAD_LINES = {
    "not JSON": ["{'tags': []}", "\x00", '{"image": "a", "tags": [', "hat, coat"],
    "expected {": ['{"image": "a"}', '{"tags": ["hat"]}', '{"image": "a", "tags": "hat"}', "[]", "3"]
    + ['{"image": "a", "tags": [3]}', '{"image": 3, "tags": []}', '{"image": "a", "tags": {"hat": 1}}'],
}


@pytest.mark.parametrize(("reason", "line"), [(r, line) for r, lines in BAD_LINES.items() for line in lines])
def test_a_bad_json_line_names_the_file_the_line_and_what_was_expected(tmp_path, reason, line):
    path = write(tmp_path / "tags.jsonl", GOOD + line + "\n" + GOOD)
    with pytest.raises(UserError, match=r"tags.jsonl:2: " + reason):
        list(tag_lines(path))
    faults = Faults()
    assert len(list(tag_lines(path, faults))) == 2
    assert faults.good == 2 and faults.bad.total() == 1


@pytest.mark.parametrize("line", ["a.jpg", "a.jpg,hat,coat"])
def test_a_line_of_other_columns_is_bad(tmp_path, line):
    path = write(tmp_path / "tags.csv", f"a.jpg,hat\n{line}\nb.jpg,hat\n")
    with pytest.raises(UserError, match=r"tags.csv:2: expected 2 columns"):
        list(tag_lines(path))
    faults = Faults()
    assert [image for _, image, _ in tag_lines(path, faults)] == ["a.jpg", "b.jpg"]
    assert faults.bad.total() == 1


def test_bytes_that_are_no_utf_8_are_bad_lines_in_every_type(tmp_path):
    for name, line in (("t.jsonl", b'{"image": "a", "tags": ["\xff"]}\n'), ("t.tsv", b"a\t\xff\n")):
        path = tmp_path / name
        path.write_bytes(line)
        faults = Faults()
        assert list(tag_lines(path, faults)) == [] and faults.bad.total() == 1


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match="none.jsonl: cannot be read"):
        list(tag_lines(tmp_path / "none.jsonl"))
    for data in (b"no gzip", gzip.compress(GOOD.encode() * 99)[:-9]):
        (tmp_path / "t.jsonl.gz").write_bytes(data)
        with pytest.raises(UserError, match="t.jsonl.gz: broken gzip file"):
            list(tag_lines(tmp_path / "t.jsonl.gz", Faults()))


def test_folders_and_globs_mean_their_tag_files_by_name_and_each_file_once(tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz", "c.csv", "notes.txt"):
        write(tmp_path / name, GOOD)
    a, b, c = (tmp_path / name for name in ("a.jsonl.gz", "b.jsonl", "c.csv"))
    assert tag_files([tmp_path]) == [a, b, c]
    assert tag_files([c, tmp_path / "*.jsonl*", str(tmp_path)]) == [c, a, b]


def test_names_that_mean_no_tag_files_are_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").touch()
    for name, what in (
        ("none", "no such file"),
        ("n*", "no such"),
        ("empty", "no file"),
        ("a.txt", "expected a name"),
    ):
        with pytest.raises(UserError, match=what):
            tag_files([tmp_path / name])


@pytest.mark.parametrize("size", [1, 17, 64, 10_000])
def test_parts_of_any_size_have_every_line_once_and_know_its_number(tmp_path, size):
    lines = [json.dumps({"image": str(i), "tags": ["x" * (7 * i % 40)]}) + "\n" for i in range(30)]
    lines[3], lines[17] = "\n", "bad\n"
    path = write(tmp_path / "tags.jsonl", "".join(lines).rstrip("\n"))
    pieces, faults = parts([path], size), Faults()
    assert sum(part.bytes for part in pieces) == path.stat().st_size
    found = [image for part in pieces for _, image, _ in part.records(faults)]
    assert found == [str(i) for i in range(30) if i not in (3, 17)]
    assert faults.good == 28 and faults.examples["not JSON"][0].startswith(f"{path}:18: not JSON")


def test_only_plain_json_lines_are_cut(tmp_path):
    files = [write(tmp_path / name, GOOD * 9) for name in ("a.jsonl", "b.jsonl.gz", "c.csv", "d.jsonl")]
    write(files[3], "")
    counts = [sum(part.path == file for part in parts(files, 100)) for file in files]
    assert counts[0] > 1 and counts[1:] == [1, 1, 0]
    assert Part(files[0]).bytes == len(GOOD) * 9


@pytest.mark.parametrize(
    "after", [["b.jpg,hat", "c.jpg,sky"], ['b.jpg,"hat"', 'c.jpg,"sky"'], ['b.jpg,"hat', 'c.jpg,"sky"']]
)
def test_a_quote_that_is_not_closed_loses_its_own_row_only(tmp_path, after):
    lines = ['a.jpg,"sea', *after, "d.jpg,sea", "e.jpg,sea"] + [f"{i}.jpg,hat" for i in range(30)]
    path, faults = write(tmp_path / "tags.csv", "\n".join(lines) + "\n"), Faults()
    read = {image: tags for _, image, tags in tag_lines(path, faults)}
    bad = {line.split(",")[0] for line in lines if line.count('"') == 1}
    assert set(read) == {line.split(",")[0] for line in lines} - bad
    assert read["e.jpg"] == ["sea"] and read.get("c.jpg") == ["sky"]
    assert faults.bad.total() == len(bad)


def test_line_breaks_in_another_column_are_fine(tmp_path):
    path = write(tmp_path / "tags.csv", 'image,note,tags\na.jpg,"two\nlines",hat\nb.jpg,"",sky\n')
    assert [where for where, _, _ in tag_lines(path)] == [f"{path}:2", f"{path}:4"]
