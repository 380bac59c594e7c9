"""`cmask segment` over folders: every format, broken photos, and going on where a run stopped."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from segmenter_fixture import photo, smallest_segmenter

from cmask_tf import segmenter
from cmask_tf.cli import main
from cmask_tf.journal import NAME

CONCEPTS = ("dress", "bag", "red hat")


@pytest.fixture
def encoded(model, monkeypatch):
    """How many photos were encoded; the model is loaded once for all tests."""
    ready, calls = smallest_segmenter(model), []

    class Counting:
        def encode(self, image):
            calls.append(image.shape)
            return ready.encode(image)

        def __getattr__(self, name):
            return getattr(ready, name)

    monkeypatch.setattr(segmenter.ConceptSegmenter, "load", classmethod(lambda cls, path: Counting()))
    return calls


@pytest.fixture
def folder(tmp_path):
    """Four photos of different sizes."""
    path = tmp_path / "trip"
    path.mkdir()
    for index, name in enumerate("abcd"):
        Image.fromarray(photo(40 + 5 * index, 60, seed=index)).save(path / f"{name}.png")
    return path


@pytest.fixture
def run(model, encoded):
    def call(*arguments, concepts=CONCEPTS) -> int:
        named = [part for concept in concepts for part in ("--concept", concept)]
        return main(["segment", *map(str, arguments), *named, "--model", str(model)])

    return call


def expected(model, path) -> dict:
    """Concept -> (probability, present) of a photo."""
    ready = smallest_segmenter(model)
    found = ready.segment(CONCEPTS, ready.encode(np.asarray(Image.open(path))))
    return {name: (found.masks[i], bool(found.present[i])) for i, name in enumerate(CONCEPTS)}


def test_a_folder_ends_with_a_table_of_its_concepts(run, folder, tmp_path, capsys, model):
    assert run(folder, "--out", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["concept", "found", "in,", "of", "4", "mean", "area"]
    assert len(lines) == 1 + len(CONCEPTS)
    for name in CONCEPTS:
        found = [expected(model, path)[name] for path in sorted(folder.iterdir())]
        shares = [(mask >= 0.5).mean() for mask, present in found if present]
        area = f"{np.mean(shares):.1%}" if shares else "-"
        assert f"{name:7}  {len(shares):18}  {area:>9}" in lines
    assert len(list((tmp_path / "out").glob("*.png"))) == 4 * (len(CONCEPTS) + 1)


def test_run_lengths_and_polygons_are_a_file_a_photo(run, folder, tmp_path, model):
    for name in ("rle", "polygon"):
        assert run(folder, "--format", name, "--out", tmp_path / name) == 0
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == [
            *(f"{letter}.{name}.json" for letter in "abcd"),
            NAME,
        ]
    truth = expected(model, folder / "b.png")
    runs = json.loads((tmp_path / "rle" / "b.rle.json").read_text())
    outlines = json.loads((tmp_path / "polygon" / "b.polygon.json").read_text())
    assert (runs["height"], runs["width"]) == (outlines["height"], outlines["width"]) == (45, 60)
    for one, other, (name, (mask, present)) in zip(
        runs["concepts"], outlines["concepts"], truth.items(), strict=True
    ):
        assert (one["concept"], one["present"]) == (other["concept"], other["present"]) == (name, present)
        np.testing.assert_array_equal(rle.decode(one["segmentation"]), mask >= 0.5)
        assert bool(other["polygons"]) == (other["area"] > 0)


def test_coco_is_one_file_that_pycocotools_reads(run, folder, tmp_path, model):
    assert run(folder, "--format", "coco", "--out", tmp_path / "out") == 0
    data = COCO(str(tmp_path / "out" / "coco.json"))
    assert [image["file_name"] for image in data.loadImgs(data.getImgIds())] == [
        "a.png",
        "b.png",
        "c.png",
        "d.png",
    ]
    count = 0
    for image in data.loadImgs(data.getImgIds()):
        truth = expected(model, folder / image["file_name"])
        there = {name: mask for name, (mask, present) in truth.items() if present and (mask >= 0.5).any()}
        annotations = data.loadAnns(data.getAnnIds(image["id"]))
        assert [data.cats[one["category_id"]]["name"] for one in annotations] == list(there)
        for one, mask in zip(annotations, there.values(), strict=True):
            np.testing.assert_array_equal(data.annToMask(one), mask >= 0.5)
            assert 0.5 <= one["score"] <= 1 and one["area"] == (mask >= 0.5).sum()
            count += 1
    assert count
    assert data.loadRes(data.dataset["annotations"]).anns


def test_cut_outs_are_of_concepts_that_are_present(run, folder, tmp_path, model):
    assert run(folder / "a.png", "--format", "rgba", "--out", tmp_path / "out") == 0
    truth = expected(model, folder / "a.png")
    assert {present for _, present in truth.values()} == {True, False}, "the fixture should have both"
    made = {name.replace(" ", "-"): mask for name, (mask, present) in truth.items() if present}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(f"a.{n}.cutout.png" for n in made)
    for name, mask in made.items():
        cut = np.asarray(Image.open(tmp_path / "out" / f"a.{name}.cutout.png"))
        np.testing.assert_array_equal(cut[..., 3] > 0, mask >= 0.5)


def test_indexed_is_a_png_of_classes_and_a_list_of_them(run, folder, tmp_path, model):
    assert run(folder / "a.png", "--format", "indexed", "--out", tmp_path / "out") == 0
    classes = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert [(one["id"], one["name"]) for one in classes[1:]] == list(enumerate(CONCEPTS, start=1))
    with Image.open(tmp_path / "out" / "a.indexed.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[3:6] == classes[1]["color"]
        numbers = np.asarray(picture)
    truth = [mask * present for mask, present in expected(model, folder / "a.png").values()]
    best = np.argmax(truth, axis=0) + 1
    np.testing.assert_array_equal(numbers, np.where(np.max(truth, axis=0) >= 0.5, best, 0))
    assert numbers.any()


def test_the_same_command_goes_on_where_it_stopped(run, folder, tmp_path, capsys, encoded):
    out = tmp_path / "out"
    assert run(folder, "--format", "coco", "--out", out, "--json") == 0
    first, coco = capsys.readouterr().out, (out / "coco.json").read_text()
    assert len(json.loads(first)) == 4 * len(CONCEPTS)
    # The last photo's line was half written when the run was killed.
    (out / NAME).write_bytes((out / NAME).read_bytes()[:-20])
    (out / "coco.json").unlink()
    encoded.clear()
    assert run(folder, "--format", "coco", "--out", out, "--json") == 0
    assert encoded == [(55, 60, 3)]
    assert capsys.readouterr().out == first
    assert (out / "coco.json").read_text() == coco


def test_what_is_new_changed_or_lost_its_files_is_done_again(run, folder, tmp_path, encoded):
    out = tmp_path / "out"
    assert run(folder, "--out", out) == 0
    encoded.clear()
    Image.fromarray(photo(30, 60)).save(folder / "e.png")
    Image.fromarray(photo(35, 60)).save(folder / "a.png")
    (out / "b.overlay.png").unlink()
    assert run(folder, "--out", out) == 0
    assert encoded == [(35, 60, 3), (45, 60, 3), (30, 60, 3)]


def test_another_command_into_the_same_folder_is_refused(run, folder, tmp_path, capsys, encoded):
    out = tmp_path / "out"
    assert run(folder, "--out", out) == 0
    encoded.clear()
    capsys.readouterr()
    for arguments in ({"concepts": ("dress",)}, {}):
        extra = [] if arguments else ["--format", "rgba"]
        assert run(folder, "--out", out, *extra, **arguments) == 2
        assert "holds the outputs of another model, other concepts" in capsys.readouterr().err
    assert not encoded


def test_a_broken_photo_in_a_folder_is_told_and_the_rest_goes_on(run, folder, tmp_path, capsys, encoded):
    whole = (folder / "b.png").read_bytes()
    (folder / "b.png").write_bytes(whole[:400])
    out = tmp_path / "out"
    assert run(folder / "*.png", "--format", "rle", "--out", out) == 2
    captured = capsys.readouterr()
    assert f"cmask: {folder / 'b.png'}: a damaged or truncated image" in captured.err
    assert captured.err.splitlines()[-1].startswith("cmask: error: 1 of 4 photos were not segmented")
    assert "Traceback" not in captured.err
    assert "of 3" in captured.out.splitlines()[0]
    assert sorted(p.name for p in out.glob("*.json")) == ["a.rle.json", "c.rle.json", "d.rle.json"]
    # Put right, it is the only one that is left to do.
    (folder / "b.png").write_bytes(whole)
    encoded.clear()
    assert run(folder / "*.png", "--format", "rle", "--out", out) == 0
    assert encoded == [(45, 60, 3)]


def test_a_broken_photo_given_by_name_beside_a_folder_is_refused_before_any_work(
    run, folder, tmp_path, capsys, encoded
):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no photo")
    assert run(bad, folder, "--out", tmp_path / "out") == 2
    assert str(bad) in capsys.readouterr().err
    assert not encoded and not (tmp_path / "out").exists()


def test_without_concepts_the_classes_are_the_vocabularys(folder, tmp_path, model, encoded):
    arguments = ["segment", str(folder), "--format", "indexed", "--model", str(model)]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    classes = {one["id"]: one["name"] for one in json.loads((tmp_path / "out" / "classes.json").read_text())}
    ready = smallest_segmenter(model)
    assert list(classes.values())[1:] == ready.vocabulary.names
    numbers = np.unique(np.asarray(Image.open(tmp_path / "out" / "c.indexed.png")))
    there = ready.present(ready.encode(np.asarray(Image.open(folder / "c.png"))))
    assert {classes[number] for number in numbers if number} <= set(there)
