"""Open Images: normalised boxes, class names, groups, the hierarchy, labels, and coordinates in pixels."""

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from cmask_tf.data.open_images import parse_label, parse_row, read_classes, read_hierarchy, read_open_images
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults

V4 = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)
V6 = V4 + ",XClick1X,XClick2X,XClick3X,XClick4X,XClick1Y,XClick2Y,XClick3Y,XClick4Y"
HAT, DOG = "/m/hat", "/m/dog"


def read(arguments, strict=False, **options):
    """(photos, the reader's Annotations)."""
    boxes, classes, images = arguments
    work = Path(tempfile.mkdtemp(dir=images))
    found = read_open_images(boxes, classes, images, work, Faults(strict), **options)
    return list(found.items(0)), found


@pytest.fixture
def files(tmp_path):
    """Writes a fake release with photos a and b; call it with box rows, get the reader's arguments."""
    for name in ("a", "b"):
        Image.new("RGB", (10, 8)).save(tmp_path / f"{name}.jpg")
    classes, boxes = tmp_path / "classes.csv", tmp_path / "boxes.csv"
    classes.write_text(f"{HAT},Red Hat\n{DOG},Dog\n")

    def make(*rows, head=V4):
        boxes.write_text("\n".join([head, *rows]) + "\n")
        return boxes, classes, tmp_path

    return make


def row(image="a", label=HAT, box="0.1,0.4,0.25,0.75", group=0):
    return f"{image},xclick,{label},1,{box},0,0,{group},0,0"


def test_boxes_names_and_order(files):
    rows = row(), row("b", DOG, "0,1,0,1"), row("a", DOG, "0.5,0.6,0.5,0.7")
    (a, b), found = read(files(*rows))
    assert (a.source_id, a.height, a.width, a.image.name) == ("a", 8, 10, "a.jpg")
    assert [thing.name for thing in a.objects] == ["red hat", "dog"]
    assert a.objects[0].box == pytest.approx((0.25, 0.1, 0.75, 0.4), abs=1e-9)
    assert b.objects[0].box == (0, 0, 1, 1)
    assert (found.names, found.total, found.faults.good) == (("dog", "red hat"), 2, 3)


def test_a_photo_whose_rows_are_apart_is_one_record(files):
    photos, _ = read(files(row("a"), row("b"), row("a")))
    assert [len(photo.objects) for photo in photos] == [2, 1]


def test_group_of_is_crowd_and_a_flag_that_is_not_known_is_none(files):
    (photo,), _ = read(files(row(group=1), row(group=0), row(group=-1)))
    assert [thing.crowd for thing in photo.objects] == [True, False, False]


def test_the_columns_of_v6_and_v7_are_read(files):
    (photo,), _ = read(files(row(group=1) + ",0.1,0.2,0.3,0.4,0.25,0.5,0.6,0.75", head=V6))
    assert photo.objects[0].crowd
    assert photo.objects[0].box == pytest.approx((0.25, 0.1, 0.75, 0.4), abs=1e-9)


def test_columns_are_found_by_name(files):
    head = "YMax,YMin,XMax,XMin,LabelName,ImageID"
    (photo,), _ = read(files(f"0.75,0.25,0.4,0.1,{DOG},a", head=head))
    assert photo.objects[0].box == pytest.approx((0.25, 0.1, 0.75, 0.4), abs=1e-9)
    assert not photo.objects[0].crowd


def test_packed_files_are_read(files):
    boxes, classes, images = files(row())
    packed = images / "boxes.csv.gz"
    packed.write_bytes(gzip.compress(boxes.read_bytes()))
    assert read((packed, classes, images))[0] == read((boxes, classes, images))[0]
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(UserError, match="boxes.csv.gz: cannot be read"):
        read((packed, classes, images))


@pytest.mark.parametrize("name", ["0a.jpeg", "0a.png", "train_0/0a.jpg"])
def test_photos_may_be_of_other_types_and_in_the_folders_of_the_archives(files, name):
    arguments = files(row("0a"), row("0a"))
    photo = arguments[2] / name
    photo.parent.mkdir(exist_ok=True)
    Image.new("RGB", (10, 8)).save(photo)
    (found,), _ = read(arguments)
    assert (found.image, len(found.objects)) == (photo, 2)


