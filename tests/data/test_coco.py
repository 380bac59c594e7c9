"""COCO instances: every form of segmentation, and what is told when the file is wrong."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from cmask_tf.data.coco import coco_categories, load_concept_masks, parse_annotation, parse_image, read_coco
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults

HEIGHT, WIDTH = 8, 10
BLOCK = np.zeros((HEIGHT, WIDTH), bool)
BLOCK[2:5, 3:7] = True  # x 3, y 2, 4 wide, 3 high
IMAGE = {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}
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


def read(path, images, strict=False, **options):
    """(photos, the reader's Annotations)."""
    found = read_coco(path, images, Path(tempfile.mkdtemp(dir=images.parent)), Faults(strict), **options)
    return list(found.items(0)), found


SHAPES = {"polygon": [POLYGON], "rle": uncompressed(BLOCK), "string": compressed(BLOCK)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_form_of_segmentation_gives_the_same_pixels(tmp_path, shape):
    (photo,), _ = read(*write_coco(tmp_path, [{"segmentation": shape, "bbox": [3, 2, 4, 3]}]))
    (thing,) = photo.objects
    assert (photo.source_id, photo.height, photo.width, photo.image.name) == ("7", HEIGHT, WIDTH, "a.jpg")
    assert thing.name == "red hat"
    np.testing.assert_array_equal(rle.decode(thing.mask), BLOCK)
    np.testing.assert_allclose(thing.box, (2 / 8, 3 / 10, 5 / 8, 7 / 10), atol=1e-6)


def test_several_polygons_are_one_mask(tmp_path):
    two = [POLYGON, [0, 6, 2, 6, 2, 8, 0, 8]]
    (photo,), _ = read(*write_coco(tmp_path, [{"segmentation": two}]))
    expected = BLOCK.copy()
    expected[6:8, 0:2] = True
    np.testing.assert_array_equal(rle.decode(photo.objects[0].mask), expected)


def test_masks_and_boxes_of_a_mixed_file_are_pycocotools_own(tmp_path):
    """Polygons (one outside the photo in part), both RLEs, a crowd; against pycocotools, to the pixel."""
    rng = np.random.default_rng(3)
    noise = rng.random((HEIGHT, WIDTH)) < 0.4
    shapes = [[POLYGON], [[-3.5, 1, 12.2, 3, 5, 9.7]], uncompressed(noise), compressed(~noise)]
    shapes += [rng.uniform(0, 10, (2, 12)).round(2).tolist() for _ in range(20)]
    entries = [
        {"segmentation": s, "bbox": [1.25, 2.5, 3.125, 4], "iscrowd": int(i == 2)}
        for i, s in enumerate(shapes)
    ]
    path, images = write_coco(tmp_path, entries)
    (photo,), found = read(path, images)
    truth = COCO(path)
    masks = [mask for mask in map(truth.annToMask, truth.loadAnns(range(len(shapes)))) if mask.any()]
    assert len(photo.objects) + found.faults.left_out.total() == len(shapes)
    for thing, mask in zip(photo.objects, masks, strict=True):
        np.testing.assert_array_equal(rle.decode(thing.mask), mask)
        assert thing.box == pytest.approx((2.5 / 8, 1.25 / 10, 6.5 / 8, 4.375 / 10), abs=1e-6)
    assert [thing.crowd for thing in photo.objects][:4] == [False, False, True, False]


@pytest.mark.parametrize("extra", [{}, {"segmentation": []}, {"segmentation": None}])
def test_a_box_without_segmentation_is_a_box(tmp_path, extra):
    (photo,), _ = read(*write_coco(tmp_path, [{"bbox": [3, 2, 4, 3], **extra}]))
    assert photo.objects[0].mask is None
    assert photo.objects[0].box == pytest.approx((0.25, 0.3, 0.625, 0.7), abs=1e-6)


@pytest.mark.parametrize("extra", [{}, {"bbox": None}, {"bbox": [3, 2, 0, 0]}])
def test_a_mask_without_a_box_gets_its_own(tmp_path, extra):
    (photo,), _ = read(*write_coco(tmp_path, [{"segmentation": compressed(BLOCK), **extra}]))
    assert photo.objects[0].box == pytest.approx((0.25, 0.3, 0.625, 0.7), abs=1e-6)


def test_boxes_are_cut_to_the_photo(tmp_path):
    (photo,), _ = read(*write_coco(tmp_path, [{"bbox": [-2, 4, 5, 100]}]))
    assert photo.objects[0].box == pytest.approx((0.5, 0.0, 1.0, 0.3), abs=1e-6)


def test_what_covers_nothing_is_left_out_and_counted_even_when_strict(tmp_path):
    nothing = [
        {"segmentation": compressed(np.zeros((HEIGHT, WIDTH), bool))},
        {"segmentation": [[1, 1, 1, 1, 1, 1]], "bbox": [1, 1, 1, 1]},
        {"segmentation": [[3, 2, 4, 3]]},  # four numbers are a box to pycocotools
        {"bbox": [3, 2, 0, 3]},
        {"bbox": [30, 2, 4, 3]},
    ]
    (photo,), found = read(*write_coco(tmp_path, nothing), strict=True)
    assert photo.objects == ()
    assert found.faults.left_out == {"mask without a pixel": 3, "box without area": 2}


def test_names_length_and_counts_are_known_before_the_first_photo(tmp_path):
    _, found = read(*write_coco(tmp_path, [{"bbox": [3, 2, 4, 3]}]))
    assert (found.names, found.total, found.faults.good) == (("red hat",), 1, 2)


def test_photos_without_annotations_stay(tmp_path):
    (photo,), _ = read(*write_coco(tmp_path, []))
    assert photo.objects == ()


@pytest.mark.parametrize("order", ["info images annotations categories", "categories annotations images"])
def test_the_order_of_the_sections_does_not_matter(tmp_path, order):
    path, images = write_coco(tmp_path, [{"bbox": [3, 2, 4, 3]}], info={"year": 2017})
    values = json.loads(path.read_text())
    path.write_text(json.dumps({key: values[key] for key in order.split()}))
    (photo,), _ = read(path, images)
    assert [thing.name for thing in photo.objects] == ["red hat"]


def test_ids_are_one_whether_number_text_or_float_and_sizes_may_be_floats(tmp_path):
    image = {"id": "7", "file_name": "a.jpg", "height": 8.0, "width": 10.0}
    entry = {"bbox": [3, 2, 4, 3], "image_id": 7, "category_id": 90.0}
    (photo,), _ = read(*write_coco(tmp_path, [entry], images=[image]))
    assert (photo.source_id, photo.height, photo.objects[0].name) == ("7", 8, "dog")


NAMED = [
    ("COCO_train2014_000000000009.jpg", {}),
    ("000000000009.jpg", {"coco_url": "http://images.cocodataset.org/train2014/000000000009.jpg"}),
    ("x.jpg", {"file_name": None, "filepath": "train2014", "filename": "x.jpg"}),
    ("y.jpg", {"file_name": None, "coco_url": "http://images.cocodataset.org/train2014/y.jpg"}),
    ("z.jpg", {"file_name": "images/train2014/z.jpg"}),
]


@pytest.mark.parametrize("folder", ["train2014", "."])
@pytest.mark.parametrize("name, changes", NAMED)
def test_photos_are_found_in_the_layouts_of_2014_and_2017(tmp_path, folder, name, changes):
    path, images = write_coco(tmp_path, [], images=[{**IMAGE, "file_name": name, **changes}])
    (images / folder).mkdir(exist_ok=True)
    photo = (images / "a.jpg").rename(images / folder / name)
    assert read(path, images)[0][0].image == photo


@pytest.mark.parametrize("line", ["7", "b.jpg", "b", " 7 "])
def test_ids_choose_photos_by_id_or_file_name(tmp_path, line):
    photos = [{**IMAGE, "file_name": "train/b.jpg"}, {**IMAGE, "id": 8}]
    entries = [{"bbox": [3, 2, 4, 3]}, {"bbox": [3, 2, 4, 3], "image_id": 8}]
    path, images = write_coco(tmp_path, entries, images=photos)
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / "b.jpg")
    (tmp_path / "ids.txt").write_text(f"{line}\n\n")
    (photo,), found = read(path, images, ids=tmp_path / "ids.txt")
    assert (photo.source_id, len(photo.objects)) == ("7", 1)
    assert found.faults.left_out == {
        "photo that the file of ids does not name": 1,
        "annotation of a photo that was left out": 1,
    }


def test_an_id_of_no_image_is_a_bad_record(tmp_path):
    path, images = write_coco(tmp_path, [])
    (tmp_path / "ids.txt").write_text("7\n9\n")
    with pytest.raises(UserError, match=r"ids.txt:2: id of no image in the file \('9'\)"):
        read(path, images, ids=tmp_path / "ids.txt")


def test_a_spool_that_is_finished_is_not_filled_again(tmp_path):
    path, images = write_coco(tmp_path, [{"bbox": [3, 2, 4, 3]}, {"bbox": [3, 2, 0, 3]}])
    first = read_coco(path, images, tmp_path, Faults())
    photos = list(first.items(0))
    path.unlink()
    faults = Faults()
    assert list(read_coco(path, images, tmp_path, faults).items(0)) == photos
    assert faults.state() == first.faults.state()


def test_categories_carry_level_and_kind_where_given(tmp_path):
    categories = [{"id": 1, "name": "Red_Hat", "level": "mask", "kind": "object"}, {"id": 2, "name": "dog"}]
    path, _ = write_coco(tmp_path, [], categories=categories)
    assert coco_categories(path) == {"red hat": {"level": "mask", "kind": "object"}, "dog": {}}


@pytest.mark.parametrize("level", ["pixel", ["mask"], None])
def test_a_level_that_is_none_is_an_error(tmp_path, level):
    path, _ = write_coco(tmp_path, [], categories=[{"id": 1, "name": "dog", "level": level}])
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


def test_concept_masks_come_in_the_order_of_the_images(tmp_path):
    photos = [{**IMAGE, "id": number, "file_name": f"{number}.jpg"} for number in (9, 2, 5)]
    entries = [{"segmentation": [POLYGON], "image_id": number} for number in (5, 2)]
    path, images = write_coco(tmp_path, entries, images=photos)
    for number in (9, 2, 5):
        Image.new("RGB", (WIDTH, HEIGHT)).save(images / f"{number}.jpg")
    assert [(photo.stem, len(masks)) for photo, masks in load_concept_masks(path, images)] == [
        ("9", 0),
        ("2", 1),
        ("5", 1),
    ]


def test_concept_masks_need_masks_and_take_no_faults(tmp_path):
    good = [{"segmentation": [POLYGON]}] * 30
    with pytest.raises(UserError, match="annotation 30: expected a segmentation"):
        load_concept_masks(*write_coco(tmp_path, [*good, {"bbox": [3, 2, 4, 3]}]))
    with pytest.raises(UserError, match="annotation 30: bbox is"):
        load_concept_masks(*write_coco(tmp_path, [*good, {"bbox": 4}]))


def test_a_photo_that_is_not_there_is_told_with_file_and_image(tmp_path):
    path, images = write_coco(tmp_path, [])
    (images / "a.jpg").unlink()
    with pytest.raises(UserError) as error:
        read(path, images)
    expected = f"{path}: image 7: photo is not there ('a.jpg'; expected {images / 'a.jpg'})"
    assert str(error.value) == expected


def test_the_annotations_of_a_photo_that_is_not_there_go_with_it(tmp_path):
    """One fault, however many annotations."""
    photos = [{**IMAGE, "id": 8, "file_name": "none.jpg"}, IMAGE]
    entries = [{"bbox": [3, 2, 4, 3]}] * 20 + [{"bbox": [3, 2, 4, 3], "image_id": 8}] * 5
    (photo,), found = read(*write_coco(tmp_path, entries, images=photos))
    assert (photo.source_id, len(photo.objects)) == ("7", 20)
    assert found.faults.bad == {"photo is not there": 1}
    assert found.faults.left_out == {"annotation of a photo that was left out": 5}


BROKEN = [
    ({"bbox": [1, 2, 3]}, "bbox is"),
    ({"bbox": [1, 2, 3, "4"]}, "bbox is"),
    ({"bbox": [1, 2, 3, 1e300]}, "bbox is"),
    ({"segmentation": [[1, 2, 3]]}, "a polygon is a list"),
    ({"segmentation": [[1, 2, 3, True, 5, 6]]}, "a polygon is a list"),
    ({"segmentation": [[1, 2, 30, 4, 5, 90000]]}, "polygon far outside"),
    ({"segmentation": "x"}, "segmentation is polygons or an RLE"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [3, 4]}}, "counts are not all pixels"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [81, -1]}}, "counts are not all pixels"),
    ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "zzzzzz"}}, "broken RLE"),
    ({"segmentation": {"size": [WIDTH, HEIGHT], "counts": [80]}}, "RLE of another size"),
    ({"segmentation": {"size": [HEIGHT, WIDTH]}}, "counts are a list or a string"),
    ({}, "expected a bbox or a segmentation"),
    ({"bbox": [3, 2, 4, 3], "iscrowd": "no"}, "iscrowd is 0 or 1"),
    ({"bbox": [3, 2, 4, 3], "image_id": 8}, "image_id is not among"),
    ({"bbox": [3, 2, 4, 3], "image_id": None}, "expected image_id"),
    ({"bbox": [3, 2, 4, 3], "category_id": 2}, "category_id is not among"),
]


