"""Visual Genome: pixel boxes, free names, aliases."""

import json
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from cmask_tf.data.visual_genome import clean, read_aliases, read_visual_genome
from cmask_tf.errors import UserError
from cmask_tf.faults import Faults

URL = "https://cs.stanford.edu/people/rak248/VG_100K_2/{}.jpg"


def read(arguments, strict=False, **options):
    """(photos, the reader's Annotations)."""
    objects, sizes, images = arguments
    work = Path(tempfile.mkdtemp(dir=images))
    found = read_visual_genome(objects, sizes, images, work, Faults(strict), **options)
    return list(found.items(0)), found


@pytest.fixture
def files(tmp_path):
    """Writes a fake release whose photo 3 is 10 x 8; call it with objects, get the reader's arguments."""
    Image.new("RGB", (10, 8)).save(tmp_path / "3.jpg")
    objects, sizes = tmp_path / "objects.json", tmp_path / "image_data.json"

    def make(*things, image=3, **changes):
        record = {"image_id": image, "image_url": URL.format(image), "objects": list(things)} | changes
        objects.write_text(json.dumps([record]))
        sizes.write_text(json.dumps([{"image_id": 3, "url": URL.format(3), "width": 10, "height": 8}]))
        return objects, sizes, tmp_path

    return make


def thing(x=3, y=2, w=4, h=3, names=("bag",)):
    values = {"object_id": 1000, "x": x, "y": y, "w": w, "h": h, "names": list(names)}
    return values | {"synsets": ["bag.n.01"], "merged_object_ids": [1001]}


def test_a_box_in_pixels_becomes_normalised(files):
    (photo,), found = read(files(thing()))
    assert (photo.source_id, photo.height, photo.width) == ("3", 8, 10)
    assert photo.objects[0].box == pytest.approx((2 / 8, 3 / 10, 5 / 8, 7 / 10), abs=1e-9)
    assert (found.names, found.total) == (("bag",), 1)


def test_coordinates_may_be_floats_and_negative_and_are_cut_to_the_photo(files):
    (photo,), _ = read(files(thing(x=-3.5, y=5, w=8, h=90.25)))
    assert photo.objects[0].box == pytest.approx((5 / 8, 0, 1, 4.5 / 10), abs=1e-9)


@pytest.mark.parametrize("changes", [{"x": 20}, {"w": 0}, {"h": -3}])
def test_a_box_without_area_is_left_out_and_counted(files, changes):
    (photo,), found = read(files(thing(**changes), thing()), strict=True)
    assert len(photo.objects) == 1
    assert found.faults.left_out == {"box without area": 1}


def test_several_names_are_an_object_for_each_distinct_concept(files, tmp_path):
    aliases = tmp_path / "alias.txt"
    aliases.write_text("bag,purse\n")
    (photo,), found = read(files(thing(names=["Purse", "sack", "bag", "sack."])), aliases=aliases)
    assert [one.name for one in photo.objects] == ["bag", "sack"]
    assert photo.objects[0].box == photo.objects[1].box
    assert found.faults.good == 1


NAMES = [
    ("a man.", "a man"),
    ("window ", "window"),
    (" Hand_Bag\t", "hand bag"),
    ('"stop" sign', 'stop" sign'),
    ("('s) ", "s"),
    ("man's hat", "man's hat"),
    ("हिन्दी", "हिन्दी"),
    ("...", ""),
]


@pytest.mark.parametrize("name, expected", NAMES)
def test_names_are_folded_and_lose_the_punctuation_around_them(name, expected):
    assert clean(name) == expected


def test_aliases_fold_to_the_first_name_of_their_line(files, tmp_path):
    aliases = tmp_path / "object_alias.txt"
    aliases.write_text("t-shirt,tshirt,Tee Shirt\n\nbag,bags.\n")
    things = [thing(names=[name]) for name in ("TEE SHIRT", "t-shirt.", "bags", "bagel")]
    (photo,), _ = read(files(*things), aliases=aliases)
    assert [one.name for one in photo.objects] == ["t shirt", "t shirt", "bag", "bagel"]


def test_an_alias_of_two_concepts_belongs_to_the_first(tmp_path):
    path = tmp_path / "alias.txt"
    path.write_text("bag,sack\ncloth,sack\n")
    assert read_aliases(path)["sack"] == "bag"


def test_an_alias_line_without_a_concept_is_told(tmp_path):
    path = tmp_path / "alias.txt"
    path.write_text("bag,sack\n,cloth\n")
    with pytest.raises(UserError, match="alias.txt:2: expected the concept's own name first"):
        read_aliases(path)


