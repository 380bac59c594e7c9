"""Damaged files through every command that reads files: exit code 2 and a line, or a sound output in which
what was not touched is as a plain reader finds it."""

import csv
import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import fuzzing
import numpy as np
import plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle

HEIGHT, WIDTH, PHOTOS = 8, 10, 12
SIZES = {"height": HEIGHT, "width": WIDTH}
BLOCK = np.zeros((HEIGHT, WIDTH), np.uint8, "F")
BLOCK[2:5, 3:7] = 1
Photos = dict[str, plain.Photo]


class Source(NamedTuple):
    """A sound source of a command: its options that name files, and these.

    `expected` takes (files after the damage, folder of photos) and returns the photos that a plain reader
    finds in what was not touched, and whether that is all there is; None for a file that nobody can read.
    """

    options: dict[str, str]
    files: fuzzing.Files
    expected: Callable[[fuzzing.Files, Path], tuple[Photos, bool] | None]


def listed(value):
    """JSON with an entry a line, so that a damaged line is a damaged entry."""
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"
    return "{\n" + ",\n".join(f'"{key}": {listed(entries)}' for key, entries in value.items()) + "\n}"


def loaded(content):
    """The value, or None. An object with a key twice is one, but nobody knows what it says: []."""
    twice = []

    def check(pairs):
        twice.extend([()] * (len(dict(pairs)) < len(pairs)))
        return dict(pairs)

    try:
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=check)
    except (ValueError, RecursionError):
        return None
    return [] if twice else value


def untouched(entries, originals, key=None):
    """The entries that are as they were, without those whose `key` another entry has."""
    known = {json.dumps(entry, sort_keys=True) for entry in originals}
    entries = entries if isinstance(entries, list) else []
    of = Counter(str(entry.get(key)).removesuffix(".0") for entry in entries if isinstance(entry, dict))
    same = [entry for entry in entries if json.dumps(entry, sort_keys=True) in known]
    return [entry for entry in same if key is None or of[str(entry[key])] == 1]


# COCO

IMAGES = [
    {"id": k, "image_id": k, "file_name": f"{k}.jpg", "url": f"VG/{k}.jpg"} | SIZES for k in range(PHOTOS)
]
SHAPES = [
    {"bbox": [1, 2, 3.5, 4]},
    {"segmentation": [[1, 1, 6.5, 1, 6, 6]], "bbox": [1, 1, 5.5, 5]},
    {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [10, 20, 50]}, "iscrowd": 1},
    {"segmentation": rle.encode(BLOCK) | {"counts": rle.encode(BLOCK)["counts"].decode()}, "iscrowd": 0},
]
INSTANCES = {
    "images": IMAGES,
    "annotations": [
        {"id": k, "image_id": 7 * k % PHOTOS, "category_id": 3 + k % 2, **SHAPES[k % 4]} for k in range(48)
    ],
    "categories": [{"id": 3, "name": "Dog"}, {"id": 4, "name": "red_hat"}],
}


def expected_of_coco(files, images):
    value = loaded(files["instances.json"])
    if not isinstance(value, dict):
        return None if value is None else ({}, False)
    keys = {"images": "id", "categories": "id", "annotations": None}
    same = {name: untouched(value.get(name), INSTANCES[name], key) for name, key in keys.items()}
    return plain.coco(same, images), all(
        len(same[key]) == len(INSTANCES[key]) == len(value[key]) for key in same
    )


# Open Images

HEAD = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf"
ROWS = [f"{7 * k % PHOTOS},xclick,/m/{k % 3},1,0.25,0.5,0.1,0.{k + 11},{k % 2}" for k in range(48)]
CLASSES = ['/m/0,"Dog, small"', "/m/1,Red_hat", "/m/2,caf\u00e9"]


def expected_of_open_images(files, images):
    head, *lines = fuzzing.lines_of(files["boxes.csv"])
    classes = [line for line in fuzzing.lines_of(files["classes.csv"]) if line]
    labels = Counter(line.partition(",")[0].strip() for line in classes)
    classes = [line for line in classes if line in CLASSES and labels[line.partition(",")[0]] == 1]
    if head != HEAD:
        return {}, False
    rows = csv.DictReader([head, *(line for line in lines if line in ROWS)])
    return plain.open_images(rows, "\n".join(classes), images), False


# Visual Genome

NAMES = [["a man."], ["Dog", "hound"], ["red_hat"], ["dog", "cat"]]
OBJECTS = [
    {
        "image_id": k,
        "objects": [
            {"object_id": n, "x": n, "y": 2, "w": 3.5, "h": 4, "names": NAMES[n % 4]} for n in range(k, k + 4)
        ],
    }
    for k in range(PHOTOS)
]
ALIASES = ["dog,hound", "person,a man"]