@pytest.mark.parametrize("entry, message", BROKEN)
def test_a_broken_annotation_is_named_or_skipped(tmp_path, entry, message):
    path, images = write_coco(tmp_path, [entry])
    with pytest.raises(UserError, match=message) as error:
        read(path, images)
    assert str(error.value).startswith(f"{path}: annotation 0: ")
    good = [{"bbox": [3, 2, 4, 3]}] * 20
    (photo,), found = read(*write_coco(tmp_path, [*good, entry]))
    assert (len(photo.objects), found.faults.bad.total()) == (20, 1)
    with pytest.raises(UserError, match=f"annotation 20: .*{message}"):
        read(*write_coco(tmp_path, [*good, entry]), strict=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_a_bad_record(value):
    with pytest.raises(BadRecord, match="bbox is"):
        parse_annotation({"bbox": [1, 2, 3, value]}, HEIGHT, WIDTH, "f")
    with pytest.raises(BadRecord, match="a polygon is"):
        parse_annotation({"segmentation": [[1, 2, 3, 4, 5, value]]}, HEIGHT, WIDTH, "f")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"height": 8.5}, "expected height and width in pixels"),
        ({"width": 0}, "expected height and width in pixels"),
        ({"width": True}, "expected height and width in pixels"),
        ({"file_name": None}, "expected file_name"),
        ({"file_name": "\ud800"}, "file_name is not Unicode"),
        ({"id": None}, "expected id"),
    ],
)
def test_a_broken_image_is_a_bad_record(changes, message):
    with pytest.raises(BadRecord, match=message):
        parse_image(IMAGE | changes, "f")


