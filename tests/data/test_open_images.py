"""Open Images: normalised boxes, class names, groups, and coordinates in pixels."""

import pytest
from PIL import Image

from cmask_tf.data.open_images import read_classes, read_open_images
from cmask_tf.errors import UserError

HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"
HAT, DOG = "/m/hat", "/m/dog"


@pytest.fixture
def files(tmp_path):
    """Writes a fake release with photos a and b; call it with box rows, get the reader's arguments."""
    for name in ("a", "b"):
        Image.new("RGB", (10, 8)).save(tmp_path / f"{name}.jpg")
    classes, boxes = tmp_path / "classes.csv", tmp_path / "boxes.csv"
    classes.write_text(f"{HAT},Red Hat\n{DOG},Dog\n")

    def make(*rows, head=HEAD):
        boxes.write_text("\n".join([head, *rows]) + "\n")
        return boxes, classes, tmp_path

    return make


def row(image="a", label=HAT, box="0.1,0.4,0.25,0.75", group=0):
    return f"{image},xclick,{label},1,{box},0,0,{group}"


def test_boxes_names_and_order(files):
    a, b = read_open_images(*files(row(), row("b", DOG, "0,1,0,1"), row("a", DOG, "0.5,0.6,0.5,0.7")))
    assert (a.source_id, a.height, a.width, a.image.name) == ("a", 8, 10, "a.jpg")
    assert [thing.name for thing in a.objects] == ["red hat", "dog"]
    assert a.objects[0].box == pytest.approx((0.25, 0.1, 0.75, 0.4), abs=1e-6)
    assert b.objects[0].box == (0, 0, 1, 1)


def test_a_photo_whose_rows_are_apart_is_one_record(files):
    found = read_open_images(*files(row("a"), row("b"), row("a")))
    assert [len(photo.objects) for photo in found] == [2, 1]


def test_group_of_is_crowd(files):
    (photo,) = read_open_images(*files(row(group=1), row(group=0)))
    assert [thing.crowd for thing in photo.objects] == [True, False]


def test_columns_are_found_by_name(files):
    head = "YMax,YMin,XMax,XMin,LabelName,ImageID"
    (photo,) = read_open_images(*files(f"0.75,0.25,0.4,0.1,{DOG},a", head=head))
    assert photo.objects[0].box == pytest.approx((0.25, 0.1, 0.75, 0.4), abs=1e-6)
    assert not photo.objects[0].crowd


def test_class_names_with_commas_quotes_and_a_heading(tmp_path):
    path = tmp_path / "classes.csv"
    rows = ['/m/1,"Hat, red"', '/m/2,"The ""Big"" One"', "/m/3,Ham, raw", "/m/4,Caf\u00e9"]
    path.write_text("\n".join(["LabelName,DisplayName", *rows]))
    assert read_classes(path) == {
        "/m/1": "hat, red",
        "/m/2": 'the "big" one',
        "/m/3": "ham, raw",
        "/m/4": "caf\u00e9",
    }


def test_pixel_coordinates_are_told_with_file_and_line(files):
    boxes, classes, images = files(row(), row(box="0.1,318,0.25,0.75"))
    with pytest.raises(UserError) as error:
        read_open_images(boxes, classes, images)
    assert str(error.value) == f"{boxes}:3: XMax is 318; expected 0 to 1 (normalised), not pixels"


@pytest.mark.parametrize(
    "rows, message",
    [
        ([row(box="nan,0.4,0.25,0.75")], "boxes.csv:2: XMin is nan"),
        ([row(box="x,0.4,0.25,0.75")], "boxes.csv:2: expected numbers"),
        ([row(box="0.5,0.4,0.25,0.75")], "boxes.csv:2: expected XMin <= XMax"),
        ([row(), row(label="/m/cat")], "boxes.csv:3: LabelName /m/cat is not in .*classes.csv"),
        ([row(), row("c")], "boxes.csv:3: photo 'c.jpg' is not there"),
        ([row()[:-4]], "boxes.csv:2: expected 11 columns, not 9"),
    ],
)
def test_a_broken_row_is_named(files, rows, message):
    with pytest.raises(UserError, match=message):
        read_open_images(*files(*rows))


def test_a_missing_column_is_named(files):
    with pytest.raises(UserError, match="boxes.csv:1: .* XMin is missing"):
        read_open_images(*files(head=HEAD.replace("XMin", "Left")))


def test_a_box_without_area_is_left_out_and_counted(files):
    found = read_open_images(*files(row(), row(box="0.1,0.1,0.2,0.3")))
    assert len(next(found).objects) == 1
    assert found.skipped == {"box without area": 1}


def test_a_missing_file_is_named(files, tmp_path):
    boxes, _, images = files(row())
    with pytest.raises(UserError, match="none.csv: cannot be read"):
        read_open_images(boxes, tmp_path / "none.csv", images)
