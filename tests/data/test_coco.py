"""COCO instances: every form of segmentation, and what is told when the file is wrong."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data.coco import coco_categories, load_concept_masks, read_coco
from cmask_tf.errors import UserError

HEIGHT, WIDTH = 8, 10
BLOCK = np.zeros((HEIGHT, WIDTH), bool)
BLOCK[2:5, 3:7] = True  # x 3, y 2, 4 wide, 3 high
POLYGON = [3, 2, 7, 2, 7, 5, 3, 5]


def uncompressed(mask):
    """COCO's counts: runs in column order, beginning with zeros."""
    flat = np.concatenate([[0], mask.flatten(order="F").astype(int), [2]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    return {"size": list(mask.shape), "counts": counts}


def compressed(mask):
    value = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": value["counts"].decode()}


def write_coco(folder, annotations, **changes):
    """A fake COCO file of one photo, number 7, and two categories; returns (file, images)."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "a.jpg")
    values = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "Red_Hat"}, {"id": 90, "name": "dog"}],
        "annotations": [{"id": i, "image_id": 7, "category_id": 1, **a} for i, a in enumerate(annotations)],
    } | changes
    path = folder / "instances.json"
    path.write_text(json.dumps(values))
    return path, images


SHAPES = {"polygon": [POLYGON], "rle": uncompressed(BLOCK), "string": compressed(BLOCK)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_form_of_segmentation_gives_the_same_pixels(tmp_path, shape):
    (photo,) = read_coco(*write_coco(tmp_path, [{"segmentation": shape, "bbox": [3, 2, 4, 3]}]))
    (thing,) = photo.objects
    assert (photo.source_id, photo.height, photo.width, photo.image.name) == ("7", HEIGHT, WIDTH, "a.jpg")
    assert thing.name == "red hat"
    np.testing.assert_array_equal(rle.decode(thing.mask), BLOCK)
    np.testing.assert_allclose(thing.box, (2 / 8, 3 / 10, 5 / 8, 7 / 10), atol=1e-6)


def test_several_polygons_are_one_mask(tmp_path):
    two = [POLYGON, [0, 6, 2, 6, 2, 8, 0, 8]]
    (photo,) = read_coco(*write_coco(tmp_path, [{"segmentation": two}]))
    expected = BLOCK.copy()
    expected[6:8, 0:2] = True
    np.testing.assert_array_equal(rle.decode(photo.objects[0].mask), expected)


def test_iscrowd_becomes_crowd(tmp_path):
    entries = [{"segmentation": uncompressed(BLOCK), "iscrowd": 1}, {"segmentation": [POLYGON], "iscrowd": 0}]
    (photo,) = read_coco(*write_coco(tmp_path, entries))
    assert [thing.crowd for thing in photo.objects] == [True, False]


@pytest.mark.parametrize("extra", [{}, {"segmentation": []}, {"segmentation": None}])
def test_a_box_without_segmentation_is_a_box(tmp_path, extra):
    (photo,) = read_coco(*write_coco(tmp_path, [{"bbox": [3, 2, 4, 3], **extra}]))
    assert photo.objects[0].mask is None
    assert photo.objects[0].box == pytest.approx((0.25, 0.3, 0.625, 0.7), abs=1e-6)


def test_a_mask_without_a_box_gets_its_own(tmp_path):
    (photo,) = read_coco(*write_coco(tmp_path, [{"segmentation": compressed(BLOCK)}]))
    assert photo.objects[0].box == pytest.approx((0.25, 0.3, 0.625, 0.7), abs=1e-6)


def test_boxes_are_cut_to_the_photo(tmp_path):
    (photo,) = read_coco(*write_coco(tmp_path, [{"bbox": [-2, 4, 5, 100]}]))
    assert photo.objects[0].box == pytest.approx((0.5, 0.0, 1.0, 0.3), abs=1e-6)


def test_what_covers_nothing_is_left_out_and_counted(tmp_path):
    empty = compressed(np.zeros((HEIGHT, WIDTH), bool))
    found = read_coco(*write_coco(tmp_path, [{"segmentation": empty}, {"bbox": [3, 2, 0, 3]}]))
    (photo,) = found
    assert photo.objects == ()
    assert found.skipped == {"mask without a pixel": 1, "box without area": 1}


def test_a_polygon_of_two_points_is_no_box(tmp_path):
    """pycocotools reads four numbers as x, y, width, height."""
    found = read_coco(*write_coco(tmp_path, [{"segmentation": [[3, 2, 4, 3]]}]))
    assert next(found).objects == ()


def test_the_reader_knows_names_and_length_before_it_yields(tmp_path):
    found = read_coco(*write_coco(tmp_path, [{"bbox": [3, 2, 4, 3]}]))
    assert (found.names, found.total) == (("red hat",), 1)


def test_photos_without_annotations_stay(tmp_path):
    (photo,) = read_coco(*write_coco(tmp_path, []))
    assert photo.objects == ()


def test_categories_carry_level_and_kind_where_given(tmp_path):
    categories = [{"id": 1, "name": "Red_Hat", "level": "mask", "kind": "object"}, {"id": 2, "name": "dog"}]
    path, _ = write_coco(tmp_path, [], categories=categories)
    assert coco_categories(path) == {"red hat": {"level": "mask", "kind": "object"}, "dog": {}}


def test_a_level_that_is_none_is_an_error(tmp_path):
    path, _ = write_coco(tmp_path, [], categories=[{"id": 1, "name": "dog", "level": "pixel"}])
    with pytest.raises(UserError, match="category dog: level is one of mask, box, image, zero"):
        coco_categories(path)


def test_concept_masks_are_unions_with_crowds(tmp_path):
    corner = np.zeros_like(BLOCK)
    corner[7, 9] = True
    entries = [
        {"segmentation": [POLYGON]},
        {"segmentation": uncompressed(corner), "iscrowd": 1},
        {"segmentation": compressed(corner), "category_id": 90},
    ]
    ((path, masks),) = load_concept_masks(*write_coco(tmp_path, entries))
    assert path == tmp_path / "images" / "a.jpg"
    assert set(masks) == {"red hat", "dog"}
    assert masks["dog"].dtype == bool
    np.testing.assert_array_equal(masks["red hat"], BLOCK | corner)
    np.testing.assert_array_equal(masks["dog"], corner)


def test_concept_masks_need_masks(tmp_path):
    with pytest.raises(UserError, match="annotation 0: expected a segmentation"):
        load_concept_masks(*write_coco(tmp_path, [{"bbox": [3, 2, 4, 3]}]))


def test_a_photo_that_is_not_there_is_told_with_file_and_image(tmp_path):
    path, images = write_coco(tmp_path, [])
    (images / "a.jpg").unlink()
    with pytest.raises(UserError) as error:
        read_coco(path, images)
    assert str(error.value) == f"{path}: image 7: photo 'a.jpg' is not there; expected {images / 'a.jpg'}"


IMAGE = {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"bbox": [1, 2, 3]}, "bbox is"),
        ({"bbox": [1, 2, 3, float("nan")]}, "bbox is"),
        ({"segmentation": [[1, 2, 3]]}, "a polygon is a list"),
        ({"segmentation": "x"}, "segmentation is polygons or an RLE"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [3, 4]}}, "counts are not 80 pixels"),
        ({"segmentation": {"size": [WIDTH, HEIGHT], "counts": [80]}}, "RLE of size"),
        ({}, "expected a bbox or a segmentation"),
        ({"bbox": [3, 2, 4, 3], "image_id": 8}, "image_id 8 is not among"),
        ({"bbox": [3, 2, 4, 3], "category_id": 2}, "category_id 2 is not among"),
    ],
)
def test_a_broken_annotation_is_named(tmp_path, entry, message):
    path, images = write_coco(tmp_path, [entry])
    with pytest.raises(UserError, match=message) as error:
        read_coco(path, images)
    assert str(error.value).startswith(f"{path}: annotation 0: ")


def test_a_broken_rle_string_is_named(tmp_path):
    shape = {"size": [HEIGHT, WIDTH], "counts": "zzzzzz"}
    with pytest.raises(UserError, match="annotation 0: broken RLE"):
        list(read_coco(*write_coco(tmp_path, [{"segmentation": shape}])))


NO_COCO = [("{", "not JSON"), ("[]", "expected a COCO object"), ("{}", "'categories'")]


@pytest.mark.parametrize("text, message", NO_COCO)
def test_what_is_no_coco_file_is_told(tmp_path, text, message):
    path, images = write_coco(tmp_path, [])
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_coco(path, images)


def test_file_names_may_carry_folders_that_the_images_lack(tmp_path):
    path, images = write_coco(tmp_path, [], images=[{**IMAGE, "file_name": "train2017/a.jpg"}])
    assert next(read_coco(path, images)).image == images / "a.jpg"
