"""A zip of photos in, a zip of masks and a table out; bad members and hostile zips in one line each."""

import csv
import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image
from web_fixture import huge_png, png, red_and_green, zip_of

from cmask_tf.errors import UserError
from cmask_tf.web import batch
from cmask_tf.web.engines import WrongQuestion
from cmask_tf.web.visit import Thresholds

GOOD = png(red_and_green())


def run(engine, path, words=("dress", "hair")):
    out = path.parent / f"{path.stem}-out"
    out.mkdir(exist_ok=True)
    *_, last = batch.run(engine, path, words, Thresholds(), out)
    assert [file.name for file in out.iterdir()] == ([last.result.name] if last.result else [])
    return last


def table(result):
    with zipfile.ZipFile(result) as archive:
        names = archive.namelist()
        rows = list(csv.DictReader(io.StringIO(archive.read("masks.csv").decode())))
        masks = {
            name: np.array(Image.open(io.BytesIO(archive.read(name)))) for name in names if ".png" in name
        }
    return rows, masks


def test_masks_of_what_is_there_and_a_line_for_every_question(engine, toy, tmp_path):
    last = run(engine, zip_of(tmp_path / "holiday.zip", {"a.png": GOOD, "day 2/a.png": GOOD}))
    assert (last.done, last.total, last.bad) == (2, 2, []) and last.result.name == "holiday.masks.zip"
    rows, masks = table(last.result)
    assert list(rows[0]) == list(batch.COLUMNS)
    assert [(row["photo"], row["word"], row["present"], row["mask"]) for row in rows] == [
        ("a.png", "dress", "1", "a.dress.png"),
        ("a.png", "hair", "0", ""),
        ("day 2/a.png", "dress", "1", "day-2-a.dress.png"),
        ("day 2/a.png", "hair", "0", ""),
    ]
    assert sorted(masks) == ["a.dress.png", "day-2-a.dress.png"]
    assert masks["a.dress.png"].shape == (60, 80) and set(np.unique(masks["a.dress.png"])) == {0, 255}
    assert int(rows[0]["area"]) == (masks["a.dress.png"] == 255).sum()
    assert toy.encoded == 2


def test_bad_members_are_named_and_the_others_are_segmented(engine, tmp_path):
    members = {
        "good.png": GOOD,
        "notes.jpg": b"these are notes",
        "cut.png": GOOD[:-30],
        "huge.png": huge_png(6000),
        "last.png": GOOD,
    }
    last = run(engine, zip_of(tmp_path / "a.zip", members))
    assert [line.split(": ")[0] for line in last.bad] == ["notes.jpg", "cut.png", "huge.png"]
    assert "not an image" in last.bad[0] and "truncated" in last.bad[1] and "36" not in last.bad[1]
    assert "6000 x 6000 pixels" in last.bad[2]
    assert not any("\n" in line or str(tmp_path) in line for line in last.bad)
    assert {row["photo"] for row in table(last.result)[0]} == {"good.png", "last.png"}


def test_two_photos_of_one_name_do_not_replace_each_other(engine, tmp_path):
    last = run(engine, zip_of(tmp_path / "a.zip", {"x.png": GOOD, "x.jpg": GOOD, "x?.png": GOOD}))
    assert sorted(table(last.result)[1]) == ["x-2.dress.png", "x-3.dress.png", "x.dress.png"]


def test_nothing_is_written_where_a_member_says(engine, tmp_path):
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    members = {"../../up.png": GOOD, "/tmp/cmask-absolute.png": GOOD, "c:\\w.png": GOOD}
    last = run(engine, zip_of(inside / "a.zip", members))
    assert last.bad == [] and len(table(last.result)[1]) == 3
    assert sorted(file.name for file in tmp_path.rglob("*.png")) == []
    assert all("/" not in name and ".." not in name for name in table(last.result)[1])


def test_what_a_computer_puts_beside_the_photos_is_no_photo(engine, tmp_path):
    members = {"a.png": GOOD, "__MACOSX/._a.png": b"x", ".DS_Store": b"x", "b/Thumbs.db": b"x", "b/": b""}
    last = run(engine, zip_of(tmp_path / "a.zip", members))
    assert (last.total, last.bad) == (1, [])


