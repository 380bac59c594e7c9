"""`cmask vocabulary build`."""

import json
import subprocess
import sys

import pytest

from cmask_tf.cli import main
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.pmi import DEFAULT


@pytest.fixture
def tags(tmp_path):
    path = tmp_path / "tags.jsonl"
    images = ("ab", "ab", "ac", "a", "b", "cd", "d", "dc")
    lines = [json.dumps({"image": f"{i}.jpg", "tags": list(tags)}) for i, tags in enumerate(images)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_command_writes_a_vocabulary_and_says_what_is_in_it(tags, tmp_path, capsys):
    (tmp_path / "kinds.json").write_text('{"a": {"kind": "part"}}')
    (tmp_path / "aliases.txt").write_text("a,alpha,first letter\n")
    files = ["--kinds", str(tmp_path / "kinds.json"), "--aliases", str(tmp_path / "aliases.txt")]
    out = tmp_path / "out"
    assert main(["vocabulary", "build", str(tags), "--dim", "2", "--out", str(out), *files]) == 0
    vocabulary = Vocabulary.load(out)
    assert vocabulary.meta["variant"] == DEFAULT and vocabulary.dim == 2
    assert vocabulary.kinds[vocabulary.index("First letter")] == "part"
    assert capsys.readouterr().out.endswith("out: 4 concepts, 2 dimensions, 8 images\n")


def test_variant_and_minimum_are_passed_on(tags, tmp_path):
    arguments = ["--dim", "1", "--out", str(tmp_path / "v"), "--variant", "ppmi", "--min-count", "4"]
    assert main(["vocabulary", "build", str(tags), *arguments]) == 0
    vocabulary = Vocabulary.load(tmp_path / "v")
    assert vocabulary.names == ["a"] and vocabulary.meta["variant"] == "ppmi"


def test_a_bad_line_is_skipped_and_told(tags, tmp_path, capsys):
    tags.write_text(tags.read_text() * 2 + "hat, coat\n")
    assert main(["vocabulary", "build", str(tags), "--dim", "2", "--out", str(tmp_path / "v")]) == 0
    out = capsys.readouterr().out
    assert "note: skipped 1 of 17 lines: " in out and "tags.jsonl:17: not JSON" in out
    assert "16 images" in out and Vocabulary.load(tmp_path / "v").documents == 16


@pytest.mark.parametrize(("strict", "lines"), [(["--strict"], 2), ([], 1)])
def test_a_bad_line_of_few_or_a_strict_reading_is_one_line_and_nothing_is_written(
    tags, tmp_path, capsys, strict, lines
):
    tags.write_text(tags.read_text() * lines + "hat, coat\n")
    command = ["vocabulary", "build", str(tags), "--dim", "2", "--out", str(tmp_path / "v"), *strict]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert f"tags.jsonl:{8 * lines + 1}: not JSON" in error and error.count("\n") == 1
    assert [f.name for f in tmp_path.iterdir()] == ["tags.jsonl"]


def test_several_files_folders_and_globs_are_one_corpus(tags, tmp_path, capsys):
    shards = tmp_path / "shards"
    shards.mkdir()
    lines = tags.read_text().splitlines(keepends=True)
    for i in range(4):
        (shards / f"{i}.jsonl").write_text("".join(lines[2 * i : 2 * i + 2]))
    for number, names in enumerate(([shards], [shards / "[01]*", shards / "2.jsonl", shards])):
        out = tmp_path / f"v{number}"
        assert main(["vocabulary", "build", *map(str, names), "--dim", "2", "--out", str(out)]) == 0
        assert capsys.readouterr().out.endswith("4 concepts, 2 dimensions, 8 images\n")


def test_too_many_dimensions_are_an_error_that_names_the_number(tags, tmp_path, capsys):
    command = ["vocabulary", "build", str(tags), "--dim", "64", "--out", str(tmp_path / "v")]
    assert main(command) == 2
    assert "64 dimensions were asked for: " in capsys.readouterr().err
    assert not (tmp_path / "v").exists()


def test_building_needs_no_tensorflow():
    code = "import sys, cmask_tf.vocabulary.build as b, cmask_tf.cli; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
