"""Photos with tags: lines, tables and class folders; folded tags; and what becomes of a broken line."""

import gzip
import json

import pytest
from PIL import Image

from cmask_tf.data import tags as tags_module
from cmask_tf.data.tags import read_tags
from cmask_tf.errors import UserError
from cmask_tf.faults import Faults


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 8)).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    """A data folder with images/train/a.jpg and b.jpg."""
    for name in "ab":
        photo(tmp_path / "root" / "images" / "train" / f"{name}.jpg")
    return tmp_path / "root"


@pytest.fixture
def read(root, tmp_path):
    """Writes a tag file of the lines and reads it: (its photos, its faults)."""

    def reading(*lines, name="train.jsonl", images=root, strict=False, folded=True, work=None):
        path = tmp_path / name
        data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n"
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        work = work or tmp_path / f"work{len(list(tmp_path.iterdir()))}"
        work.mkdir(exist_ok=True)
        found = read_tags(path, images, work, Faults(strict), folded)
        return list(found.items(0)), found.faults

    return reading


def line(tags, image="images/train/a.jpg"):
    return json.dumps({"image": image, "tags": tags})


B = "images/train/b.jpg"
GOOD = [line(["x"])] + [line(["y"], B)] * 20  # one photo each and 19 repeats


def test_tags_are_folded_and_each_is_there_once_in_the_lines_order(read):
    ((found,), _) = read(line(["Red_Hat", "beach", "red hat", "", "  ", "Stra\u00dfe", "a"]))
    assert found.tags == ("red hat", "beach", "stra\u00dfe", "a")
    assert (found.height, found.width, found.objects) == (8, 10, ())


@pytest.mark.parametrize(
    "given, folded",
    [
        ("cafe\u0301", "caf\u00e9"),
        ("\uff21\uff22", "ab"),
        ("\ufb01re", "fire"),
        (" red\u00a0\u2003hat\t", "red hat"),
        ("\u05db\u05d5\u05d1\u05e2", "\u05db\u05d5\u05d1\u05e2"),
        ("\U0001f452", "\U0001f452"),
        ("\u5e3d\u5b50", "\u5e3d\u5b50"),
    ],
)
def test_tags_of_any_script_and_unicode_form(read, given, folded):
    ((found,), _) = read(line([given]))
    assert found.tags == (folded,)


def test_without_folding_only_the_white_space_around_a_tag_goes(read):
    ((found,), _) = read(line([" Red_Hat\u00a0", "red hat", "cafe\u0301", "", "Red_Hat"]), folded=False)
    assert found.tags == ("Red_Hat", "red hat", "cafe\u0301")


def test_a_photo_without_tags_and_empty_lines(read):
    found, _ = read(line([]), "", line(["x"], B))
    assert [one.tags for one in found] == [(), ("x",)]


@pytest.mark.parametrize("below", ["", "images", "images/train"])
def test_images_may_be_the_root_or_any_folder_of_the_path(read, root, below):
    ((found,), _) = read(line(["x"]), images=root / below)
    assert found.image == root / "images" / "train" / "a.jpg"
    assert found.source_id == "images/train/a"[len(below) :].strip("/")


def test_the_longest_path_wins(read, root):
    Image.new("RGB", (4, 4)).save(root / "a.jpg")
    ((found,), _) = read(line(["x"]))
    assert found.width == 10


def test_compressed_lines_and_a_byte_order_mark(read):
    found, _ = read(b"\xef\xbb\xbf" + line(["x"]).encode(), line(["y"], B), name="train.jsonl.gz")
    assert [one.tags for one in found] == [("x",), ("y",)]


BROKEN = [
    ("{not json", "not JSON"),
    ("[" * 100_000, "not JSON"),
    (b'{"image": "\xff", "tags": []}', "not JSON"),
    ("[]", "expected .*image"),
    ('{"tags": []}', "expected .*image"),
    ('{"image": "images/train/a.jpg", "tags": "hat"}', "expected .*tags.*hat"),
    ('{"image": "images/train/a.jpg", "tags": [1]}', "expected .*tags"),
    ('{"image": "images/train/a.jpg", "tags": ["\\ud800"]}', "not JSON"),
    (line(["x"], "images/c.jpg"), "photo is not there .*images/c.jpg.; expected .* or .*c.jpg"),
    (line(["x"], "c" * 5000), "photo is not there"),
    (line(["x"], "a\0.jpg"), "photo is not there"),
]


