"""`cmask segment`: which files it writes, what it prints, and what it refuses before any work."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from segmenter_fixture import photo, smallest_segmenter

from cmask_tf import segmenter
from cmask_tf.cli import main


@pytest.fixture
def loaded(model, monkeypatch):
    """The model is loaded once for all tests."""
    ready = smallest_segmenter(model)
    monkeypatch.setattr(segmenter.ConceptSegmenter, "load", classmethod(lambda cls, path: ready))
    return ready


def failure(capsys, *arguments) -> str:
    """Runs a command that must fail: its one line of error."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.splitlines()[-1]
    assert error.startswith("cmask: error: ")
    assert "Traceback" not in captured.err
    return error


def run(*arguments) -> None:
    assert main([str(a) for a in arguments]) == 0


def test_it_writes_a_mask_for_each_concept_and_an_overlay(loaded, model, jpeg, tmp_path, capsys):
    out = tmp_path / "out"
    run("segment", jpeg, "--concept", "red hat", "--concept", "Dresses", "--model", model, "--out", out)
    assert sorted(p.name for p in out.iterdir()) == ["a.dresses.png", "a.overlay.png", "a.red-hat.png"]
    with Image.open(out / "a.red-hat.png") as mask:
        assert mask.size == (45, 60)
        values = np.asarray(mask)
    assert set(np.unique(values)) <= {0, 255}
    expected = loaded.segment(["red hat"], loaded.encode(np.asarray(Image.open(jpeg)))).masks[0] >= 0.5
    assert np.mean((values > 0) == expected) > 0.99


def test_present_and_absent_concepts_are_both_written_and_say_so(loaded, model, jpeg, tmp_path, capsys):
    result = loaded.segment(["dress", "bag"], loaded.encode(np.asarray(Image.open(jpeg))))
    assert set(result.present) == {True, False}, "the fixture should have both"
    run(
        "segment", jpeg, "--concept", "dress", "--concept", "bag", "--model", model, "--out", tmp_path / "out"
    )
    lines = capsys.readouterr().out.splitlines()
    for name, present, score, line in zip(result.names, result.present, result.scores, lines, strict=True):
        word = "found" if present else "not found"
        mask = tmp_path / "out" / f"a.{name}.png"
        assert line == f"{jpeg}: {name}: {word} (score {score:.2f}) -> {mask}"
        assert mask.is_file()


def test_json_is_a_list_of_one_object_a_photo_and_concept(loaded, model, jpeg, tmp_path, capsys):
    other = jpeg.with_name("b.png")
    Image.fromarray(photo(30, 40, seed=1)).save(other)
    out = tmp_path / "out"
    run(
        "segment",
        jpeg,
        other,
        "--concept",
        "dress",
        "--concept",
        "cape",
        "--model",
        model,
        "--out",
        out,
        "--json",
    )
    rows = json.loads(capsys.readouterr().out)
    assert [(row["image"], row["concept"]) for row in rows] == [
        (str(image), concept) for image in (jpeg, other) for concept in ("dress", "cape")
    ]
    for row in rows:
        assert set(row) == {"image", "concept", "score", "present", "known", "area", "share", "mask"}
        assert row["area"] == np.count_nonzero(np.asarray(Image.open(row["mask"])))
        assert row["share"] == row["area"] / np.asarray(Image.open(row["mask"])).size
        assert row["present"] == (row["score"] >= 0.5)
        assert row["known"] is True


def test_without_concepts_it_segments_those_found_present(loaded, model, jpeg, tmp_path, capsys):
    run("segment", jpeg, "--model", model, "--out", tmp_path / "out", "--json")
    rows = json.loads(capsys.readouterr().out)
    expected = loaded.present(loaded.encode(np.asarray(Image.open(jpeg))))
    assert [row["concept"] for row in rows] == expected
    assert expected


def test_a_turned_photos_mask_is_as_a_person_sees_it(loaded, model, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    path = tmp_path / "turned.jpg"
    Image.fromarray(photo(40, 60)).save(path, exif=exif)
    run("segment", path, "--concept", "dress", "--model", model, "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "turned.dress.png") as mask:
        assert mask.size == (40, 60)


def test_without_a_preset_the_model_must_be_named(no_presets, jpeg, capsys):
    error = failure(capsys, "segment", jpeg, "--concept", "dress")
    assert error.endswith("no model: give --model DIR; this package carries no preset")


@pytest.mark.parametrize("content", ["text", "truncated"])
def test_what_is_no_photo_is_named_and_nothing_is_written(content, jpeg, model, tmp_path, capsys):
    bad = tmp_path / "bad.jpg"
    Image.fromarray(photo(300, 300)).save(bad)
    bad.write_bytes(b"to whom it may concern" if content == "text" else bad.read_bytes()[:-2000])
    out = tmp_path / "out"
    error = failure(capsys, "segment", jpeg, bad, "--concept", "dress", "--model", model, "--out", out)
    assert str(bad) in error
    assert not out.exists()


def test_an_unknown_concept_lists_the_nearest_names_and_nothing_is_written(jpeg, model, tmp_path, capsys):
    out = tmp_path / "out"
    error = failure(capsys, "segment", jpeg, "--concept", "stret", "--model", model, "--out", out)
    assert "'stret'" in error and "street" in error
    assert not out.exists()


def test_a_model_directory_with_a_file_missing_is_named(jpeg, model, tmp_path, capsys):
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "thresholds.json").unlink()
    error = failure(capsys, "segment", jpeg, "--concept", "dress", "--model", broken)
    assert str(broken / "thresholds.json") in error


def test_two_outputs_of_one_name_are_an_error_before_any_work(jpeg, model, tmp_path, capsys):
    twin = tmp_path / "a.jpg"
    shutil.copy(jpeg, twin)
    out = tmp_path / "out"
    error = failure(capsys, "segment", jpeg, twin, "--concept", "dress", "--model", model, "--out", out)
    assert "two outputs of one name" in error
    for names in (["dress", "dress"], ["red hat", "Red-Hat"], ["overlay"]):
        concepts = [part for name in names for part in ("--concept", name)]
        error = failure(capsys, "segment", jpeg, *concepts, "--model", model, "--out", out)
        assert "two outputs of one name" in error
    assert not out.exists()


def test_an_output_never_replaces_a_photo(jpeg, model, tmp_path, capsys):
    other = jpeg.with_name("a.dress.png")
    shutil.copy(jpeg, other)
    error = failure(
        capsys, "segment", jpeg, other, "--concept", "dress", "--model", model, "--out", jpeg.parent
    )
    assert "would replace a photo" in error


def test_out_is_a_folder(jpeg, model, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    error = failure(
        capsys, "segment", jpeg, "--concept", "dress", "--model", model, "--out", tmp_path / "file"
    )
    assert "expected a folder" in error