def test_a_second_entry_of_an_image_or_category_is_a_bad_record(tmp_path):
    entries = [{"bbox": [3, 2, 4, 3]}] * 40
    photos, categories = [IMAGE, {**IMAGE, "width": 5}, 5], [{"id": 1, "name": "a"}, {"id": "1", "name": "b"}]
    (photo,), found = read(*write_coco(tmp_path, entries, images=photos, categories=categories))
    assert photo.width == WIDTH and {thing.name for thing in photo.objects} == {"a"}
    assert found.faults.bad == {
        "expected one entry a category id": 1,
        "expected one entry an image id": 1,
        "expected an object": 1,
    }
    assert found.faults.examples["expected an object"][0].endswith(
        "instances.json: image number 3: expected an object (5)"
    )


def test_an_entry_for_a_file_that_another_has_in_another_size_is_a_bad_record(tmp_path):
    photos = [IMAGE, {**IMAGE, "id": 8, "width": 5}]
    entries = [{"bbox": [3, 2, 4, 3]}] * 20 + [{"segmentation": [POLYGON], "image_id": 8}]
    (photo,), found = read(*write_coco(tmp_path, entries, images=photos))
    assert len(photo.objects) == 20
    assert found.faults.bad == {"photo of another size than annotated": 1}


NO_COCO = [
    ("{", "not JSON"),
    ("", "not JSON"),
    ("[]", "expected a COCO object with a list 'categories'"),
    ("{}", "expected a list 'categories'"),
    ('{"categories": 5}', "expected a list 'categories'"),
]


@pytest.mark.parametrize("text, message", NO_COCO)
def test_what_is_no_coco_file_is_told(tmp_path, text, message):
    path, images = write_coco(tmp_path, [])
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read(path, images)


def test_the_real_annotations_give_pycocotools_masks(ccp, tmp_path):
    path = ccp / "coco" / "instances_val.json"
    found = read_coco(path, ccp / "images" / "val", tmp_path, Faults(strict=True))
    truth = COCO(path)
    for photo in found.items(0):
        masks = [truth.annToMask(entry) for entry in truth.imgToAnns[int(photo.source_id)]]
        masks = [mask for mask in masks if mask.any()]
        assert len(photo.objects) == len(masks)
        for thing, mask in zip(photo.objects, masks, strict=True):
            np.testing.assert_array_equal(rle.decode(thing.mask), mask)