def test_older_releases_say_id_and_name(files):
    objects, sizes, images = files()
    old = {"id": 3, "objects": [{"id": 9, "x": 3, "y": 2, "w": 4, "h": 3, "name": "bag"}]}
    objects.write_text(json.dumps([old]))
    sizes.write_text(json.dumps([{"id": 3, "width": 10, "height": 8}]))
    (photo,), _ = read((objects, sizes, images))
    assert photo.objects[0].name == "bag"


def test_newer_image_data_may_say_more_and_nothing(files):
    arguments = files(thing())
    record = {"image_id": 3, "url": None, "width": 10, "height": 8.0, "coco_id": None, "flickr_id": 5}
    arguments[1].write_text(json.dumps([record]))
    assert len(read(arguments)[0][0].objects) == 1


def test_objects_and_records_may_come_by_their_ids(files):
    objects, sizes, images = files()
    record = {"image_id": 3, "objects": {"1000": thing(), "1001": thing(names=["hat"])}}
    for values in ([record], {"3": record}):
        objects.write_text(json.dumps(values))
        (photo,), _ = read((objects, sizes, images))
        assert [one.name for one in photo.objects] == ["bag", "hat"]


def test_an_object_without_a_name_is_left_out_and_counted(files):
    (photo,), found = read(files(thing(names=[]), thing(names=["", "bag"]), thing(names=["."])))
    assert [one.name for one in photo.objects] == ["bag"]
    assert found.faults.left_out == {"object without a name": 2}


def test_photos_may_keep_the_folders_of_their_url(files, tmp_path):
    arguments = files(thing())
    (tmp_path / "VG_100K_2").mkdir()
    photo = (tmp_path / "3.jpg").rename(tmp_path / "VG_100K_2" / "3.jpg")
    assert read(arguments)[0][0].image == photo


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image": 4}, "objects.json: image 4: image is not in the image data"),
        ({"objects": None}, "objects.json: image 3: expected a list of objects"),
        ({"objects": [{"names": ["bag"], "x": 1}]}, "image 3: object number 1: expected x, y, w, h"),
        ({"objects": [thing() | {"x": True}]}, "image 3: object 1000: expected x, y, w, h"),
        ({"objects": [thing() | {"x": 1e300}]}, "image 3: object 1000: expected x, y, w, h"),
        ({"objects": [{"object_id": 5, "names": 5}]}, "image 3: object 5: names is a list"),
        ({"objects": [7]}, "image 3: object number 1: expected an object"),
        ({"image_id": None}, "objects.json: image number 1: expected image_id"),
    ],
)
def test_a_broken_record_is_named(files, changes, message):
    with pytest.raises(UserError, match=message):
        read(files(**changes))


def test_a_broken_object_is_skipped_and_the_rest_of_its_photo_kept(files):
    things = [thing()] * 20
    (photo,), found = read(files(*things, thing() | {"w": None}))
    assert len(photo.objects) == 20
    assert found.faults.bad == {"expected x, y, w, h in pixels": 1}
    with pytest.raises(UserError, match="object 1000: expected x, y, w, h"):
        read(files(*things, thing() | {"w": None}), strict=True)


def test_the_objects_of_a_photo_that_is_not_there_go_with_it(files):
    objects, sizes, images = files(*[thing()] * 30)
    records = json.loads(objects.read_text()) + [{"image_id": 4, "objects": [thing()] * 3}]
    objects.write_text(json.dumps(records))
    numbers = [{"image_id": number, "width": 10, "height": 8} for number in (3, 4)]
    sizes.write_text(json.dumps(numbers))
    _, found = read((objects, sizes, images))
    assert found.faults.bad == {"photo is not there": 1}
    assert found.faults.left_out == {"annotation of a photo that was left out": 3}


def test_image_data_without_a_size_or_twice_is_a_bad_record(files):
    arguments = files(*[thing()] * 30)
    records = json.loads(arguments[1].read_text())
    arguments[1].write_text(json.dumps([*records, {"image_id": 3, "width": 5, "height": 5}, {"image_id": 5}]))
    (photo,), found = read(arguments)
    assert photo.width == 10
    assert found.faults.bad == {
        "expected one entry an image id": 1,
        "expected height and width in pixels": 1,
    }


def test_a_photo_that_is_not_there_is_named(files, tmp_path):
    arguments = files(thing())
    (tmp_path / "3.jpg").unlink()
    with pytest.raises(UserError, match="objects.json: image 3: photo is not there"):
        read(arguments)


@pytest.mark.parametrize("text, message", [("5", "a list of records"), ("[", "not JSON"), ("", "not JSON")])
def test_what_is_no_list_of_records_is_told(files, text, message):
    arguments = files(thing())
    arguments[0].write_text(text)
    with pytest.raises(UserError, match=f"objects.json: .*{message}"):
        read(arguments)


def test_an_empty_list_is_a_source_without_photos(files):
    arguments = files()
    arguments[0].write_text("[]")
    assert read(arguments)[1].total == 0