def test_class_names_with_commas_quotes_a_mark_and_a_heading(tmp_path):
    path = tmp_path / "classes.csv"
    rows = ['/m/1,"Hat, red"', '/m/2,"The ""Big"" One"', "/m/3,Ham, raw", "/m/4,Café"]
    path.write_text("\ufeff" + "\n".join(["LabelName,DisplayName", *rows]), encoding="utf-8")
    assert read_classes(path) == {
        "/m/1": "hat, red",
        "/m/2": 'the "big" one',
        "/m/3": "ham, raw",
        "/m/4": "café",
    }


@pytest.mark.parametrize("line", [b"/m/1", b"/m/1,  ", b"/m/1,-", b"/m/1,Caf\xe9"])
def test_a_class_without_a_name_is_told_with_its_line(tmp_path, line):
    path = tmp_path / "classes.csv"
    path.write_bytes(b"/m/0,Dog\n" + line)
    with pytest.raises(UserError, match="classes.csv:2: .*expected LabelName,DisplayName"):
        read_classes(path)


def test_two_classes_of_one_name_are_one_concept(files):
    arguments = files(row(), row(label=DOG))
    arguments[1].write_text(f"{HAT},Bat\n{DOG},bat\n")
    (photo,), found = read(arguments)
    assert [thing.name for thing in photo.objects] == ["bat", "bat"]
    assert found.names == ("bat",)


TREE = {
    "LabelName": "/m/0bl9f",
    "Subcategory": [
        {
            "LabelName": "/m/animal",
            "Subcategory": [{"LabelName": "/m/pet", "Subcategory": [{"LabelName": DOG}]}],
            "Part": [{"LabelName": "/m/tail", "Subcategory": [{"LabelName": "/m/plume"}]}],
        },
        {"LabelName": "/m/guard", "Subcategory": [{"LabelName": DOG}]},
        {"LabelName": HAT},
    ],
}


def test_the_hierarchy_gives_kinds_not_wholes_and_not_the_root(tmp_path):
    path = tmp_path / "tree.json"
    path.write_text(json.dumps(TREE))
    above = {label: set(found) for label, found in read_hierarchy(path).items()}
    assert above == {
        "/m/animal": set(),
        "/m/pet": {"/m/animal"},
        DOG: {"/m/pet", "/m/animal", "/m/guard"},
        "/m/tail": set(),
        "/m/plume": {"/m/tail"},
        "/m/guard": set(),
        HAT: set(),
    }


def test_a_box_counts_once_for_each_name_above_its_class(files, tmp_path):
    """/m/guard has no name, /m/animal the same as /m/pet."""
    (tmp_path / "tree.json").write_text(json.dumps(TREE))
    arguments = files(row(label=DOG, group=1), row(label=HAT))
    arguments[1].write_text(f"{HAT},Hat\n{DOG},Dog\n/m/pet,Beast\n/m/animal,beast\n/m/0bl9f,Entity\n")
    (photo,), found = read(arguments, hierarchy=tmp_path / "tree.json")
    assert sorted((thing.name, thing.crowd) for thing in photo.objects) == [
        ("beast", True),
        ("dog", True),
        ("hat", False),
    ]
    assert photo.objects[0].box == photo.objects[1].box
    assert found.faults.good == 2


@pytest.mark.parametrize("tree", [{"Subcategory": [{}]}, {"Subcategory": {}}, {"Subcategory": [5]}])
def test_a_tree_that_is_none_is_told(tmp_path, tree):
    path = tmp_path / "tree.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(UserError, match="tree.json: "):
        read_hierarchy(path)


def test_labels_become_tags_of_the_photos_that_have_boxes(files, tmp_path):
    labels = tmp_path / "labels.csv"
    rows = [
        f"a,verification,{DOG},1",
        f"a,machine,{DOG},0.5",
        f"a,verification,{HAT},0",
        f"b,machine,{HAT},0.4",
        f"b,machine,{HAT},0.9",
        "a,verification,/m/rare,1",
        f"c,verification,{DOG},1",
        f"a,verification,{DOG},yes",
    ]
    labels.write_text("\n".join(["ImageID,Source,LabelName,Confidence", *rows]))
    (a, b), found = read(files(*[row()] * 20, row("b")), labels=labels)
    assert (a.tags, b.tags) == (("dog",), ("red hat",))
    assert found.faults.left_out == {
        "label of a confidence below 0.5 (0: verified absent)": 2,
        "label that the class descriptions do not name": 1,
        "label of a photo without boxes": 1,
    }
    assert found.faults.bad == {"expected a number in Confidence": 1}


def test_pixel_coordinates_are_told_with_file_and_line(files):
    boxes, classes, images = files(row(), row(box="0.1,318,0.25,0.75"))
    with pytest.raises(UserError) as error:
        read((boxes, classes, images))
    expected = f"{boxes}:3: expected 0 to 1 (normalised), not pixels (XMax is 318)"
    assert str(error.value) == expected


