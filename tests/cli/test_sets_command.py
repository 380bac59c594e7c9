"""`cmask data paper-sets`, `pseudo-masks` and `review`, from files to records."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from vocabulary_fixture import plain_vocabulary

from cmask_tf.cli import main
from cmask_tf.data.prepare import prepare
from cmask_tf.data.world import write_world
from cmask_tf.evaluation.review import Review


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A room, and a small ConceptWorld in it beside a vocabulary that lacks two of its words."""
    root = tmp_path_factory.mktemp("sets")
    world = root / "world"
    write_world(world, 160)
    lines = (world / "tags" / "train.jsonl").read_text().splitlines()
    names = sorted({tag for line in lines for tag in json.loads(line)["tags"]} - {"tree", "boat"})
    plain_vocabulary(names).save(root / "vocabulary")
    return root, world


def arguments(root, world, out, *more):
    oi, vg = world / "openimages", world / "visual_genome"
    files = {
        "coco": world / "coco" / "instances_train.json",
        "open-images": oi / "train-annotations-bbox.csv",
        "classes": oi / "class-descriptions-boxable.csv",
        "visual-genome": vg / "objects.json",
        "image-data": vg / "image_data.json",
        "aliases": vg / "object_alias.txt",
        "images": world / "images" / "train",
        "vocabulary": root / "vocabulary",
    }
    given = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    return ["data", "paper-sets", *given, "--out", str(out), *map(str, more)]


@pytest.fixture(scope="module")
def sets(made):
    root, world = made
    assert main(arguments(root, world, root / "sets", "--concepts", 18, "--image-level", 3)) == 0
    for split in ("val", "test"):
        boxes, masks = (
            root / "sets" / "coco" / f"{kind}_{split}.json" for kind in ("boxes", "concept_masks")
        )
        images = root / "sets" / "images" / split
        command = ["data", "pseudo-masks", "--boxes", boxes, "--images", images, "--out", masks]
        assert main(list(map(str, command))) == 0
    return root / "sets"


def names(sets, name):
    return [line.split("\t")[0] for line in (sets / "lists" / f"{name}.tsv").read_text().splitlines()[1:]]


def test_the_folder_holds_the_papers_sets(sets):
    coco, oivg, box, image, zero = (
        set(names(sets, name)) for name in ("coco", "oivg", "weak-box", "weak-image", "zero-test")
    )
    assert coco and coco <= oivg and box == oivg - coco and len(oivg) <= 18
    assert len(image) <= 3 and not image & oivg
    assert zero <= {"tree", "boat"}


def test_the_folder_can_be_prepared(sets, tmp_path):
    written = prepare(sets, tmp_path / "records")
    assert set(written) == {"tags", "boxes", "masks", "val"}
    assert set(written["boxes"].concepts) == set(names(sets, "oivg"))
    assert set(written["masks"].concepts) == set(names(sets, "coco"))
    concepts = json.loads((tmp_path / "records" / "concepts.json").read_text())
    listed = {name: level for level, name in _levels(sets)}
    assert {name: entry["level"] for name, entry in concepts.items()} == listed


def _levels(sets):
    for level, name in (
        ("mask", "coco"),
        ("box", "weak-box"),
        ("image", "weak-image"),
        ("zero", "zero-test"),
    ):
        yield from ((level, concept) for concept in names(sets, name))


def test_held_out_masks_are_drawn_where_coco_has_them_and_pseudo_elsewhere(sets):
    content = json.loads((sets / "coco" / "concept_masks_test.json").read_text())
    source = {image["id"]: image["file_name"].split("-")[0] for image in content["images"]}
    found = {(source[entry["image_id"]] == "coco", entry["pseudo"]) for entry in content["annotations"]}
    assert found == {(True, False), (False, True)}


def test_review_finishes_without_a_page_when_all_is_decided(sets, tmp_path, capsys):
    file, images = sets / "coco" / "concept_masks_val.json", sets / "images" / "val"
    review = Review(file, images)
    for place in range(len(review)):
        review.accept(place)
    command = ["data", "review", file, "--images", images, "--finish", tmp_path / "clean.json"]
    assert main(list(map(str, command))) == 0
    assert f"{len(review)} accepted" in capsys.readouterr().out
    assert json.loads((tmp_path / "clean.json").read_text())["info"]["reviewed"] is True


WRONG = [
    (["--zero", "-1"], "--zero -1: expected 0 or more"),
    (["--concepts", "1"], "--concepts 1: expected"),
    (["--tags", "x.jsonl"], "--tags and --tag-images: expected both or neither"),
    (["--images", "a", "b"], "--images: expected one folder, or three"),
    (["--hierarchy", "nothing.json"], "nothing.json"),
]


@pytest.mark.parametrize("more, message", WRONG)
def test_wrong_input_is_one_line_and_leaves_nothing(made, tmp_path, capsys, more, message):
    root, world = made
    assert main(arguments(root, world, tmp_path / "out", *more)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("cmask: error: ") and message in error
    assert not list(tmp_path.iterdir())


def test_help_needs_no_heavy_library():
    code = (
        "import sys, cmask_tf.cli.sets\n"
        "sys.exit(bool({'tensorflow', 'gradio', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