@pytest.mark.parametrize("text, message", BROKEN)
def test_a_broken_line_is_named_where_it_is_all_there_is(read, text, message):
    with pytest.raises(UserError, match=f"train.jsonl:1: {message}") as error:
        read(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text, message", BROKEN)
def test_a_broken_line_among_many_is_skipped_and_counted(read, text, message):
    many = [line([str(i)]) for i in range(11)]
    found, faults = read(text, line(["x"], B), line(["y"]), *many, work=None, name="many.jsonl")
    assert (len(found), faults.bad.total()) == (2, 1)


@pytest.mark.parametrize("text, message", BROKEN)
def test_when_strict_a_broken_line_among_many_is_an_error(read, text, message):
    with pytest.raises(UserError, match=f"train.jsonl:2: {message}"):
        read(line(["x"]), text, *[line(["y"], B)] * 20, strict=True)


def test_a_second_line_for_a_photo_is_left_out_and_counted(read):
    found, faults = read(line(["x"]), line(["y"], B), line(["z"], "./images/train/a.jpg"))
    assert [one.tags for one in found] == [("x",), ("y",)]
    assert faults.left_out == {"second line for a photo": 1}
    assert faults.good == 3 and not faults.bad


def test_a_missing_file_or_folder_is_named(root, tmp_path):
    with pytest.raises(UserError, match="none.jsonl: cannot be read"):
        read_tags(tmp_path / "none.jsonl", root, tmp_path, Faults())
    with pytest.raises(UserError, match="none: no such folder of images"):
        read_tags(tmp_path / "none.jsonl", tmp_path / "none", tmp_path, Faults())


def test_a_file_that_was_cut_off_in_compression_is_told(root, tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(line(["x"]).encode())[:-9])
    with pytest.raises(UserError, match="x.jsonl.gz: broken gzip file"):
        read_tags(path, root, tmp_path, Faults())


TABLE = ['image,who,"Tags "', f'{B},ann,"red hat; ""man; old"" ;;Beach"', "images/train/a.jpg,bob,"]


def test_a_table_of_tags(read):
    found, _ = read(*TABLE, name="t.csv")
    assert [one.source_id for one in found] == ["images/train/b", "images/train/a"]
    assert [one.tags for one in found] == [("red hat", "man; old", "beach"), ()]


def test_a_table_with_tabs_that_is_compressed(read):
    rows = ["tags\timage", f"sky, blue; sea\t{B}"]
    ((found,), _) = read(*rows, name="t.tsv.gz")
    assert found.tags == ("sky, blue", "sea")


def test_a_table_whose_cells_hold_line_breaks_counts_lines(read):
    rows = ["image,tags,note", f'{B},x,"one\ntwo"', "images/c.jpg,y,"]
    with pytest.raises(UserError, match="t.csv:4: photo is not there"):
        read(*rows, name="t.csv", strict=True)


@pytest.mark.parametrize(
    "row, message",
    [
        ("a.jpg,red hat, beach", "expected 2 columns .not 3; a text with a ',' is quoted"),
        ("a.jpg", "expected 2 columns"),
        (" ,x", "expected a path in the column image"),
        ('images/train/a.jpg,"x\ny"', "a quote that is not closed"),
        ('images/train/a.jpg,"x"y', "not a row of CSV"),
        (b"images/train/a.jpg,\xff", "text that is not UTF-8"),
        (f"images/train/a.jpg,{'x' * 200_000}", "not a row of CSV"),
    ],
)
def test_a_broken_row_is_named(read, row, message):
    with pytest.raises(UserError, match=f"t.csv:3: {message}"):
        read("image,tags", f"{B},x", row, name="t.csv", strict=True)


@pytest.mark.parametrize("head", ["image,labels", "image,tags,tags"])
def test_a_table_without_the_two_columns_is_told(read, head):
    with pytest.raises(UserError, match="t.csv:1: expected a heading with the columns image and tags"):
        read(head, f"{B},x", name="t.csv")


def test_a_table_without_a_heading_has_the_photo_and_its_tags(read):
    found, _ = read(f"{B},red hat; sky", "images/train/a.jpg,x", name="t.csv")
    assert [one.tags for one in found] == [("red hat", "sky"), ("x",)]


def test_a_file_of_another_ending_is_told(read):
    with pytest.raises(UserError, match="t.txt: expected a name that ends in .jsonl"):
        read(line(["x"]), name="t.txt")


def read_folders(folder, tmp_path, tags=None):
    found = read_tags(tags or folder, folder, tmp_path, Faults())
    return {one.source_id: one.tags for one in found.items(0)}, found.faults


def test_class_folders(tmp_path):
    folder = tmp_path / "photos"
    for name in ("Beach/b.png", "Beach/Red_Hat/a.JPG", "cat/c.jpeg", "d.jpg"):
        photo(folder / name)
    (folder / "cat" / "notes.txt").write_text("not a photo")
    found, faults = read_folders(folder, tmp_path)
    assert list(found.items()) == [
        ("d", ()),
        ("Beach/b", ("beach",)),
        ("Beach/Red_Hat/a", ("beach", "red hat")),
        ("cat/c", ("cat",)),
    ]
    assert faults.left_out.total() == 1


def test_class_folders_are_the_folder_of_photos(tmp_path):
    photo(tmp_path / "photos" / "cat" / "a.jpg")
    with pytest.raises(UserError, match="photos/cat: class folders are .* expected --images"):
        read_folders(tmp_path / "photos", tmp_path, tmp_path / "photos" / "cat")


def test_a_file_is_read_once(read, tmp_path, monkeypatch):
    work = tmp_path / "work"
    before = read(line(["x"]), line(["y"], B), line(["z"]), work=work)
    monkeypatch.setattr(tags_module, "tag_lines", None)
    found, faults = read("another file", work=work)
    assert found == before[0]
    assert faults.state() == before[1].state()


def test_photos_come_from_any_number_on(read, root, tmp_path):
    for name in "cdef":
        photo(root / "images" / "train" / f"{name}.jpg")
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(line([name], f"images/train/{name}.jpg") for name in "fbadce"))
    found = read_tags(path, root, tmp_path, Faults())
    assert found.total == 6
    for start in range(7):
        assert "".join(one.tags[0] for one in found.items(start)) == "fbadce"[start:]
