"""The paper's concept sets from the public files: which concepts, which photos are held out."""

import csv
import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from vocabulary_fixture import plain_vocabulary

from cmask_tf.data.paper.choose import Sizes
from cmask_tf.data.paper.sets import Extras, write_sets
from cmask_tf.data.sources import Annotated, Annotations, Object
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord

BOX = (0.1, 0.2, 0.6, 0.7)
MASK = {"size": [8, 10], "counts": b"\\3P1"}
SIZES = Sizes(box=12, image=3, zero=2)
WORDS = ["dog", "cat", "computer mouse", *(f"box {k}" for k in range(15)), "fern", "pond", "moss", "lid"]
ZERO = ("yurt", "zebu")


def photo(folder, number, names, mask=False, crowd=()):
    path = folder / f"{number}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(str(path).encode())
    things = tuple(Object(name, BOX, MASK if mask else None, name in crowd) for name in names)
    return Annotated(path, str(number), 8, 10, things)


@pytest.fixture
def sources(tmp_path):
    """Three sources. Every photo of Open Images shows three of its names, Visual Genome's other spellings."""
    names = ["dog", "cat", *(f"box {k}" for k in range(15)), "fern", "pond", "moss", *ZERO]
    coco = [photo(tmp_path / "coco", 1000 + k, ["dog", "mouse"][k % 2 :], mask=True) for k in range(40)]
    oi = [photo(tmp_path / "oi", 2000 + k, {names[(k * j) % 22] for j in (1, 2, 7)}) for k in range(300)]
    names[2:4] = ["boxes 0", "computer mice"]
    vg = [photo(tmp_path / "vg", 1 + k, {names[k % 22], names[(3 * k + 1) % 22]}) for k in range(160)]
    return {"coco": coco, "open images": oi, "visual genome": vg}


def make(sources, out, seed=0, words=WORDS, sizes=SIZES, extras=None, tags=None):
    made = {name: Annotations.of(photos) for name, photos in sources.items()}
    if tags:
        made["tags"] = Annotations.of(tags)
    return write_sets(lambda work: made, plain_vocabulary(words), out, sizes, seed, extras)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def split_photos(out, split):
    names = ("link", "source", "id", "path", "concepts")
    with (out / "splits" / f"{split}.tsv").open(newline="") as file:
        return [dict(zip(names, row, strict=True)) for row in csv.reader(file, "excel-tab")]


def coco_photos(path):
    return {image["file_name"] for image in json.loads(path.read_text())["images"]}


def training_links(out):
    """Every photo that any training record is made from, by its path behind the link."""
    with (out / "openimages" / "train-annotations-bbox.csv").open(newline="") as file:
        found = {f"images/train/{row['ImageID']}.jpg" for row in csv.DictReader(file)}
    found |= {f"images/train/{name}" for name in coco_photos(out / "coco" / "instances_train.json")}
    lines = (out / "tags" / "train.jsonl").read_text().splitlines()
    return found | {json.loads(line)["image"] for line in lines}


def test_the_sets_are_nested_as_the_papers_are(sources, tmp_path):
    sets = make(sources, tmp_path / "out").sets
    coco, oivg, box, image, zero = (
        set(sets[name]) for name in ("coco", "oivg", "weak-box", "weak-image", "zero-test")
    )
    assert coco == {"dog", "computer mouse"}
    assert len(oivg) == 12 and coco <= oivg
    assert box == oivg - coco
    assert len(image) == 3 and not image & oivg and image <= set(WORDS)
    assert zero == set(ZERO) and not zero & set(WORDS)


def test_no_held_out_photo_is_in_a_training_record(sources, tmp_path):
    make(sources, tmp_path / "out")
    train = {str((tmp_path / "out" / link).resolve()) for link in training_links(tmp_path / "out")}
    held = {row["path"] for split in ("val", "test") for row in split_photos(tmp_path / "out", split)}
    assert len(train) > 300 and len(held) > 50
    assert not train & held
    assert not {Path(path).stem for path in train} & {Path(path).stem for path in held}


