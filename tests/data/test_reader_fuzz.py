"""Whatever a record or a file holds: only BadRecord or UserError leaves, or values that are sound."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data import coco, open_images, visual_genome
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.text import fold

fuzz = settings(deadline=None, max_examples=100, database=None, suppress_health_check=list(HealthCheck))

HEIGHT, WIDTH = 8, 10
NUMBERS = st.one_of(st.integers(-20, 30), st.floats(-20, 30), st.floats(), st.integers())
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
SIDES = st.integers(1, 70_000) | NUMBERS
IDS = st.one_of(st.integers(0, 9), st.text(max_size=3), JUNK)
RINGS = st.lists(st.lists(NUMBERS, max_size=10) | JUNK, max_size=3)
COUNTS = st.lists(st.integers(0, 40), max_size=6) | st.text("0123456789PQRSTabco`", max_size=10) | JUNK
RLES = st.fixed_dictionaries({"size": st.just([HEIGHT, WIDTH]) | JUNK, "counts": COUNTS})
ANNOTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "bbox": st.lists(NUMBERS, min_size=4, max_size=4) | JUNK,
        "segmentation": RINGS | RLES | JUNK,
        "iscrowd": st.integers(0, 1) | JUNK,
    },
)


def check_box(box):
    ymin, xmin, ymax, xmax = box
    assert 0 <= ymin <= ymax <= 1 and 0 <= xmin <= xmax <= 1  # not a number would fail


def attempt(parse, *arguments):
    """What it returns in a list; nothing after a BadRecord, whose line can be printed."""
    try:
        return [parse(*arguments)]
    except BadRecord as bad:
        assert "\n" not in str(bad) and str(bad).encode()
        return []


@fuzz
@given(ANNOTATIONS)
def test_an_annotation_is_bad_or_has_a_sound_box_and_mask(entry):
    for box, counts, crowd in attempt(coco.parse_annotation, entry, HEIGHT, WIDTH, "f"):
        assert isinstance(crowd, bool)
        if box is not None:
            check_box(box)
            assert box[0] < box[2] and box[1] < box[3]
        if counts is not None:
            mask = rle.decode({"size": [HEIGHT, WIDTH], "counts": counts})
            assert mask.shape == (HEIGHT, WIDTH) and mask.any()


@fuzz
@given(
    st.fixed_dictionaries(
        {"id": IDS, "file_name": IDS, "height": SIDES, "width": SIDES},
        optional={"coco_url": JUNK, "filepath": JUNK, "filename": JUNK},
    )
    | JUNK
)
def test_an_image_is_bad_or_has_names_and_a_size(entry):
    for image in attempt(coco.parse_image, entry, "f"):
        assert image.height >= 1 and image.width >= 1
        assert all(name.strip() and name.encode() for name in image.names) and image.names


@fuzz
@given(st.fixed_dictionaries({"id": IDS, "name": st.text() | JUNK}) | JUNK)
def test_a_category_is_bad_or_has_a_folded_name(entry):
    for number, name in attempt(coco.parse_category, entry, "f"):
        assert name and number and name == fold(name)


CELLS = st.one_of(st.floats().map(str), st.floats(0, 1).map(str), st.text(max_size=5))
ROWS = st.fixed_dictionaries(
    {"ImageID": st.text(max_size=5), "LabelName": st.text(max_size=5), "IsGroupOf": st.sampled_from("01x")}
    | dict.fromkeys(("XMin", "XMax", "YMin", "YMax"), CELLS)
)


@fuzz
@given(ROWS)
def test_a_row_is_bad_or_has_a_sound_box(row):
    for image, label, box, crowd in attempt(open_images.parse_row, row, "f"):
        check_box(box)
        assert image == row["ImageID"] != "" and image.isprintable()
        assert crowd == (row["IsGroupOf"] == "1") and label == row["LabelName"]


@fuzz
@given(st.fixed_dictionaries({"ImageID": st.text(max_size=5), "LabelName": st.text(), "Confidence": CELLS}))
def test_a_label_is_bad_or_has_a_confidence(row):
    for image, _, confidence in attempt(open_images.parse_label, row, "f"):
        assert image and 0 <= confidence <= 1


THINGS = st.fixed_dictionaries(
    dict.fromkeys("xywh", NUMBERS),
    optional={"names": st.lists(st.text(max_size=6)) | JUNK, "name": st.text()},
)


@fuzz
@given(st.fixed_dictionaries({"image_id": IDS, "objects": st.lists(THINGS | JUNK, max_size=4) | JUNK}) | JUNK)
def test_a_record_of_objects_is_bad_or_has_finite_boxes_and_clean_names(record):
    for thing in (one for things in attempt(visual_genome.parse_objects, record, "f") for one in things):
        if isinstance(thing, BadRecord):
            assert str(thing).encode()
        else:
            assert all(abs(value) <= 1e9 for value in thing.box)
            assert all(name and name == fold(name) == visual_genome.clean(name) for name in thing.names)


@fuzz
@given(st.text())
def test_cleaning_twice_changes_nothing(name):
    assert visual_genome.clean(visual_genome.clean(name)) == visual_genome.clean(name)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A small sound source of each kind: {name: (reader of a file of it, its content)}."""
    folder = tmp_path_factory.mktemp("sources")
    for number in (1, 2):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{number}.jpg")
    images = [
        {"id": n, "image_id": n, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH} for n in (1, 2)
    ]
    shapes = [[[1, 1, 6, 1, 6, 6]], {"size": [HEIGHT, WIDTH], "counts": [10, 20, 50]}]
    entries = [
        {"id": i, "image_id": 1 + i % 2, "category_id": 3, "segmentation": shapes[i % 2]} for i in range(12)
    ]
    instances = {"images": images, "categories": [{"id": 3, "name": "dog"}], "annotations": entries}
    things = [{"object_id": i, "x": 1, "y": 2, "w": 3.5, "h": 4, "names": ["a man."]} for i in range(8)]
    (folder / "image_data.json").write_text(json.dumps(images))
    (folder / "classes.csv").write_text("/m/1,Dog\n")
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n"
    contents = {
        "coco": json.dumps(instances),
        "visual genome": json.dumps([{"image_id": n, "objects": things} for n in (1, 2)]),
        "open images": head + "".join(f"{1 + i % 2},x,/m/1,1,0.25,0.5,0.1,0.875,0\n" for i in range(20)),
    }
    readers = {
        "coco": lambda file, work, faults: coco.read_coco(file, folder, work, faults),
        "visual genome": lambda file, work, faults: visual_genome.read_visual_genome(
            file, folder / "image_data.json", folder, work, faults
        ),
        "open images": lambda file, work, faults: open_images.read_open_images(
            file, folder / "classes.csv", folder, work, faults
        ),
    }
    return {name: (readers[name], content.encode()) for name, content in contents.items()}


@st.composite
def mutilated(draw, content):
    """The bytes with up to three cuts, doublings, or changed bytes."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 30)))
        middle = draw(st.sampled_from([b"", content[start:end] * 2]) | st.binary(max_size=4))
        content = content[:start] + middle + content[end:]
    return content


@pytest.mark.parametrize("name", ["coco", "visual genome", "open images"])
@fuzz
@given(data=st.data())
def test_a_mutilated_file_is_refused_in_a_line_or_read_soundly(sources, name, data):
    read, content = sources[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file.json"
        file.write_bytes(data.draw(mutilated(content)))
        try:
            found = read(file, Path(folder), Faults())
        except UserError as error:
            assert str(file) in str(error) and "\n" not in str(error)
            return
        for photo in found.items(0):
            assert (photo.height, photo.width) == (HEIGHT, WIDTH) or name != "open images"
            for thing in photo.objects:
                check_box(thing.box)
                assert thing.name == fold(thing.name) != ""
                assert thing.mask is None or rle.area(thing.mask) > 0