def expected_of_visual_genome(files, images):
    records, sizes = loaded(files["objects.json"]), loaded(files["image_data.json"])
    if records is None or sizes is None:
        return None
    sizes = untouched(sizes, IMAGES, "image_id")
    known = {entry["image_id"] for entry in sizes}
    records = [one for one in untouched(records, OBJECTS, "image_id") if one["image_id"] in known]
    if [line for line in fuzzing.lines_of(files["aliases.txt"]) if line] != ALIASES:
        return {}, False
    return plain.visual_genome(records, sizes, images, "\n".join(ALIASES)), False


# Tags

WORDS = [["Red_Hat", "beach"], ["caf\u00e9", "a,b", "A,B"], [], ["dog", "DOG", ""]]
TAGS = [{"image": f"{k}.jpg", "tags": WORDS[k % 4]} for k in range(PHOTOS)]
TAG_LINES = [json.dumps(line, ensure_ascii=k % 2 == 0) for k, line in enumerate(TAGS)]


def expected_of_tags(files, images):
    lines = fuzzing.lines_of(files["tags.jsonl"])
    once = [line for line in lines if line in TAG_LINES]
    once = [line for line in once if sum(json.loads(line)["image"] in other for other in lines) == 1]
    return plain.tags(map(json.loads, once), images), False


TABLE_LINES = ["image,tags", *(f'{k}.jpg,"red_hat; tag {k}; ""a;b"""' for k in range(PHOTOS))]


def expected_of_table(files, images):
    lines = fuzzing.lines_of(files["tags.csv"])
    # In quotes a line may end: where one is missing, the next lines are of the same row.
    if lines[0] != TABLE_LINES[0] or any(line.count('"') % 2 for line in lines):
        return {}, False
    names = [line.partition(",")[0] for line in lines if line in TABLE_LINES[1:]]
    names = [name for name in names if sum(name in other for other in lines) == 1]
    tags = ({"image": name, "tags": ["red_hat", f"tag {name[:-4]}", "a;b"]} for name in names)
    return plain.tags(tags, images), False


def tables():
    def encoded(*lines):
        return "\n".join((*lines, "")).encode()

    data = {"objects.json": listed(OBJECTS).encode(), "image_data.json": listed(IMAGES).encode()}
    return {
        "coco": Source(
            {"annotations": "instances.json"},
            {"instances.json": listed(INSTANCES).encode()},
            expected_of_coco,
        ),
        "open-images": Source(
            {"boxes": "boxes.csv", "classes": "classes.csv"},
            {"boxes.csv": encoded(HEAD, *ROWS), "classes.csv": encoded(*CLASSES)},
            expected_of_open_images,
        ),
        "visual-genome": Source(
            {"objects": "objects.json", "image-data": "image_data.json", "aliases": "aliases.txt"},
            data | {"aliases.txt": encoded(*ALIASES)},
            expected_of_visual_genome,
        ),
        "tags": Source({"tags": "tags.jsonl"}, {"tags.jsonl": encoded(*TAG_LINES)}, expected_of_tags),
        "tags of a table": Source(
            {"tags": "tags.csv"}, {"tags.csv": encoded(*TABLE_LINES)}, expected_of_table
        ),
    }


SOURCES = tables()


@pytest.fixture(scope="module", autouse=True)
def impatient():
    with fuzzing.impatient():
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(PHOTOS):
        Image.new("RGB", (WIDTH, HEIGHT), (20 * number, 0, 0)).save(folder / f"{number}.jpg")
    return folder


def check_untouched(records: Photos, expected: Photos, all_there_is: bool):
    """Every expected photo is there with what is expected of it, in that order."""
    for key, photo in expected.items():
        record = records[key]
        assert record[:3] == photo[:3] and record.tags == photo.tags
        things = iter(record.things)
        assert all(any(plain.same(thing, other) for other in things) for thing in photo.things)
        assert not all_there_is or len(record.things) == len(photo.things)


