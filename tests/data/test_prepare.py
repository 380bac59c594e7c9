"""A data folder to the record sets of the three stages; the `cmask data` command."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.cli import data as command
from cmask_tf.data import claim, conversion, schema
from cmask_tf.data.prepare import prepare
from cmask_tf.data.records import RecordSet
from cmask_tf.errors import UserError

MASK = np.zeros((8, 10), np.uint8)
MASK[2:5, 3:7] = 1
SEGMENTATION = {"size": [8, 10], "counts": rle.encode(np.asfortranarray(MASK))["counts"].decode()}


def coco(numbers, categories, annotations):
    """`annotations`: (photo, category id) pairs, all with the one mask."""
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": 8, "width": 10} for n in numbers],
        "categories": categories,
        "annotations": [
            {"id": i, "image_id": n, "category_id": c, "segmentation": SEGMENTATION}
            for i, (n, c) in enumerate(annotations)
        ],
    }


def write_all(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    """A data folder: photos 1, 2, 3 to train on (3 has tags only), 4 to validate, 5 to test."""
    root = tmp_path / "data"
    for split, numbers in {"train": (1, 2, 3), "val": (4,), "test": (5,)}.items():
        (root / "images" / split).mkdir(parents=True)
        for n in numbers:
            Image.new("RGB", (10, 8), (n * 40, 0, 0)).save(root / "images" / split / f"{n}.jpg")
    given = [
        {"id": 1, "name": "Hat", "level": "mask", "kind": "object"},
        {"id": 2, "name": "sky", "level": "zero", "kind": "stuff"},
        {"id": 3, "name": "dog"},
    ]
    tags = [{"image": f"images/train/{n}.jpg", "tags": ["Hat", f"tag {n}"]} for n in (1, 2, 3)]
    record = {"image_id": 2, "objects": [{"x": 0, "y": 0, "w": 5, "h": 4, "names": ["dogs"]}]}
    write_all(
        root,
        {
            "tags/train.jsonl": "\n".join(map(json.dumps, tags)),
            "coco/instances_train.json": coco((1, 2), [{"id": 1, "name": "Hat"}], [(1, 1)]),
            "coco/concept_masks_val.json": coco((4,), given, [(4, 2), (4, 1)]),
            "coco/concept_masks_test.json": coco((5,), given, [(5, 1)]),
            "openimages/train-annotations-bbox.csv": "ImageID,LabelName,XMin,XMax,YMin,YMax\n"
            "2,/m/hat,0.1,0.4,0.2,0.6\n1,/m/hat,0,1,0,1\n",
            "openimages/class-descriptions-boxable.csv": "/m/hat,Hat\n",
            "visual_genome/objects.json": [record],
            "visual_genome/image_data.json": [{"image_id": 2, "url": "2.jpg", "width": 10, "height": 8}],
            "visual_genome/object_alias.txt": "dog,dogs\n",
        },
    )
    return root


def read(directory):
    records = [schema.parse(s) for s in tf.data.TFRecordDataset(RecordSet.open(directory).files)]
    return {record["source_id"].numpy().decode(): record for record in records}


def words(tensor):
    return [value.decode() for value in tensor.numpy()]


def test_four_record_sets(folder, tmp_path):
    summaries = prepare(folder, tmp_path / "out")
    assert {name: (s.examples, s.level) for name, s in summaries.items()} == {
        "tags": (3, "tag"),
        "boxes": (2, "box"),
        "masks": (2, "mask"),
        "val": (1, "mask"),
    }


def test_open_images_and_visual_genome_are_one_record_a_photo_with_its_tags(folder, tmp_path):
    prepare(folder, tmp_path / "out")
    records = read(tmp_path / "out" / "boxes")
    assert set(records) == {"1", "2"}
    both = records["2"]
    assert words(both["names"]) == ["hat", "dog"]
    np.testing.assert_allclose(both["boxes"], [[0.2, 0.1, 0.6, 0.4], [0, 0, 0.5, 0.5]], atol=1e-6)
    assert words(both["tags"]) == ["hat", "tag 2"]


def test_validation_is_tagged_with_what_is_present(folder, tmp_path):
    prepare(folder, tmp_path / "out")
    record = read(tmp_path / "out" / "val")["4"]
    assert words(record["tags"]) == ["hat", "sky"]
    np.testing.assert_array_equal(tf.io.decode_png(record["masks"][0])[..., 0], MASK)


def test_concepts_have_the_files_level_and_kind(folder, tmp_path):
    """Categories that say nothing are left out."""
    prepare(folder, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "concepts.json").read_text()) == {
        "hat": {"level": "mask", "kind": "object"},
        "sky": {"level": "zero", "kind": "stuff"},
    }


SUPERVISION = [("hat", "mask"), ("dog", "box"), ("tag 1", "image"), ("sky", "zero")]


@pytest.mark.parametrize("name, level", SUPERVISION)
def test_a_level_that_the_file_leaves_out_is_the_supervision_there_is(folder, tmp_path, name, level):
    path = folder / "coco" / "concept_masks_val.json"
    path.write_text(json.dumps(coco((4,), [{"id": 1, "name": name, "kind": "part"}], [(4, 1)])))
    (folder / "coco" / "concept_masks_test.json").unlink()
    prepare(folder, tmp_path / "out")
    concepts = json.loads((tmp_path / "out" / "concepts.json").read_text())
    assert concepts == {name: {"level": level, "kind": "part"}}


@pytest.mark.parametrize("absent, names", [("openimages", {"dog"}), ("visual_genome", {"hat"})])
def test_either_box_source_may_be_absent(folder, tmp_path, absent, names):
    (folder / absent).rename(tmp_path / absent)
    assert set(prepare(folder, tmp_path / "out")["boxes"].concepts) == names


def test_without_any_box_source_there_is_no_box_set(folder, tmp_path):
    for absent in ("openimages", "visual_genome"):
        (folder / absent).rename(tmp_path / absent)
    assert set(prepare(folder, tmp_path / "out")) == {"tags", "masks", "val"}


@pytest.mark.parametrize(
    "name", ["tags/train.jsonl", "coco/instances_train.json", "visual_genome/objects.json"]
)
def test_a_missing_file_of_the_layout_is_named(folder, tmp_path, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing"):
        prepare(folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["instances_train.json", "concept_masks_val.json"])
def test_without_masks_it_says_where_they_may_come_from(folder, tmp_path, name):
    (folder / "coco" / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing; expected masks .* `cmask data pseudo-masks`"):
        prepare(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix, between", [(".csv", ","), (".tsv", "\t")])
def test_tags_may_be_a_table(folder, tmp_path, suffix, between):
    whole = prepare(folder, tmp_path / "whole")["tags"]
    lines = [json.loads(line) for line in (folder / "tags/train.jsonl").read_text().splitlines()]
    table = "".join(f"{line['image']}{between}{';'.join(line['tags'])}\n" for line in lines)
    (folder / f"tags/train{suffix}").write_text(table)
    with pytest.raises(UserError, match=rf"train\{suffix}: beside train.jsonl; expected one file of tags"):
        prepare(folder, tmp_path / "out")
    (folder / "tags/train.jsonl").unlink()
    assert prepare(folder, tmp_path / "out")["tags"].tags == whole.tags


def test_a_set_of_broken_photos_is_an_error_and_when_they_are_mended_the_rest_is_kept(folder, tmp_path):
    photo = folder / "images" / "val" / "4.jpg"
    whole = photo.read_bytes()
    photo.write_bytes(b"broken")
    with pytest.raises(UserError, match="4.jpg: expected a JPEG or PNG photo"):
        prepare(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    finished = (tmp_path / "out.partial" / "boxes" / "dataset.json").stat().st_mtime_ns
    photo.write_bytes(whole)
    assert set(prepare(folder, tmp_path / "out")) == {"tags", "boxes", "masks", "val"}
    assert (tmp_path / "out" / "boxes" / "dataset.json").stat().st_mtime_ns == finished
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["tags", "boxes", "masks", "val"])
@pytest.mark.parametrize("at", ["records-", "dataset.json"])
def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_been(folder, tmp_path, monkeypatch, name, at):
    out, publish = tmp_path / "out", claim.publish

    def interrupting(beside, path):
        if path.parent.name == f"{name}.partial" and path.name.startswith(at):
            raise KeyboardInterrupt
        publish(beside, path)

    with monkeypatch.context() as patch:
        patch.setattr(claim, "publish", interrupting)
        patch.setattr(conversion, "publish", interrupting)
        with pytest.raises(KeyboardInterrupt, match="out is not finished; run the same command to go on"):
            prepare(folder, out)
    assert not out.exists()
    before = {path.parent.name for path in (tmp_path / "out.partial").glob("*/dataset.json")}
    written = []
    monkeypatch.setattr(conversion, "publish", lambda *files: (written.append(files[1]), publish(*files)))
    prepare(folder, out)
    assert not before & {path.parent.name.removesuffix(".partial") for path in written}
    prepare(folder, tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_changed_file_starts_over(folder, tmp_path):
    path = folder / "images" / "val" / "4.jpg"
    path.write_bytes(b"broken")
    with pytest.raises(UserError):
        prepare(folder, tmp_path / "out")
    Image.new("RGB", (10, 8)).save(path)
    tags = folder / "tags" / "train.jsonl"
    tags.write_text(tags.read_text().replace("tag 1", "new tag 1"))
    assert "new tag 1" in prepare(folder, tmp_path / "out")["tags"].tags


def test_strict_reaches_the_readers(folder, tmp_path):
    tags = folder / "tags" / "train.jsonl"
    good = tags.read_text().splitlines()
    tags.write_text("\n".join(good * 10 + ["{not json"]))
    assert prepare(folder, tmp_path / "out")["tags"].bad == {"not JSON": 1}
    with pytest.raises(UserError, match="train.jsonl:31: not JSON"):
        prepare(folder, tmp_path / "strict", strict=True)


def test_a_photos_first_line_of_tags_counts_in_both_sets(folder, tmp_path):
    tags = folder / "tags" / "train.jsonl"
    again = {"image": "images/train/2.jpg", "tags": ["again"]}
    tags.write_text(tags.read_text() + "\n" + json.dumps(again))
    prepare(folder, tmp_path / "out")
    for name, source_id in (("tags", "images/train/2"), ("boxes", "2")):
        assert words(read(tmp_path / "out" / name)[source_id]["tags"]) == ["hat", "tag 2"]


def test_a_second_run_replaces_the_first(folder, tmp_path):
    prepare(folder, tmp_path / "out")
    (folder / "openimages").rename(tmp_path / "openimages")
    prepare(folder, tmp_path / "out")
    assert set(RecordSet.open(tmp_path / "out" / "boxes").concepts) == {"dog"}


def test_no_test_photo_is_in_a_record(folder, tmp_path):
    summaries = prepare(folder, tmp_path / "out")
    test_photo = (folder / "images" / "test" / "5.jpg").read_bytes()
    encoded = [r["encoded"].numpy() for name in summaries for r in read(tmp_path / "out" / name).values()]
    assert len(encoded) == 8
    assert test_photo not in encoded


def test_ccp(ccp, tmp_path):
    summaries = prepare(ccp, tmp_path / "out")
    assert {name: s.examples for name, s in summaries.items()} == {
        "tags": 1734,
        "boxes": 640,
        "masks": 640,
        "val": 64,
    }
    truth = json.loads((ccp / "concepts.json").read_text())
    fold = {name: name.replace("-", " ") for name in truth}
    tagged = {fold[n]: c["n_train_tags"] for n, c in truth.items() if c["n_train_tags"]}
    assert summaries["tags"].tags == tagged
    assert set(summaries["boxes"].concepts) == {fold[n] for n, c in truth.items() if c["n_train_boxes"]}
    assert set(summaries["masks"].concepts) == {n for n, c in truth.items() if c["level"] == "mask"}
    concepts = json.loads((tmp_path / "out" / "concepts.json").read_text())
    assert concepts == {fold[n]: {"level": c["level"], "kind": c["kind"]} for n, c in truth.items()}
    boxes = sum(len(r["boxes"]) for r in read(tmp_path / "out" / "boxes").values())
    assert boxes == 1798 + 4634 == sum(c["n_train_boxes"] for c in truth.values())


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["data", *map(str, arguments)])
    return args.run(args)


def commands(folder):
    """Each source of `cmask data` on the fixture: (its arguments, photos that come out)."""
    train = ["--images", folder / "images" / "train"]
    vg, oi = folder / "visual_genome", folder / "openimages"
    return {
        "coco": ([*train, "--annotations", folder / "coco" / "instances_train.json"], 2),
        "open-images": (
            [*train, "--boxes", next(oi.glob("*bbox.csv")), "--classes", next(oi.glob("class*.csv"))],
            2,
        ),
        "visual-genome": (
            [*train, "--objects", vg / "objects.json", "--image-data", vg / "image_data.json"],
            1,
        ),
        "tags": ([*train, "--tags", folder / "tags" / "train.jsonl"], 3),
        "masks": ([*train, "--masks", folder / "masks"], 1),
    }


@pytest.mark.parametrize("source", ["coco", "open-images", "visual-genome", "tags", "masks"])
def test_the_command_converts_every_source(folder, tmp_path, capsys, source):
    (folder / "masks").mkdir()
    Image.fromarray(MASK).save(folder / "masks" / "1.hat.png")
    arguments, examples = commands(folder)[source]
    assert run(source, *arguments, "--out", tmp_path / "out", "--json") == 0
    (summary,) = json.loads(capsys.readouterr().out).values()
    assert summary["examples"] == examples == RecordSet.open(tmp_path / "out").examples


def test_the_command_prepares_a_folder(folder, tmp_path, capsys):
    assert run("prepare", folder, "--out", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"{tmp_path / 'out' / 'boxes'}: 2 photos, level box, 2 concepts, 3 tags"


def test_the_command_tells_of_bad_records_with_an_example(folder, tmp_path, capsys):
    tags = folder / "tags" / "train.jsonl"
    lines = tags.read_text().splitlines()
    tags.write_text("\n".join(lines * 10 + ['{"image": "9.jpg", "tags": []}']))
    arguments, _ = commands(folder)["tags"]
    assert run("tags", *arguments, "--out", tmp_path / "out") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{tmp_path / 'out'}: 3 photos, level tag, 0 concepts, 4 tags, 27 left out: " + (
        "second line for a photo"
    )
    assert second.startswith(
        f"  1 bad: photo is not there; the first: {tags}:31: photo is not there ('9.jpg'"
    )


def test_check_draws_a_contact_sheet_in_the_set(folder, tmp_path):
    arguments, _ = commands(folder)["coco"]
    for number in range(2):
        assert run("coco", *arguments, "--out", tmp_path / f"out{number}", "--check") == 0
        assert RecordSet.open(tmp_path / f"out{number}").examples == 2
    with Image.open(tmp_path / "out0" / "check.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    # Photo 1 has a hat, by box and mask, photo 2 has nothing; (31, 119, 180) is matplotlib's first colour.
    drawn = [(abs(panel - (31, 119, 180)).max(axis=-1) < 30).sum() for panel in np.split(pixels, 2, axis=1)]
    photos = [(panel[..., 1:] < 30).all(axis=-1).sum() for panel in np.split(pixels, 2, axis=1)]
    assert min(drawn) == 0 and max(drawn) > 200
    assert min(photos) > 40_000
    again = [(tmp_path / f"out{number}" / "check.png").read_bytes() for number in range(2)]
    assert again[0] == again[1]
    assert run("coco", *arguments, "--out", tmp_path / "out0") == 0, "a set with a sheet is replaced"


def test_readers_and_the_command_do_without_tensorflow():
    code = (
        "import sys, cmask_tf.cli.data, cmask_tf.data.prepare, cmask_tf.data.masks\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_what_threads_encode_with_is_imported_before_there_are_threads():
    """Two threads that import the same modules at once may wait for each other for ever."""
    code = (
        "import sys\n"
        "from cmask_tf.data import conversion\n"
        "conversion.encode_photos({}, [])\n"
        "sys.exit('cmask_tf.data.stored_photos' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
