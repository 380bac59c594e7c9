"""Visual Genome: pixel boxes, free names, aliases."""

import json

import pytest
from PIL import Image

from cmask_tf.data.visual_genome import read_aliases, read_visual_genome
from cmask_tf.errors import UserError

URL = "https://cs.stanford.edu/people/rak248/VG_100K_2/{}.jpg"


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
    return {"object_id": 1000, "x": x, "y": y, "w": w, "h": h, "names": list(names), "synsets": ["bag.n.01"]}


def test_a_box_in_pixels_becomes_normalised(files):
    (photo,) = read_visual_genome(*files(thing()))
    assert (photo.source_id, photo.height, photo.width) == ("3", 8, 10)
    assert photo.objects[0].box == pytest.approx((2 / 8, 3 / 10, 5 / 8, 7 / 10), abs=1e-6)


def test_a_box_that_leaves_the_photo_is_cut(files):
    (photo,) = read_visual_genome(*files(thing(x=-3, y=5, w=8, h=90)))
    assert photo.objects[0].box == pytest.approx((5 / 8, 0, 1, 5 / 10), abs=1e-6)


def test_a_box_outside_the_photo_is_left_out_and_counted(files):
    found = read_visual_genome(*files(thing(x=20), thing()))
    assert len(next(found).objects) == 1
    assert found.skipped == {"box without area": 1}


def test_the_first_of_several_names_counts(files):
    (photo,) = read_visual_genome(*files(thing(names=["Hand_Bag", "purse"])))
    assert photo.objects[0].name == "hand bag"


def test_aliases_fold_to_the_first_name_of_their_line(files, tmp_path):
    aliases = tmp_path / "object_alias.txt"
    aliases.write_text("t-shirt,tshirt,Tee Shirt\n\nbag,bags\n")
    things = [thing(names=[name]) for name in ("TEE SHIRT", "t-shirt", "bags", "bagel")]
    (photo,) = read_visual_genome(*files(*things), aliases=aliases)
    assert [one.name for one in photo.objects] == ["t shirt", "t shirt", "bag", "bagel"]


def test_an_alias_of_two_concepts_belongs_to_the_first(tmp_path):
    path = tmp_path / "alias.txt"
    path.write_text("bag,sack\ncloth,sack\n")
    assert read_aliases(path)["sack"] == "bag"


def test_older_releases_say_id_and_name(files):
    objects, sizes, images = files()
    old = {"id": 3, "objects": [{"x": 3, "y": 2, "w": 4, "h": 3, "name": "bag"}]}
    objects.write_text(json.dumps([old]))
    sizes.write_text(json.dumps([{"id": 3, "width": 10, "height": 8}]))
    (photo,) = read_visual_genome(objects, sizes, images)
    assert photo.objects[0].name == "bag"


def test_an_object_without_a_name_is_left_out_and_counted(files):
    found = read_visual_genome(*files(thing(names=[]), thing(names=["", "bag"])))
    assert [one.name for one in next(found).objects] == ["bag"]
    assert found.skipped == {"object without a name": 1}


def test_photos_may_keep_the_folders_of_their_url(files, tmp_path):
    arguments = files(thing())
    (tmp_path / "VG_100K_2").mkdir()
    (tmp_path / "3.jpg").rename(tmp_path / "VG_100K_2" / "3.jpg")
    assert next(read_visual_genome(*arguments)).image == tmp_path / "VG_100K_2" / "3.jpg"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image": 4}, "objects.json: image 4: not in .*image_data.json"),
        ({"objects": None}, "objects.json: image 3: expected a list of objects"),
        ({"objects": [{"names": ["bag"], "x": 1}]}, "image 3: object None: expected x, y, w, h"),
        ({"objects": [{"names": 5}]}, "image 3: object None: names is a list"),
    ],
)
def test_a_broken_record_is_named(files, changes, message):
    with pytest.raises(UserError, match=message):
        read_visual_genome(*files(**changes))


def test_a_photo_that_is_not_there_is_named(files, tmp_path):
    arguments = files(thing())
    (tmp_path / "3.jpg").unlink()
    with pytest.raises(UserError, match="objects.json: image 3: photo .* is not there"):
        read_visual_genome(*arguments)
