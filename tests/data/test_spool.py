"""The spool: what goes in comes out by photo, and a file that was filled is not filled again."""

import sqlite3

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data.sources import Annotated, Object
from cmask_tf.data.spool import Spool
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults

BOX = (0.1, 0.2, 0.7, 1.0)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "spool.sqlite"


def jpeg(folder, name, size=(10, 8)):
    Image.new("RGB", size).save(folder / name)
    return folder / name


def test_annotations_of_any_order_come_back_by_photo_in_the_order_of_first_mention(file, tmp_path):
    spool, paths = Spool(file), [tmp_path / f"{i}.jpg" for i in range(3)]
    rows = [spool.photo(paths[i], f"id {i}", (8, 10)) for i in (2, 0, 1)]
    spool.add(rows[1], "dog", BOX)
    spool.add(rows[0], "cat", BOX, crowd=True)
    spool.add_tag(rows[1], "sky")
    spool.add(rows[1], "ant", None, counts=b"11")
    spool.finish(Faults())
    found = spool.annotations(Faults())
    assert (found.names, found.total) == (("ant", "cat", "dog"), 3)
    objects = (Object("dog", BOX), Object("ant", None, {"size": [8, 10], "counts": b"11"}))
    assert list(found.items(0)) == [
        Annotated(paths[2], "id 2", 8, 10, (Object("cat", BOX, crowd=True),)),
        Annotated(paths[0], "id 0", 8, 10, objects, ("sky",)),
        Annotated(paths[1], "id 1", 8, 10),
    ]
    assert list(found.items(2)) == list(found.items(0))[2:]


def test_a_photo_is_one_row_however_often_it_is_named(file, tmp_path):
    spool = Spool(file)
    path = jpeg(tmp_path, "a.jpg")
    assert spool.has_photo(path) is None
    row = spool.photo(path, "first", (8, 10))
    assert spool.photo(path, "second", (9, 9)) == row == spool.has_photo(path)
    spool.finish(Faults())
    (photo,) = spool.annotations(Faults()).items(0)
    assert (photo.source_id, photo.height, photo.width) == ("first", 8, 10)


def test_tags_come_once_in_the_order_they_were_added(file, tmp_path):
    spool = Spool(file)
    row = spool.photo(jpeg(tmp_path, "a.jpg"), "a")
    other = spool.photo(jpeg(tmp_path, "b.jpg"), "b")
    for tag in ("z", "a", "z", "m", "a"):
        spool.add_tag(row, tag)
    for tag in ("m", "z"):
        spool.add_tag(other, tag)
    spool.finish(Faults())
    assert [photo.tags for photo in spool.annotations(Faults()).items(0)] == [("z", "a", "m"), ("m", "z")]


def test_without_an_annotated_size_the_files_own_counts(file, tmp_path):
    spool = Spool(file)
    spool.photo(jpeg(tmp_path, "a.jpg", (31, 17)), "a")
    (tmp_path / "b.jpg").write_text("not a photo")
    for name in ("b.jpg", "c.jpg"):
        spool.photo(tmp_path / name, name)
    spool.finish(Faults())
    a, b, c = spool.annotations(Faults()).items(0)
    assert (a.height, a.width) == (17, 31)
    assert isinstance(b, BadRecord) and str(b).startswith(f"{tmp_path / 'b.jpg'}: expected a JPEG or PNG")
    assert isinstance(c, BadRecord) and str(c) == f"{tmp_path / 'c.jpg'}: photo is not there"


def test_masks_keep_their_pixels(file, tmp_path):
    mask = np.asfortranarray(np.random.default_rng(0).integers(0, 2, (8, 10)), np.uint8)
    spool = Spool(file)
    spool.add(spool.photo(tmp_path / "a.jpg", "a", (8, 10)), "dog", BOX, counts=rle.encode(mask)["counts"])
    spool.finish(Faults())
    (photo,) = spool.annotations(Faults()).items(0)
    np.testing.assert_array_equal(rle.decode(photo.objects[0].mask), mask)


def test_a_finished_spool_is_taken_up_with_its_faults(file, tmp_path):
    spool, faults = Spool(file), Faults()
    spool.photo(jpeg(tmp_path, "a.jpg"), "a")
    spool.add_note("key", {"a": [1, None]})
    faults.read(20)
    faults.skip(BadRecord("broken", "line 1"))
    spool.finish(faults)
    del spool
    again, later = Spool(file), Faults()
    assert again.complete and again.note("key") == {"a": [1, None]}
    assert again.annotations(later).total == 1
    assert later.state() == faults.state()


def unfinished(file):
    spool = Spool(file)
    for number in range(1000):
        spool.photo(file.with_name(f"{number}.jpg"), "x")


def not_a_database(file):
    file.write_bytes(b"\0" * 8192)


def other_database(file):
    sqlite3.connect(file).execute("create table other (x)").connection.commit()


@pytest.mark.parametrize("leave", [unfinished, not_a_database, other_database])
def test_what_a_killed_run_left_is_filled_anew(file, leave):
    leave(file)
    spool = Spool(file)
    assert not spool.complete
    spool.photo(file, "a", (8, 10))
    spool.finish(Faults())
    assert spool.annotations(Faults()).total == 1


def test_too_many_faults_do_not_finish_a_spool(file):
    faults = Faults()
    faults.skip(BadRecord("broken", "line 1"))
    with pytest.raises(UserError, match="line 1: broken"):
        Spool(file).finish(faults)
    assert not Spool(file).complete


def test_a_spool_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(UserError, match="none/spool.sqlite: cannot be written"):
        Spool(tmp_path / "none" / "spool.sqlite")
