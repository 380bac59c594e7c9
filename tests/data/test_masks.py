"""PNG masks: one file a concept, and label maps."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data.masks import read_masks
from cmask_tf.errors import UserError
from cmask_tf.faults import Faults

MASK = np.zeros((8, 10), np.uint8)
MASK[2:5, 3:7] = 1
LABELS = MASK * 3
LABELS[7, 9] = 1


@pytest.fixture
def folders(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    Image.new("RGB", (10, 8)).save(images / "a.jpg")
    return images, masks


@pytest.fixture
def read(folders, tmp_path):
    def reading(strict=False):
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        (work / "spool.sqlite").unlink(missing_ok=True)
        return read_masks(*folders, work, Faults(strict))

    return reading


def save(path, values):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values).save(path)


def only(found):
    (photo,) = found.items(0)
    return photo


@pytest.mark.parametrize("name", ["a.red-hat.png", "a/red hat.png", "a/Red_Hat.png", "a/red hat.PNG"])
@pytest.mark.parametrize("scale", [1, 255, 128])
def test_one_png_a_concept(folders, read, name, scale):
    save(folders[1] / name, MASK * scale)
    photo = only(read())
    (thing,) = photo.objects
    assert (thing.name, photo.source_id, photo.height, photo.width) == ("red hat", "a", 8, 10)
    np.testing.assert_array_equal(rle.decode(thing.mask), MASK)
    assert thing.box == pytest.approx((2 / 8, 3 / 10, 5 / 8, 7 / 10), abs=1e-6)


def test_a_probability_map_is_cut_at_one_half(folders, read):
    save(folders[1] / "a.hat.png", np.where(MASK, 128, 127).astype(np.uint8))
    np.testing.assert_array_equal(rle.decode(only(read()).objects[0].mask), MASK)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_label_maps(folders, read, mode):
    picture = Image.fromarray(LABELS)
    if mode == "P":
        picture = Image.frombytes("P", (10, 8), LABELS.tobytes())
        picture.putpalette(list(range(256)) * 3)
    picture.save(folders[1] / "a.png")
    (folders[1] / "labels.txt").write_text("0 background\n1 dog\n3 Red Hat\n4 nowhere\n")
    found = read()
    assert found.names == ("dog", "red hat")
    pixels = {thing.name: rle.decode(thing.mask) for thing in only(found).objects}
    np.testing.assert_array_equal(pixels["red hat"], LABELS == 3)
    np.testing.assert_array_equal(pixels["dog"], LABELS == 1)


def test_255_in_a_label_map_is_unknown(folders, read):
    save(folders[1] / "a.png", np.where(MASK, 1, 255).astype(np.uint8))
    (folders[1] / "labels.txt").write_text("1 dog\n")
    assert [thing.name for thing in only(read()).objects] == ["dog"]


def test_masks_of_one_photo_in_both_forms_are_one_record(folders, read):
    Image.new("RGB", (10, 8)).save(folders[0] / "b.png")
    for name in ("a.hat.png", "b.sky.png", "a/dog.png", "b/cat.png"):
        save(folders[1] / name, MASK)
    found = [(photo.source_id, [thing.name for thing in photo.objects]) for photo in read().items(0)]
    assert found == [("a", ["hat", "dog"]), ("b", ["sky", "cat"])]


def test_an_empty_mask_is_left_out_and_counted(folders, read):
    save(folders[1] / "a.hat.png", MASK * 0)
    found = read()
    assert only(found).objects == ()
    assert found.faults.left_out == {"mask without a pixel": 1}


def test_other_files_are_left_out_and_counted(folders, read):
    save(folders[1] / "a.hat.png", MASK)
    (folders[1] / "labels.txt").write_text("1 dog\n")
    (folders[1] / "a.json").write_text("{}")
    assert read().faults.left_out == {"file that is no PNG": 1}


def test_wrong_folders_are_told(folders, read, tmp_path):
    with pytest.raises(UserError, match="masks: no PNG file"):
        read()
    with pytest.raises(UserError, match="none: no such folder of masks"):
        read_masks(folders[0], tmp_path / "none", tmp_path, Faults())


def without_a_name(masks):
    save(masks / "a.png", LABELS)
    (masks / "labels.txt").write_text("1 dog\n")


BAD = {
    "b.hat.png: no photo has this mask": lambda masks: save(masks / "b.hat.png", MASK),
    "a.hat.png: mask of another size .*8 x 10, the photo 10 x 8": lambda masks: save(
        masks / "a.hat.png", MASK.T.copy()
    ),
    "a.hat.png: expected one channel": lambda masks: save(
        masks / "a.hat.png", np.zeros((8, 10, 3), np.uint8)
    ),
    "a.hat.png: not a PNG": lambda masks: (masks / "a.hat.png").write_bytes(b"\x89PNG but not really"),
    "a.png: value that has no name in labels.txt .value 3": without_a_name,
    "a._.png: expected a concept in the file's name": lambda masks: save(masks / "a._.png", MASK),
}


@pytest.mark.parametrize("message", BAD)
def test_a_bad_mask_is_told_where_it_is_all_there_is(folders, read, message):
    BAD[message](folders[1])
    with pytest.raises(UserError, match=message):
        read()


@pytest.mark.parametrize("message", BAD)
def test_of_many_masks_a_bad_one_is_skipped_and_counted(folders, read, message):
    for number in range(10):
        save(folders[1] / "a" / f"good {number}.png", MASK)
    BAD[message](folders[1])
    found = read()
    assert [thing.name for thing in only(found).objects] == [f"good {number}" for number in range(10)]
    assert (found.faults.good, found.faults.bad.total()) == (10, 1)
    with pytest.raises(UserError, match=message):
        read(strict=True)


def test_a_mask_that_two_photos_may_have_is_bad(folders, read):
    Image.new("RGB", (10, 8)).save(folders[0] / "a.png")
    save(folders[1] / "a.hat.png", MASK)
    with pytest.raises(UserError, match="a.hat.png: two photos have the name"):
        read()


@pytest.mark.parametrize("text", ["x hat\n", "3\n"])
def test_a_broken_line_of_labels_is_told(folders, read, text):
    save(folders[1] / "a.png", LABELS)
    (folders[1] / "labels.txt").write_text(text)
    with pytest.raises(UserError, match="labels.txt:1: expected a number and a name"):
        read()