@pytest.mark.parametrize("name", SOURCES)
def test_a_damaged_file_is_refused_or_read_but_for_the_damage(images, name):
    source, codes = SOURCES[name], Counter()

    @settings(**fuzzing.SETTINGS, max_examples=150)
    @given(st.data())
    def check(data):
        _, files = fuzzing.damaged(data, source.files)
        with tempfile.TemporaryDirectory() as temporary:
            fuzzing.put(folder := Path(temporary), files)
            options = [text for key, file in source.options.items() for text in (f"--{key}", folder / file)]
            code = fuzzing.run(folder / "out", "data", name.split()[0], "--images", images, *options)
            codes[code] += 1
            if code == 0:
                expected = source.expected(files, images)
                assert expected is not None, "nobody can read this file"
                check_untouched(plain.written(folder / "out"), *expected)

    check()
    assert min(codes[0], codes[2]) > 15, codes


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_damaged_mask_spoils_no_other(images):
    labels = {1: "dog", 2: "red hat"}
    files = {f"{k}.png": png(BLOCK + BLOCK[::-1] * (k % 2)) for k in range(PHOTOS)}
    files |= {f"{k}.Blue_hat.png": png(BLOCK * 255) for k in range(PHOTOS)}
    files["labels.txt"] = "".join(f"{value} {name}\n" for value, name in labels.items()).encode()
    codes = Counter()

    @settings(**fuzzing.SETTINGS, max_examples=100)
    @given(st.data())
    def check(data):
        name, changed = fuzzing.damaged(data, files)
        with tempfile.TemporaryDirectory() as folder:
            masks, out = Path(folder, "masks"), Path(folder, "out")
            fuzzing.put(masks, changed)
            code = fuzzing.run(out, "data", "masks", "--images", images, "--masks", masks)
            codes[code] += 1
            if code == 0:
                same = [masks / file for file in files if file.endswith(".png") and file != name]
                if name == "labels.txt":
                    same = [file for file in same if "hat" in file.name]
                expected = plain.masks(same, images, labels)
                check_untouched(plain.written(out), expected, False)

    check()
    assert codes[0] > 50, codes


def jpeg_or_png(number):
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG" if number % 2 else "JPEG")
    return file.getvalue()


def test_a_damaged_photo_is_left_out_or_can_be_decoded():
    files = {f"{k}.{'png' if k % 2 else 'jpg'}": jpeg_or_png(k) for k in range(PHOTOS)}
    lines = "".join(json.dumps({"image": name, "tags": ["a"]}) + "\n" for name in files)
    codes = Counter()

    @settings(**fuzzing.SETTINGS, max_examples=150)
    @given(st.data())
    def check(data):
        name, changed = fuzzing.damaged(data, files)
        with tempfile.TemporaryDirectory() as folder:
            fuzzing.put(folder := Path(folder), changed)
            (folder / "tags.jsonl").write_text(lines)
            options = ("--images", folder, "--tags", folder / "tags.jsonl")
            assert fuzzing.run(folder / "out", "data", "tags", *options) == 0
            records = plain.written(folder / "out")
            codes[Path(name).stem in records] += 1
            records.pop(Path(name).stem, None)
            same = [{"image": file, "tags": ["a"]} for file in files if file != name]
            plain.check_equal(records, plain.tags(same, folder))

    check()
    assert min(codes.values()) > 5, codes


# A data folder: file -> the sets that are made from it
FOLDER = {
    "tags/train.jsonl": (
        SOURCES["tags"].files["tags.jsonl"].replace(b'"image": "', b'"image": "images/train/'),
        {"tags", "boxes"},
    ),
    "openimages/train-annotations-bbox.csv": (SOURCES["open-images"].files["boxes.csv"], {"boxes"}),
    "openimages/class-descriptions-boxable.csv": (SOURCES["open-images"].files["classes.csv"], {"boxes"}),
    "visual_genome/objects.json": (SOURCES["visual-genome"].files["objects.json"], {"boxes"}),
    "visual_genome/image_data.json": (SOURCES["visual-genome"].files["image_data.json"], {"boxes"}),
    "visual_genome/object_alias.txt": (SOURCES["visual-genome"].files["aliases.txt"], {"boxes"}),
    "coco/instances_train.json": (SOURCES["coco"].files["instances.json"], {"masks"}),
    "coco/concept_masks_val.json": (SOURCES["coco"].files["instances.json"], {"val"}),
}


def shards(folder: Path) -> fuzzing.Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/*.tfrecord"))}


def test_a_damaged_file_of_a_data_folder_spoils_no_other_set(images, tmp_path):
    def prepare(folder, files):
        fuzzing.put(folder / "data", files)
        (folder / "data" / "images").mkdir()
        for split in ("train", "val"):
            (folder / "data" / "images" / split).symlink_to(images)
        return fuzzing.run(folder / "out", "data", "prepare", folder / "data")

    sound, codes = {name: content for name, (content, _) in FOLDER.items()}, Counter()
    assert prepare(tmp_path, sound) == 0
    whole = shards(tmp_path / "out")
    assert len(whole) == 4

    @settings(**fuzzing.SETTINGS, max_examples=60)
    @given(st.data())
    def check(data):
        name, files = fuzzing.damaged(data, sound)
        with tempfile.TemporaryDirectory() as folder:
            code = prepare(folder := Path(folder), files)
            codes[code] += 1
            if code == 0:
                found = shards(folder / "out")
                assert found.keys() == whole.keys()
                for shard, content in found.items():
                    kind = shard.partition("/")[0]
                    assert plain.written(folder / "out" / kind)
                    assert content == whole[shard] or kind in FOLDER[name][1]

    check()
    assert min(codes[0], codes[2]) > 10, codes