def test_a_photo_is_in_one_split(sources, tmp_path):
    make(sources, tmp_path / "out")
    where = Counter(r["path"] for s in ("train", "val", "test") for r in split_photos(tmp_path / "out", s))
    assert set(where.values()) == {1}


def test_a_concept_has_five_to_ten_held_out_photos_one_to_validate(sources, tmp_path):
    make(sources, tmp_path / "out")
    for name in ("weak-box", "weak-image"):
        for row in rows(tmp_path / "out" / "lists" / f"{name}.tsv"):
            assert row["val photos"] == "1" and 4 <= int(row["test photos"]) <= 9, row
    for row in rows(tmp_path / "out" / "lists" / "zero-test.tsv"):
        assert row["val photos"] == "0" and 5 <= int(row["test photos"]) <= 10, row


def test_the_lists_count_what_the_splits_hold(sources, tmp_path):
    make(sources, tmp_path / "out")
    tests = Counter(n for r in split_photos(tmp_path / "out", "test") for n in r["concepts"].split("|"))
    listed = {
        row["name"]: int(row["test photos"])
        for name in ("oivg", "weak-image", "zero-test")
        for row in rows(tmp_path / "out" / "lists" / f"{name}.tsv")
    }
    assert tests == listed


def test_box_concepts_keep_eight_training_photos(sources, tmp_path):
    make(sources, tmp_path / "out", sizes=Sizes(box=17, image=0, zero=0))
    out, photos = tmp_path / "out", {}
    with (out / "openimages" / "class-descriptions-boxable.csv").open(newline="") as file:
        classes = dict(csv.reader(file))
    with (out / "openimages" / "train-annotations-bbox.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            photos.setdefault(classes[row["LabelName"]], set()).add(row["ImageID"])
    listed = rows(out / "lists" / "weak-box.tsv")
    assert len(listed) == 15
    assert {row["name"]: int(row["train photos"]) for row in listed} == {
        row["name"]: len(photos[row["name"]]) for row in listed
    }
    assert min(len(photos[row["name"]]) for row in listed) >= 8


def test_rare_names_are_left_out(sources, tmp_path):
    """Twelve photos are too few: five are held out, eight stay."""
    for count, name in ((12, "lid"), (13, "box 99")):
        sources["open images"] += [photo(tmp_path / "more", f"{name} {k}", [name]) for k in range(count)]
    sets = make(sources, tmp_path / "out", words=[*WORDS, "box 99"], sizes=Sizes(box=99, image=0)).sets
    assert "box 99" in sets["oivg"] and "lid" not in sets["oivg"]


def test_a_concept_that_others_leave_too_few_photos_to_makes_room(sources, tmp_path):
    """Six of its thirteen photos are held out, because a rarer concept has no other ones."""
    things = [["box 99", "lid"]] * 6 + [["box 99"]] * 7
    sources["open images"] += [photo(tmp_path / "more", f"b{k}", t) for k, t in enumerate(things)]
    sets = make(sources, tmp_path / "out", words=[*WORDS, "box 99"], sizes=Sizes(box=99, image=9)).sets
    assert {"lid", "box 99"} <= set(sets["weak-image"])


def test_a_copy_of_a_held_out_photo_under_its_name_is_not_trained_on(sources, tmp_path):
    make(sources, tmp_path / "first")
    held = [r for r in split_photos(tmp_path / "first", "test") if r["source"] == "open images"]
    copies = [photo(tmp_path / "copies", Path(row["path"]).stem, ["dog"]) for row in held]
    sources["visual genome"] += copies
    make(sources, tmp_path / "out")
    stems = {s: {Path(r["path"]).stem for r in split_photos(tmp_path / "out", s)} for s in ("train", "test")}
    assert held and not stems["train"] & stems["test"]


def test_zero_and_image_concepts_are_in_no_box_record_and_zero_ones_in_no_tag(sources, tmp_path):
    sets = make(sources, tmp_path / "out").sets
    classes = (tmp_path / "out" / "openimages" / "class-descriptions-boxable.csv").read_text()
    assert {line.split(",")[1] for line in classes.splitlines()} == set(sets["oivg"])
    tags = (tmp_path / "out" / "tags" / "train.jsonl").read_text()
    assert not any(f'"{name}"' in tags for name in sets["zero-test"])
    assert all(f'"{name}"' in tags for name in sets["weak-image"])


def test_a_picture_that_two_sources_share_is_held_out_of_both(sources, tmp_path):
    """Visual Genome photo 1 + k is COCO's 1000 + k, as image_data.json tells."""
    data = [{"image_id": 1 + k, "coco_id": 1000 + k, "width": 10, "height": 8} for k in range(40)]
    (tmp_path / "image_data.json").write_text(json.dumps(data))
    make(sources, tmp_path / "out", extras=Extras(image_data=tmp_path / "image_data.json"))
    out, same = tmp_path / "out", {str(1 + k): str(1000 + k) for k in range(40)}

    def pictures(split):
        return {same.get(r["id"], r["id"]) for r in split_photos(out, split)}

    assert pictures("train") & set(same.values())
    assert (pictures("val") | pictures("test")) & set(same.values())
    assert not pictures("train") & (pictures("val") | pictures("test"))


def test_one_file_in_two_sources_is_one_training_photo(sources, tmp_path):
    twin = sources["open images"][7]
    sources["visual genome"].append(replace(twin, source_id="9999", objects=(Object("dog", BOX),)))
    make(sources, tmp_path / "out")
    rows = [r for s in ("train", "val", "test") for r in split_photos(tmp_path / "out", s)]
    mine = [row for row in rows if row["path"] == str(twin.image)]
    assert len({row["link"] for row in mine}) == len(mine) == 1


def test_a_picture_has_one_tag_line_with_the_names_of_all_its_sources(sources, tmp_path):
    paths = [photo(tmp_path / "more", k, []) for k in (7001, 7002)]
    things = (Object("dog", BOX), Object("zebu", BOX))
    sources["open images"] += [replace(p, objects=things) for p in paths]
    sources["visual genome"] += [replace(p, objects=(Object("cat", BOX),)) for p in paths]
    make(sources, tmp_path / "out")
    lines = [json.loads(t) for t in (tmp_path / "out" / "tags" / "train.jsonl").read_text().splitlines()]
    assert len({line["image"] for line in lines}) == len(lines)
    mine = [line["tags"] for line in lines if "700" in line["image"]]
    assert mine and all(tags == ["cat", "dog"] for tags in mine)


def test_a_coco_picture_that_has_boxes_elsewhere_is_tagged_there(sources, tmp_path):
    twin = photo(tmp_path / "more", "twin", [])
    sources["coco"].append(replace(twin, objects=(Object("dog", BOX, MASK),)))
    sources["visual genome"].append(replace(twin, objects=(Object("cat", BOX),)))
    make(sources, tmp_path / "out")
    lines = [json.loads(t) for t in (tmp_path / "out" / "tags" / "train.jsonl").read_text().splitlines()]
    assert {"image": "images/train/vg-twin.jpg", "tags": ["cat", "dog"]} in lines
    assert not any("coco-twin" in line["image"] for line in lines)


def test_photos_of_the_coco_test_file_are_in_no_split(sources, tmp_path):
    data = [{"image_id": 3, "coco_id": 555}]
    (tmp_path / "image_data.json").write_text(json.dumps(data))
    test = {"images": [{"id": 555, "file_name": "555.jpg"}, {"id": 1001, "file_name": "x/1001.jpg"}]}
    (tmp_path / "mini.json").write_text(json.dumps(test))
    extras = Extras(image_data=tmp_path / "image_data.json", coco_test=tmp_path / "mini.json")
    make(sources, tmp_path / "out", extras=extras)
    found = {
        (r["source"], r["id"]) for s in ("train", "val", "test") for r in split_photos(tmp_path / "out", s)
    }
    assert ("coco", "1003") in found and ("visual genome", "4") in found
    assert not {("coco", "1001"), ("visual genome", "3")} & found


def test_tag_lines_lose_held_out_photos_and_zero_tags(sources, tmp_path):
    make(sources, tmp_path / "first")
    held = split_photos(tmp_path / "first", "test")[0]
    twin = photo(tmp_path / "stock", Path(held["path"]).stem, [])
    own = [photo(tmp_path / "stock", k, []) for k in ("a", "b", "c")]
    tags = [("dog", "fern", "pond", "moss"), ("yurt", "dog"), ("zebu",), ("dog",)]
    photos = [replace(p, tags=t) for p, t in zip([*own, twin], tags, strict=True)]
    extras = Extras(tag_images=tmp_path / "stock")
    sizes = Sizes(box=2, image=3, zero=30)
    report = make(sources, tmp_path / "out", tags=photos, extras=extras, sizes=sizes)
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "tags" / "train.jsonl").read_text().splitlines()
    ]
    assert "fern" in report.sets["weak-image"] and {"yurt", "zebu"} <= set(report.sets["zero-test"])
    assert lines[0] == {"image": "images/tags/a.jpg", "tags": ["dog", "fern", "pond", "moss"]}
    assert {line["image"] for line in lines} <= {"images/tags/a.jpg", "images/tags/b.jpg"}
    assert all((tmp_path / "out" / line["image"]).is_file() for line in lines)
    assert report.left_out_tags == 4 - len(lines) >= 2


