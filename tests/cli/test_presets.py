"""The trained preset as every command's default model, and as a name."""

import json
import shutil

import pytest
from segmenter_fixture import WORDS, smallest_segmenter

from cmask_tf import cli, model_directory, segmenter
from cmask_tf.segmenter import ConceptSegmenter


def fails(capsys, *arguments) -> str:
    """Runs a command that must fail: its one line of error."""
    assert cli.main([str(a) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.fixture
def loaded(model, monkeypatch) -> list:
    """What was given to `ConceptSegmenter.load`, which loads nothing."""
    ready, given = smallest_segmenter(model), []

    def load(cls, path=None):
        given.append(path)
        return ready

    monkeypatch.setattr(segmenter.ConceptSegmenter, "load", classmethod(load))
    return given


@pytest.mark.parametrize("named", [(), ("--model", "street")], ids=["default", "by name"])
def test_segment_and_concepts_take_the_preset(named, street, loaded, jpeg, tmp_path, capsys):
    assert cli.main(["concepts", *named, "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == set(WORDS)
    assert cli.main(["segment", str(jpeg), "--concept", "bag", *named, "--out", str(tmp_path / "out")]) == 0
    assert loaded == [street]
    assert (tmp_path / "out" / "a.bag.png").is_file()


def test_export_takes_the_preset(street, tmp_path, monkeypatch):
    from cmask_tf.export import saved_model

    def stop(directory, *_):
        raise KeyboardInterrupt(str(directory))

    monkeypatch.setattr(saved_model, "export", stop)
    with pytest.raises(KeyboardInterrupt, match=str(street)):
        from cmask_tf.cli import export

        export.run(cli._parser([export]).parse_args(["export", "--out", str(tmp_path / "base")]))


def test_a_stage_starts_from_the_preset(street, tmp_path, capsys):
    given = ["train", "segmentation", "--data", tmp_path, "--from", "street", "--out", tmp_path / "out"]
    error = fails(capsys, *given)
    assert "no such record set" in error  # the preset was found: its config was read before
    given[5] = "stret"
    assert "stret: no such model directory; this package carries street" in fails(capsys, *given)


def test_words_are_added_to_a_copy_of_the_preset(street, tmp_path, capsys):
    tags = tmp_path / "tags.jsonl"
    tags.write_text(
        "".join(json.dumps({"image": f"{i}.jpg", "tags": ["veil", "dress"]}) + "\n" for i in range(9))
    )
    add = ["vocabulary", "add", "street", "--tags", tags, "--word", "veil", "--out"]
    assert cli.main([*map(str, add), str(tmp_path / "grown")]) == 0
    assert not (tmp_path / "grown" / "SHA256SUMS").exists()
    assert cli.main(["concepts", "--model", str(tmp_path / "grown"), "--nearest", "veil"]) == 0
    capsys.readouterr()
    before = sorted(path.read_bytes() for path in street.rglob("*") if path.is_file())
    assert "street: a preset of the package, which stays as it is" in fails(capsys, *add, street)
    assert sorted(path.read_bytes() for path in street.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("below", ["", "1"])
@pytest.mark.parametrize(
    "command",
    [
        "segment a.jpg",
        "export",
        "evaluate --images a --masks b",
        "vocabulary build a.jsonl --dim 3",
        "train refine --data a --from street",
        "data world --scenes 2",
    ],
)
def test_no_command_writes_into_the_preset(command, below, street, capsys):
    error = fails(capsys, *command.split(), "--out", street / below)
    assert error.startswith(f"cmask: error: {street / below}: a preset of the package, which stays as it is")
    model_directory.check(street)


def test_a_directory_of_the_same_name_comes_first(street, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mine = shutil.copytree(model, tmp_path / "street")
    (mine / "concepts.json").write_text("[]")
    assert cli.main(["concepts", "--model", "street", "--json"]) == 0
    assert {row["level"] for row in json.loads(capsys.readouterr().out)} == {"zero"}


def test_a_name_that_is_none_lists_the_presets(street, jpeg, capsys):
    error = fails(capsys, "segment", jpeg, "--model", "stret")
    assert error == "cmask: error: stret: no such model directory; this package carries street\n"


def test_a_damaged_preset_is_told_before_tensorflow_is_needed(street, jpeg, tmp_path, monkeypatch, capsys):
    from cmask_tf import presets

    copy = shutil.copytree(street, tmp_path / "presets" / "street")
    monkeypatch.setattr(presets, "FOLDER", copy.parent)
    with (copy / "embedding.weights.h5").open("r+b") as file:
        file.seek(1000)
        file.write(b"?")
    error = fails(capsys, "segment", jpeg)
    assert "embedding.weights.h5: damaged" in error


def test_the_class_loads_it_without_a_path(street):
    assert [c["name"] for c in ConceptSegmenter.load().concepts] == WORDS[:6]