def test_a_member_that_unfolds_to_more_than_a_photo_is_left_out_while_it_is_read(
    engine, tmp_path, monkeypatch
):
    monkeypatch.setattr(batch, "MOST_MEMBER_BYTES", 1 << 20)
    members = {"bomb.png": bytes(50 << 20), "a.png": GOOD}
    last = run(engine, zip_of(tmp_path / "a.zip", members))
    assert last.bad == ["bomb.png: too large; expected at most 1 MB a photo and 1024 MB in all"]
    assert len(table(last.result)[1]) == 1


def test_a_size_that_a_member_only_claims_is_not_believed(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "MOST_MEMBER_BYTES", 1 << 20)
    path = zip_of(tmp_path / "a.zip", {"bomb.png": bytes(5 << 20)})
    path.write_bytes(path.read_bytes().replace(struct.pack("<L", 5 << 20), struct.pack("<L", 100)))
    last = run(engine, path)
    assert len(last.bad) == 1 and last.bad[0].startswith("bomb.png: ")


def test_all_members_together_have_a_limit(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "MOST_BYTES", 3 * len(GOOD))
    last = run(engine, zip_of(tmp_path / "a.zip", {f"{i}.png": GOOD for i in range(5)}))
    assert [line.split(":")[0] for line in last.bad] == ["3.png", "4.png"]


def test_a_damaged_member_is_named(engine, tmp_path):
    path = zip_of(tmp_path / "a.zip", {"a.png": GOOD, "b.png": GOOD}, compression=zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(GOOD) + 20] ^= 255
    path.write_bytes(content)
    last = run(engine, path)
    assert len(last.bad) == 1 and last.bad[0].startswith("a.png: damaged in the zip")


def test_an_encrypted_or_oddly_packed_member_is_named(engine, tmp_path):
    path = zip_of(tmp_path / "a.zip", {"a.png": GOOD}, compression=zipfile.ZIP_LZMA)
    assert run(engine, path).bad == ["a.png: packed in another way than a zip's usual one (deflate)"]
    path = zip_of(tmp_path / "b.zip", {"a.png": GOOD})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert run(engine, path).bad == ["a.png: encrypted"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"these are notes", "a.zip: not a zip"),
        (b"", "a.zip: not a zip"),
        (b"PK\x05\x06" + bytes(18), "a.zip: no photos"),
        (b"PK\x05\x06" + bytes(8) + struct.pack("<LLH", 1 << 30, 0, 0), "a.zip: too large a zip"),
        (b"PK\x06\x07" + bytes(16) + b"PK\x05\x06" + bytes(18), "a.zip: too large a zip"),
        (b"PK\x05\x06" + bytes(8) + struct.pack("<LLH", 100, 0, 0), "a.zip: a damaged zip"),
    ],
)
def test_what_is_no_zip_is_one_line(engine, tmp_path, content, message):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{message}") as caught:
        run(engine, path)
    assert "\n" not in str(caught.value)


def test_too_many_photos_or_words_and_no_words(engine, tmp_path):
    path = zip_of(tmp_path / "a.zip", {f"{i}.png": b"" for i in range(batch.MOST_PHOTOS + 1)})
    with pytest.raises(UserError, match=f"expected at most {batch.MOST_PHOTOS} photos"):
        run(engine, path)
    for words in ([], ["dress"] * 40):
        with pytest.raises(UserError, match=f"{len(words)} words; expected 1 to"):
            run(engine, path, words)


def test_a_server_that_cannot_be_used_ends_the_batch_at_once(engine, tmp_path, monkeypatch):
    def away(*_):
        raise WrongQuestion("127.0.0.1:1: no server answers there")

    monkeypatch.setattr(engine, "find", away)
    path = zip_of(tmp_path / "a.zip", {"a.png": GOOD, "b.png": GOOD})
    with pytest.raises(WrongQuestion, match="no server answers"):
        run(engine, path)
