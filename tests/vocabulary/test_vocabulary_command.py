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


def test_a_line_that_is_not_json_is_one_line_and_nothing_is_written(tags, tmp_path, capsys):
    tags.write_text(tags.read_text() + "hat, coat\n")
    assert main(["vocabulary", "build", str(tags), "--dim", "2", "--out", str(tmp_path / "v")]) == 2
    error = capsys.readouterr().err
    assert "tags.jsonl: line 9: not JSON" in error and error.count("\n") == 1
    assert [f.name for f in tmp_path.iterdir()] == ["tags.jsonl"]


def test_too_many_dimensions_are_an_error_that_names_the_number(tags, tmp_path, capsys):
    command = ["vocabulary", "build", str(tags), "--dim", "64", "--out", str(tmp_path / "v")]
    assert main(command) == 2
    assert "64 dimensions were asked for: " in capsys.readouterr().err
    assert not (tmp_path / "v").exists()


def test_building_needs_no_tensorflow():
    code = "import sys, cmask_tf.vocabulary.build as b, cmask_tf.cli; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
