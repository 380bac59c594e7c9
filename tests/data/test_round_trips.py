"""Public file -> command -> records -> parsed again equals the file, as a plain reader sees it."""

import csv
import json

import numpy as np
import plain
import pytest
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.cli import main

HEIGHT, WIDTH = 60, 80


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Thirty scenes of ConceptWorld."""
    folder = tmp_path_factory.mktemp("world") / "world"
    assert main(["data", "world", "--scenes", "30", "--seed", "4", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Photos of every kind: colours, gray, PNG with transparency, EXIF that turns it, one pixel."""
    folder = tmp_path_factory.mktemp("drawn")
    turned = Image.Exif()
    turned[0x0112] = 6  # lies on its side
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    colour = Image.fromarray(pixels)
    colour.save(folder / "colour.jpg")
    colour.convert("L").save(folder / "gray.jpg")
    colour.convert("RGBA").save(folder / "clear.png")
    colour.save(folder / "turned.jpg", exif=turned)
    colour.resize((1, 1)).save(folder / "pixel.jpg")
    return folder


@pytest.fixture(params=["ccp", "world"])
def data(request):
    """A whole data folder: real photos, drawn ones."""
    return request.getfixturevalue(request.param)


def convert(source, out, **options):
    """Runs `cmask data SOURCE --option path ...`; returns the records and the index."""
    pairs = (text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value)))
    assert main(["data", source, *pairs, "--out", str(out), "--strict"]) == 0
    return plain.written(out), json.loads((out / "dataset.json").read_text())


BLOB = np.fromfunction(lambda y, x: (y - 30) ** 2 + (x - 41) ** 2 < 400, (HEIGHT, WIDTH))
RING = BLOB & ~np.fromfunction(lambda y, x: (y - 30) ** 2 + (x - 41) ** 2 < 100, (HEIGHT, WIDTH))
STRIPES = np.fromfunction(lambda y, x: (x + y) % 3 == 0, (HEIGHT, WIDTH))


def uncompressed(mask):
    """COCO's counts: runs in column order, beginning with zeros."""
    edges = np.flatnonzero(np.diff(mask.flatten(order="F").astype(int), prepend=0, append=2))
    return {"size": list(mask.shape), "counts": np.diff(edges, prepend=0).tolist()}


def compressed(mask):
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return encoded | {"counts": encoded["counts"].decode()}


def check_index(records, index):
    """The counts beside the records are those of the records."""
    photos = records.values()
    assert index["examples"] == len(photos)
    assert index["concepts"] == count(sorted({thing.name for thing in photo.things}) for photo in photos)
    assert index["tags"] == count(sorted(photo.tags) for photo in photos)


def count(lists):
    counts = {}
    for word in (word for words in lists for word in words):
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items()))


@pytest.mark.parametrize(
    "folder, name, split",
    [
        ("ccp", "instances_train", "train"),
        ("ccp", "instances_val", "val"),
        ("ccp", "concept_masks_val", "val"),
        ("world", "instances_train", "train"),
        ("world", "concept_masks_val", "val"),
    ],
)
def test_coco(request, tmp_path, folder, name, split):
    data = request.getfixturevalue(folder)
    file, images = data / "coco" / f"{name}.json", data / "images" / split
    records, index = convert("coco", tmp_path / "out", annotations=file, images=images)
    source = plain.coco(json.loads(file.read_text()), images)
    assert sum(thing.mask is not None for photo in source.values() for thing in photo.things) > 5
    plain.check_equal(records, source)
    check_index(records, index)


def test_open_images(data, tmp_path):
    folder, images = data / "openimages", data / "images" / "train"
    boxes, classes = folder / "train-annotations-bbox.csv", folder / "class-descriptions-boxable.csv"
    records, index = convert("open-images", tmp_path / "out", boxes=boxes, classes=classes, images=images)
    with boxes.open(newline="") as file:
        source = plain.open_images(csv.DictReader(file), classes.read_text(), images)
    plain.check_equal(records, source)
    check_index(records, index)


def test_visual_genome(data, tmp_path):
    folder, images = data / "visual_genome", data / "images" / "train"
    files = {"objects": folder / "objects.json", "image_data": folder / "image_data.json"}
    aliases = folder / "object_alias.txt"
    records, index = convert("visual-genome", tmp_path / "out", images=images, aliases=aliases, **files)
    values = (json.loads(file.read_text()) for file in files.values())
    plain.check_equal(records, plain.visual_genome(*values, images, aliases.read_text()))
    check_index(records, index)


def test_tags(data, tmp_path):
    file = data / "tags" / "train.jsonl"
    records, index = convert("tags", tmp_path / "out", tags=file, images=data)
    plain.check_equal(records, plain.tags(map(json.loads, file.open()), data))
    check_index(records, index)


