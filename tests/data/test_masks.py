"""PNG masks: one file a concept, and label maps."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data.masks import read_masks
from cmask_tf.errors import UserError

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


def save(path, values):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.mark.parametrize("name", ["a.red-hat.png", "a/red hat.png", "a/Red_Hat.png"])
@pytest.mark.parametrize("scale", [1, 255, 128])
def test_one_png_a_concept(folders, name, scale):
    images, masks = folders
    save(masks / name, MASK * scale)
    (photo,) = read_masks(images, masks)
    (thing,) = photo.objects
    assert (thing.name, photo.source_id) == ("red hat", "a")
    np.testing.assert_array_equal(rle.decode(thing.mask), MASK)
    assert thing.box == pytest.approx((2 / 8, 3 / 10, 5 / 8, 7 / 10), abs=1e-6)


def test_a_probability_map_is_cut_at_one_half(folders):
    images, masks = folders
    save(masks / "a.hat.png", np.where(MASK, 128, 127).astype(np.uint8))
    np.testing.assert_array_equal(rle.decode(next(read_masks(images, masks)).objects[0].mask), MASK)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_label_maps(folders, mode):
    images, masks = folders
    picture = Image.fromarray(LABELS)
    if mode == "P":
        picture = Image.frombytes("P", (10, 8), LABELS.tobytes())
        picture.putpalette(list(range(256)) * 3)
    picture.save(masks / "a.png")
    (masks / "labels.txt").write_text("0 background\n1 dog\n3 Red Hat\n")
    found = read_masks(images, masks)
    assert found.names == ("dog", "red hat")
    pixels = {thing.name: rle.decode(thing.mask) for thing in next(found).objects}
    np.testing.assert_array_equal(pixels["red hat"], LABELS == 3)
    np.testing.assert_array_equal(pixels["dog"], LABELS == 1)


def test_255_in_a_label_map_is_unknown(folders):
    images, masks = folders
    save(masks / "a.png", np.where(MASK, 1, 255).astype(np.uint8))
    (masks / "labels.txt").write_text("1 dog\n")
    assert [thing.name for thing in next(read_masks(images, masks)).objects] == ["dog"]


def test_a_label_without_a_name_is_told(folders):
    images, masks = folders
    save(masks / "a.png", LABELS)
    (masks / "labels.txt").write_text("1 dog\n")
    with pytest.raises(UserError, match="a.png: value 3 has no name in .*labels.txt"):
        read_masks(images, masks)


def test_an_empty_mask_is_left_out_and_counted(folders):
    images, masks = folders
    save(masks / "a.hat.png", MASK * 0)
    found = read_masks(images, masks)
    assert next(found).objects == ()
    assert found.skipped == {"mask without a pixel": 1}


def test_wrong_folders_are_told(folders, tmp_path):
    images, masks = folders
    with pytest.raises(UserError, match="masks: no PNG file"):
        read_masks(images, masks)
    with pytest.raises(UserError, match="none: no such folder of masks"):
        read_masks(images, tmp_path / "none")


def test_a_mask_of_no_photo_is_told(folders):
    images, masks = folders
    save(masks / "b.hat.png", MASK)
    with pytest.raises(UserError, match="b.hat.png: no photo has this mask"):
        read_masks(images, masks)


def test_a_mask_of_another_size_is_told(folders):
    images, masks = folders
    save(masks / "a.hat.png", MASK.T.copy())
    with pytest.raises(UserError, match="a.hat.png: expected the size of .*a.jpg, 10 x 8"):
        read_masks(images, masks)


def test_a_mask_in_colour_is_told(folders):
    images, masks = folders
    save(masks / "a.hat.png", np.zeros((8, 10, 3), np.uint8))
    with pytest.raises(UserError, match="a.hat.png: expected one channel"):
        read_masks(images, masks)


@pytest.mark.parametrize("text", ["x hat\n", "3\n"])
def test_a_broken_line_of_labels_is_told(folders, text):
    images, masks = folders
    save(masks / "a.png", LABELS)
    (masks / "labels.txt").write_text(text)
    with pytest.raises(UserError, match="labels.txt:1: expected a number and a name"):
        read_masks(images, masks)