def test_a_file_in_pixels_is_refused_long_before_its_end(files):
    """Not one box of it is clipped to 1."""
    rows = [row(box="10,318,25,75")] * 3000
    with pytest.raises(UserError, match="boxes.csv:2: .*; 1000 of 1000 records are bad"):
        read(files(*rows))


@pytest.mark.parametrize("value, kept", [("1.000001", 1.0), ("1.0000005", 1.0), ("-0.0", 0.0)])
def test_what_rounding_adds_is_cut(value, kept):
    _, _, box, _ = parse_row(
        dict(zip(V4.split(","), row(box=f"{value},1.000001,0,1").split(","), strict=True)), "f"
    )
    assert box == (0, kept, 1, 1)


BROKEN = [
    (row(box="nan,0.4,0.25,0.75"), "XMin is nan"),
    (row(box="0.1,inf,0.25,0.75"), "XMax is inf"),
    (row(box="-0.1,0.4,0.25,0.75"), "XMin is -0.1"),
    (row(box="x,0.4,0.25,0.75"), "expected numbers"),
    (row(box="0.5,0.4,0.25,0.75"), "expected XMin <= XMax"),
    (row(label="/m/cat"), "LabelName is not in the class descriptions \\('/m/cat'\\)"),
    (row(group="yes"), "IsGroupOf is 0, 1 or -1"),
    (row("c"), "photo is not there"),
    (row(""), "expected an ImageID"),
    (row("../a"), "expected an ImageID"),
    (row()[:-4], "another number of columns .*\\(11\\)"),
    (row('"a'), "another number of columns|a quote that is not closed"),
]


@pytest.mark.parametrize("broken, message", BROKEN)
def test_a_broken_row_is_named_or_skipped(files, broken, message):
    with pytest.raises(UserError, match=f"boxes.csv:2: .*({message})"):
        read(files(broken))
    good = [row()] * 20
    (photo,), found = read(files(*good, broken))
    assert (len(photo.objects), found.faults.bad.total()) == (20, 1)
    with pytest.raises(UserError, match=f"boxes.csv:22: .*({message})"):
        read(files(*good, broken), strict=True)


def test_a_quote_that_is_not_closed_takes_no_other_row_along(files):
    opened, closed = row().replace("xclick", '"xclick'), row().replace("xclick", 'xclick"')
    rows = [row()] * 40 + [opened, row(), closed] + [row()] * 5
    (photo,), found = read(files(*rows))
    assert len(photo.objects) == 47  # a quote within a text is one of its letters
    assert found.faults.bad == {"a quote that is not closed on its line": 1}


def test_bytes_that_are_not_utf_8_spoil_their_row_only(files):
    arguments = files(*[row()] * 20)
    with arguments[0].open("ab") as file:
        file.write(b"\xff\xfe,x,/m/hat,1,0,1,0,1,0,0,0,0,0\n" + row().encode() + b"\n")
    (photo,), found = read(arguments)
    assert (len(photo.objects), found.faults.bad) == (21, {"expected an ImageID": 1})


def test_the_rows_of_a_photo_that_is_not_there_go_with_it(files):
    (photo,), found = read(files(*[row()] * 20, row("c"), row("a"), row("c"), row("c")))
    assert len(photo.objects) == 21
    assert found.faults.bad == {"photo is not there": 1}
    assert found.faults.left_out == {"annotation of a photo that was left out": 2}


@pytest.mark.parametrize("confidence", ["", "2", "nan", "-1"])
def test_a_confidence_outside_0_to_1_is_a_bad_record(confidence):
    with pytest.raises(BadRecord, match="Confidence"):
        parse_label({"ImageID": "a", "LabelName": DOG, "Confidence": confidence}, "f")


def test_a_missing_column_is_named(files):
    with pytest.raises(UserError, match="boxes.csv:1: .* XMin is missing"):
        read(files(head=V4.replace("XMin", "Left")))


def test_a_box_without_area_is_left_out_and_counted(files):
    (photo,), found = read(files(row(), row(box="0.1,0.1,0.2,0.3")), strict=True)
    assert len(photo.objects) == 1
    assert found.faults.left_out == {"box without area": 1}


def test_a_missing_file_is_named(files, tmp_path):
    boxes, _, images = files(row())
    with pytest.raises(UserError, match="none.csv: cannot be read"):
        read((boxes, tmp_path / "none.csv", images))