SHAPES = [
    {"segmentation": [[10.5, 8.25, 60, 9, 61.75, 50, 12, 40.125]], "bbox": [10.5, 8.25, 51.25, 41.75]},
    {
        "segmentation": [[1, 1, 20, 1, 20, 20], [30, 30, 50, 30, 50, 55], [2, 2, 3, 3]]
    },  # no box, a ring of two
    {"segmentation": [[-9, 5, 99, 5, 99, 30, -9, 30]], "bbox": [-9, 5, 108, 25]},  # over two sides
    {"segmentation": compressed(RING), "bbox": [21, 10, 41, 41], "iscrowd": 0},
    {"segmentation": uncompressed(STRIPES), "iscrowd": 1},
    {"segmentation": uncompressed(BLOB)},
    {"bbox": [0, 0, WIDTH, HEIGHT]},  # a box alone
    {"bbox": [3.3333333, 7.7777777, 0.0001, 0.0001], "segmentation": []},
    {"segmentation": [[5, 5, 5, 5, 5, 5]], "bbox": [5, 5, 0, 0]},  # covers nothing
    {"bbox": [90, 5, 3, 3]},  # beside the photo
    {"segmentation": compressed(np.zeros_like(BLOB)), "bbox": [1, 1, 5, 5]},
]
NAMES = ["Red_Hat", "STRASSE", "\ufb01sh  tank", "\u05db\u05dc\u05d1", "\U0001f984", "half-moon"]


def test_coco_with_every_wart(drawn, tmp_path):
    files = ["colour.jpg", "gray.jpg", "clear.png", "turned.jpg"]
    sizes = {"height": HEIGHT, "width": WIDTH}
    images = [{"id": 7 * k + 3, "file_name": name, **sizes} for k, name in enumerate(files)]
    images.append({"id": 900, "file_name": "pixel.jpg", "height": 1, "width": 1})
    whole = {"segmentation": {"size": [1, 1], "counts": [0, 1]}, "image_id": 900}
    annotations = [shape | {"image_id": 7 * k + 3} for shape in SHAPES for k in (0, 1, 3)] + [whole]
    for number, annotation in enumerate(annotations):
        annotation |= {"id": number, "category_id": 10 * (number % len(NAMES)) + 1}
        annotations[number] = annotation
    categories = [{"id": 10 * k + 1, "name": name} for k, name in enumerate(NAMES)]
    value = {"annotations": annotations, "categories": categories, "images": images}
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    records, index = convert("coco", tmp_path / "out", annotations=file, images=drawn)
    source = plain.coco(value, drawn)
    assert [len(photo.things) for photo in source.values()] == [8, 8, 0, 8, 1]
    plain.check_equal(records, source)
    check_index(records, index)
    assert index["left_out"] == {"mask without a pixel": 6, "box without area": 3}


def test_tags_of_any_script(drawn, tmp_path):
    lines = [
        {"image": "gray.jpg", "tags": ["Red_Hat", "red  hat", "RED-HAT", "\u05db\u05dc\u05d1", "\ufb01sh"]},
        {"image": "clear.png", "tags": ["", "  ", "_", "a;b", 'say "x"', "a,b", "\U0001f984"]},
        {"image": "colour.jpg", "tags": []},
        {"image": "gray.jpg", "tags": ["second line"]},
    ]
    file = tmp_path / "tags.jsonl"
    file.write_text("".join(json.dumps(line) + "\r\n" for line in lines))
    records, index = convert("tags", tmp_path / "out", tags=file, images=drawn)
    plain.check_equal(records, plain.tags(lines, drawn))
    check_index(records, index)
    assert index["left_out"] == {"second line for a photo": 1}


def test_tags_of_a_table(drawn, tmp_path):
    tags = [["Red hat", "b"], ['a;b, "c"', "\u00e9"], []]
    lines = [
        {"image": name, "tags": words}
        for name, words in zip(["gray.jpg", "clear.png", "pixel.jpg"], tags, strict=True)
    ]
    file = tmp_path / "tags.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        rows = csv.writer(out)
        rows.writerow(["id", "image", "tags"])
        for line in lines:
            quoted = (f'"{tag.replace(chr(34), 2 * chr(34))}"' for tag in line["tags"])
            rows.writerow([1, line["image"], "; ".join(quoted)])
    records, _ = convert("tags", tmp_path / "out", tags=file, images=drawn)
    plain.check_equal(records, plain.tags(lines, drawn))


def test_png_masks_of_real_photos(ccp, tmp_path):
    """CCP's complete masks as label maps for every second photo, else as a PNG a concept."""
    value = json.loads((ccp / "coco" / "concept_masks_val.json").read_text())
    images, folder = ccp / "images" / "val", tmp_path / "masks"
    folder.mkdir()
    names = {entry["id"]: entry["name"] for entry in value["categories"]}
    (folder / "labels.txt").write_text("".join(f"{number} {name}\n" for number, name in names.items()))
    photos = {entry["id"]: entry for entry in value["images"]}
    maps = {}
    for entry in value["annotations"]:
        photo = photos[entry["image_id"]]
        mask, stem = rle.decode(entry["segmentation"]), photo["file_name"].removesuffix(".jpg")
        if photo["id"] % 2:
            one = maps.setdefault(stem, np.full_like(mask, 255))
            one[mask > 0] = entry["category_id"]
        else:
            levels = 255 if entry["category_id"] % 2 else 1
            Image.fromarray(mask * levels).save(folder / f"{stem}.{names[entry['category_id']]}.png")
    for stem, one in maps.items():
        Image.fromarray(one).save(folder / f"{stem}.png")
    records, index = convert("masks", tmp_path / "out", images=images, masks=folder)
    source = plain.masks(folder.glob("*.png"), images, names)
    assert 5 < len(maps) < len(records) - 5
    plain.check_equal(records, source)
    check_index(records, index)