def test_a_word_of_the_vocabulary_that_is_no_training_tag_is_a_zero_concept(sources, tmp_path):
    tags = [replace(photo(tmp_path / "stock", "a", []), tags=tuple(WORDS))]
    extras = Extras(tag_images=tmp_path / "stock")
    sets = make(sources, tmp_path / "out", words=[*WORDS, *ZERO], tags=tags, extras=extras).sets
    assert set(sets["zero-test"]) == set(ZERO)


def test_a_box_around_a_group_is_no_test_example(sources, tmp_path):
    crowds = [photo(tmp_path / "more", k, ["fern"], crowd=("fern",)) for k in range(200)]
    sources["open images"] += crowds
    make(sources, tmp_path / "out")
    held = [
        r["path"]
        for s in ("val", "test")
        for r in split_photos(tmp_path / "out", s)
        if "fern" in r["concepts"]
    ]
    assert held and not set(held) & {str(p.image) for p in crowds}


def test_the_coco_photos_that_are_held_out_keep_every_mask(sources, tmp_path):
    make(sources, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "coco" / "boxes_test.json").read_text())
    names = {c["id"]: c["name"] for c in content["categories"]}
    for image in content["images"]:
        mine = [a for a in content["annotations"] if a["image_id"] == image["id"]]
        if image["file_name"].startswith("coco-"):
            number = int(image["file_name"][5:9])
            expected = {"dog", "computer mouse"} if number % 2 == 0 else {"computer mouse"}
            assert {names[a["category_id"]] for a in mine} == expected
            assert all("segmentation" in a for a in mine)
        else:
            assert mine and not any("segmentation" in a for a in mine)


