"""Tag lines: folded tags, the ways to find a photo, and what is told of a broken line."""

import json

import pytest
from PIL import Image

from cmask_tf.data.tags import read_tags
from cmask_tf.errors import UserError


@pytest.fixture
def lines(tmp_path):
    """A data folder with images/train/a.jpg and b.jpg; call it with lines, get (tags, root)."""
    (tmp_path / "images" / "train").mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (10, 8)).save(tmp_path / "images" / "train" / f"{name}.jpg")
    path = tmp_path / "train.jsonl"

    def make(*texts):
        path.write_text("\n".join(texts) + "\n")
        return path, tmp_path

    return make


def line(tags, image="images/train/a.jpg"):
    return json.dumps({"image": image, "tags": tags})


def test_tags_are_folded_and_each_is_there_once(lines):
    (photo,) = read_tags(*lines(line(["Red_Hat", "beach", "red hat", "", "Stra\u00dfe"])))
    assert photo.tags == ("red hat", "beach", "stra\u00dfe")
    assert (photo.height, photo.width, photo.objects) == (8, 10, ())


def test_a_photo_without_tags_and_empty_lines(lines):
    found = read_tags(*lines(line([]), "", line(["x"], "images/train/b.jpg")))
    assert found.total == 2
    assert [photo.tags for photo in found] == [(), ("x",)]


@pytest.mark.parametrize("below", ["", "images", "images/train"])
def test_images_may_be_the_root_or_any_folder_of_the_path(lines, below):
    path, root = lines(line(["x"]))
    (photo,) = read_tags(path, root / below)
    assert photo.image == root / "images" / "train" / "a.jpg"
    assert photo.source_id == "images/train/a"[len(below) :].strip("/")


def test_the_longest_path_wins(lines):
    path, root = lines(line(["x"]))
    Image.new("RGB", (4, 4)).save(root / "a.jpg")
    assert next(read_tags(path, root)).width == 10


def test_a_line_that_is_not_json_is_told_with_file_and_number(lines):
    path, root = lines(line(["x"]), "{not json")
    with pytest.raises(UserError) as error:
        read_tags(path, root)
    assert str(error.value).startswith(f"{path}:2: not JSON (")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", ":1: expected"),
        ('{"tags": []}', ":1: expected"),
        ('{"image": "images/train/a.jpg", "tags": "hat"}', ":1: tags is a list of texts, not 'hat'"),
        ('{"image": "images/train/a.jpg", "tags": [1]}', ":1: tags is a list of texts"),
        (line(["x"], "images/c.jpg"), ":1: photo 'images/c.jpg' is not there; expected .* or .*c.jpg"),
    ],
)
def test_a_broken_line_is_named(lines, text, message):
    with pytest.raises(UserError, match=message):
        read_tags(*lines(text))


def test_bytes_that_are_not_utf8_are_named(lines):
    path, root = lines(line(["x"]))
    path.write_bytes(path.read_bytes() + b'{"image": "\xff", "tags": []}\n')
    with pytest.raises(UserError, match=":2: not JSON"):
        read_tags(path, root)


def test_two_lines_for_one_photo_are_named(lines):
    path, root = lines(line(["x"]), line(["y"], "images/train/b.jpg"), line(["z"], "./images/train/a.jpg"))
    with pytest.raises(UserError, match=r"train.jsonl:3: photo .*a.jpg is in .*train.jsonl:1 already"):
        read_tags(path, root)


def test_a_missing_file_or_folder_is_named(lines, tmp_path):
    path, root = lines(line(["x"]))
    with pytest.raises(UserError, match="none.jsonl: cannot be read"):
        read_tags(tmp_path / "none.jsonl", root)
    with pytest.raises(UserError, match="none: no such folder of images"):
        read_tags(path, tmp_path / "none")