def test_png_masks_of_every_kind(drawn, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "labels.txt").write_text(
        "0 nothing\n1 Red_Hat\n2 \u05db\u05dc\u05d1\n\n77 Half-moon\n", encoding="utf-8"
    )
    labels = {1: "red hat", 2: "\u05db\u05dc\u05d1", 77: "half moon"}
    values = np.select([RING, STRIPES, BLOB], [1, 2, 77], 255).astype(np.uint8)
    palette = Image.fromarray(values).convert("L").point(lambda value: value)
    palette = Image.frombytes("P", palette.size, palette.tobytes())
    palette.putpalette(list(range(256)) * 3)
    palette.save(folder / "colour.png")
    Image.fromarray(values.astype(np.uint16)).save(folder / "gray.png")
    Image.fromarray(BLOB).save(folder / "turned.Big dog.png")
    Image.fromarray(np.where(RING, 128, 127).astype(np.uint8)).save(folder / "turned.ring.png")
    Image.fromarray(np.zeros_like(values)).save(folder / "turned.nothing.png")
    records, index = convert("masks", tmp_path / "out", images=drawn, masks=folder)
    source = plain.masks(folder.glob("*.png"), drawn, labels)
    assert [len(photo.things) for photo in source.values()] == [3, 3, 2]
    plain.check_equal(records, source)
    check_index(records, index)


def test_visual_genome_with_every_wart(drawn, tmp_path):
    boxes = [(-5, -7.5, 30, 30), (70, 50, 99, 99), (79.9, 0, 0.2, 0.1), (1, 1, 0, 5), (200, 3, 9, 9)]
    names = [["A man."], ["Half-moon ", "half moon", "\u05db\u05dc\u05d1"], ["bike,"], ["dog"], ["cat"], [""]]
    objects = [
        {"object_id": k, **dict(zip("xywh", boxes[k % 5], strict=True)), "names": names[k % 6]}
        for k in range(30)
    ]
    records = [{"image_id": k, "objects": objects[5 * k :]} for k in (4, 0, 2)]
    sizes = {"height": HEIGHT, "width": WIDTH}
    urls = {0: "https://x.org/VG_100K/colour.jpg", 2: "https://x.org/VG_100K_2/gray.jpg", 4: "turned.jpg"}
    image_data = [{"image_id": k, "url": url, **sizes} for k, url in urls.items()]
    files = {"objects": records, "image_data": image_data}
    for name, value in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    (tmp_path / "aliases.txt").write_text("bicycle,Bike,two-wheeler\nperson,a man\n")
    options = {name: tmp_path / f"{name}.json" for name in files} | {"aliases": tmp_path / "aliases.txt"}
    found, index = convert("visual-genome", tmp_path / "out", images=drawn, **options)
    aliases = options["aliases"].read_text()
    plain.check_equal(found, plain.visual_genome(records, image_data, drawn, aliases))
    check_index(found, index)
    assert {"bicycle", "person", "half moon"} < set(index["concepts"])


def test_open_images_with_every_wart(drawn, tmp_path):
    columns = "Confidence,XMax,XMin,ImageID,YMin,YMax,LabelName,IsGroupOf,IsDepiction".split(",")
    rows = [
        ["1", "1", "0", "gray", "0", "1", "/m/1", "1", "0"],
        ["1", ".5", "0.25", "colour", "1e-3", "0.1234567", "/m/2", "-1", "1"],
        ["1", "0.75", "0.75", "gray", "0", "1", "/m/1", "0", "0"],  # no area
        ["1", "0.999999", "0.999998", "gray", "0.3", "0.300001", "/m/3", "0", "0"],
    ]
    classes = '/m/1,"Half-moon, cut"\r\n/m/2,\u05db\u05dc\u05d1\r\n/m/3,HALF_MOON  cut\r\n'
    (tmp_path / "classes.csv").write_text(classes, encoding="utf-8-sig", newline="")
    with (tmp_path / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    options = {"boxes": tmp_path / "boxes.csv", "classes": tmp_path / "classes.csv"}
    records, index = convert("open-images", tmp_path / "out", images=drawn, **options)
    source = plain.open_images((dict(zip(columns, row, strict=True)) for row in rows), classes, drawn)
    plain.check_equal(records, source)
    check_index(records, index)
    assert index["left_out"] == {"box without area": 1}