def digest(folder):
    content = [(str(p.relative_to(folder)), p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def test_the_same_seed_gives_the_same_folder_and_another_one_other_photos(sources, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make(sources, tmp_path / name, seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_a_bad_photo_does_not_move_the_others(sources, tmp_path):
    """Arrays and photos stay in step when a reader passes over one."""
    made = {name: Annotations.of(photos) for name, photos in sources.items()}
    bad = [BadRecord("photo that cannot be read", "x.jpg"), *sources["open images"]]
    made["open images"] = replace(made["open images"], items=lambda start: iter(bad[start:]))
    write_sets(lambda work: made, plain_vocabulary(WORDS), tmp_path / "out", SIZES)
    make(sources, tmp_path / "clean")
    assert digest(tmp_path / "out") == digest(tmp_path / "clean")


def test_an_error_leaves_nothing(sources, tmp_path):
    with pytest.raises(UserError, match="no category of the COCO file is a word of the vocabulary"):
        make(sources, tmp_path / "out", words=["pond"])
    with pytest.raises(UserError, match="--concepts 1: expected 2 or more"):
        make(sources, tmp_path / "out", sizes=Sizes(box=1))
    assert not list(tmp_path.glob("out*"))


def test_a_folder_with_something_in_it_is_refused(sources, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="expected a folder that is empty"):
        make(sources, tmp_path / "out")
