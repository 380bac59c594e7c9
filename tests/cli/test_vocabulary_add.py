"""`cmask vocabulary add`: new words for a vocabulary or a model directory."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from segmenter_fixture import photo, smallest_segmenter, smallest_vocabulary

from cmask_tf.cli import main
from cmask_tf.vocabulary.artefact import Vocabulary

LINES = [["gown", "bag", "hair"], ["Gown", "red hat"], ["gown", "hair", "red-hat"], ["purse", "gown"]]


@pytest.fixture
def directory(tmp_path):
    smallest_vocabulary().save(tmp_path / "v")
    return tmp_path / "v"


@pytest.fixture
def tags(tmp_path):
    path = tmp_path / "tags.jsonl"
    path.write_text("\n".join(json.dumps({"image": "a.jpg", "tags": tags}) for tags in LINES) + "\n")
    return path


@pytest.fixture
def vectors(tmp_path):
    np.savez(
        tmp_path / "vectors.npz", names=["gown", "sack"], vectors=np.array([[0.9, -0.4, 0.3], [1, 2, -1.0]])
    )
    return tmp_path / "vectors.npz"


def add(directory, tmp_path, *arguments) -> int:
    return main(["vocabulary", "add", str(directory), "--out", str(tmp_path / "new"), *map(str, arguments)])


def test_tag_lines_of_several_files_add_a_word_and_tell_its_company(directory, tags, tmp_path, capsys):
    (tmp_path / "more.jsonl").write_text('{"image": "b.jpg", "tags": ["gown", "hair"]}\n')
    assert add(directory, tmp_path, "--tags", tags, tmp_path / "more.jsonl", "--word", "Gown") == 0
    out = capsys.readouterr().out
    assert "gown: 5 lines carry it, with 1.4 known tags each (corpus: 3.5)" in out
    assert out.endswith("new: 9 concepts, 1 of them new, 3 dimensions\n")
    grown = Vocabulary.load(tmp_path / "new")
    assert grown.meta["added"]["gown"] == {
        "by": "tags",
        "files": ["tags.jsonl", "more.jsonl"],
        "images": 5,
        "known_tags": 7,
    }
    assert grown.cooccurrence[8, grown.index("hair")] == 3 and grown.counts[8] == 5
    assert {name for name, _ in grown.substitutes("gown", k=4)} == {"dress", "bag", "red hat", "hair"}


def test_given_vectors_are_taken_as_they_are_all_or_those_named(directory, vectors, tmp_path, capsys):
    assert add(directory, tmp_path, "--vectors", vectors) == 0
    grown = Vocabulary.load(tmp_path / "new")
    assert grown.names[8:] == ["gown", "sack"]
    np.testing.assert_allclose(grown.vectors[8:], [[0.9, -0.4, 0.3], [1, 2, -1]], rtol=1e-6)
    assert grown.meta["added"]["sack"] == {"by": "vectors", "file": "vectors.npz"}
    assert add(directory, tmp_path, "--vectors", vectors, "--word", "SACK") == 0
    assert Vocabulary.load(tmp_path / "new").names[8:] == ["sack"]


def test_a_text_embedding_prints_its_cross_validated_error(tmp_path, capsys):
    rng = np.random.default_rng(0)
    seen = rng.random((300, 30)) < (0.05 + 0.5 * (rng.random((4, 30)) < 0.3))[rng.integers(0, 4, 300)]
    (tmp_path / "many.jsonl").write_text(
        "\n".join(
            json.dumps({"image": "a.jpg", "tags": [f"w{w}" for w in np.flatnonzero(row)]}) for row in seen
        )
    )
    build = ["vocabulary", "build", str(tmp_path / "many.jsonl"), "--dim", "4", "--out", str(tmp_path / "v")]
    assert main(build) == 0
    vocabulary = Vocabulary.load(tmp_path / "v")
    text = np.round(vocabulary.vectors @ rng.normal(size=(4, 6)), 4)
    lines = [f"{n} {' '.join(map(str, row))}" for n, row in zip(vocabulary.names, text.tolist(), strict=True)]
    lines += ["new 1 2 3 4 5 6", "thing 6 5 4 3 2 1"]
    (tmp_path / "glove.txt").write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    words = ["--word", "new thing", "--word", "new"]
    assert add(tmp_path / "v", tmp_path, "--text-embedding", tmp_path / "glove.txt", *words) == 0
    assert "30 words fitted. Of words left out (5 folds): the mean cosine" in capsys.readouterr().out
    added = Vocabulary.load(tmp_path / "new").meta["added"]
    assert list(added) == ["new thing", "new"] and added["new"]["cross_validation"]["cosine"] > 0.95


def test_a_word_whose_vector_is_another_ones_becomes_its_alias_and_it_is_said(directory, tmp_path, capsys):
    vector = Vocabulary.load(directory).vectors[2]
    np.savez(tmp_path / "same.npz", names=["twin"], vectors=vector[None])
    assert add(directory, tmp_path, "--vectors", tmp_path / "same.npz") == 0
    grown = Vocabulary.load(tmp_path / "new")
    assert f"note: equal vectors, now an alias of {grown.names[2]!r}: twin" in capsys.readouterr().out
    assert len(grown) == 8 and grown.index("twin") == 2


@pytest.mark.parametrize(
    "word, message",
    [
        ("purse", "word 'purse': in the vocabulary already, as 'bag'"),
        ("sequin", "word 'sequin': no line carries it"),
    ],
)
def test_a_word_that_cannot_come_in_is_one_line_and_nothing_is_written(
    directory, tags, tmp_path, capsys, word, message
):
    assert add(directory, tmp_path, "--tags", tags, "--word", word) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(f.name for f in tmp_path.iterdir()) == ["tags.jsonl", "v"]


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"names": ["gown"], "vectors": np.eye(1, 4)}, "expected floating point [1, 3]"),
        ({"names": ["gown"], "vectors": np.zeros((1, 3))}, "word 'gown': a null vector"),
        ({"names": ["gown"], "vectors": np.full((1, 3), np.nan)}, "word 'gown': its vector holds NaN"),
        ({"names": ["gown", "Gown"], "vectors": np.eye(2, 3)}, "a name occurs twice"),
        ({"names": ["bag"], "vectors": np.eye(1, 3)}, "in the vocabulary already"),
    ],
)
def test_vectors_that_are_none_are_one_line_and_nothing_is_written(
    directory, tmp_path, capsys, arrays, message
):
    np.savez(tmp_path / "bad.npz", **arrays)
    assert add(directory, tmp_path, "--vectors", tmp_path / "bad.npz") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(f.name for f in tmp_path.iterdir()) == ["bad.npz", "v"]


def test_wrong_calls_are_one_line(directory, vectors, tags, tmp_path, capsys):
    assert add(directory, tmp_path, "--vectors", vectors, "--word", "robe") == 2
    assert "vectors.npz: has no vector of 'robe'" in capsys.readouterr().err
    assert add(directory, tmp_path, "--tags", tags) == 2
    assert "no word to add: give --word NAME" in capsys.readouterr().err
    assert add(tmp_path, tmp_path, "--vectors", vectors) == 2
    assert "expected a vocabulary directory" in capsys.readouterr().err
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").touch()
    assert add(directory, tmp_path, "--vectors", vectors) == 2
    assert "exists and is not a vocabulary" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        add(directory, tmp_path, "--tags", tags, "--vectors", vectors, "--word", "gown")
    assert stop.value.code == 2
    capsys.readouterr()
    other = ["--text-embedding", str(vectors), "--word", "gown", "--out", str(tmp_path / "other")]
    assert main(["vocabulary", "add", str(directory), *other]) == 2
    assert "has 0 of the vocabulary's 8 words; expected at least 20" in capsys.readouterr().err


def test_a_model_segments_the_new_words_and_the_old_ones_as_before(model, tags, vectors, tmp_path):
    assert add(model, tmp_path, "--vectors", vectors, "--word", "sack") == 0
    both = tmp_path / "both"
    counted = ["--tags", str(tags), "--word", "gown", "--out", str(both)]
    assert main(["vocabulary", "add", str(tmp_path / "new"), *counted]) == 0
    before, after = smallest_segmenter(model), smallest_segmenter(both)
    table = json.loads((both / "mixing.json").read_text())["p"]
    assert table["gown"] == "dress" and {"gown", "sack", "cape"} < set(table)
    old = before.segment(["dress", "street", "cape"], before.encode(photo()))
    features = after.encode(photo())
    new = after.segment(["dress", "street", "cape", "Gowns", "sack"], features)
    np.testing.assert_allclose(new.masks[:3], old.masks, atol=1e-6)
    np.testing.assert_allclose(new.scores[:3], old.scores, atol=1e-6)
    assert new.known.all() and np.abs(new.masks[3] - new.masks[4]).max() > 1e-5
    # Outside training: Eqn. 1's map, mixed with the neighbour's, at the theta of zero-level words.
    name = after.vocabulary.index("gown")
    parameters = after._model.resolve(after.vocabulary.vectors[[name]])
    assert parameters["path"].numpy() == 2 and parameters["theta"].numpy() == 0.5
    outside = before.segment(
        [after.vocabulary.vectors[after.vocabulary.index("sack")]], before.encode(photo())
    )
    assert not outside.known[0]
    # As a bare vector it had the same neighbour, and so the same mask.
    assert _neighbour_of_bare(before, after) == table["sack"]
    np.testing.assert_allclose(new.masks[4], outside.masks[0], atol=1e-5)


def _neighbour_of_bare(before, after) -> str:
    """p of "sack", as the graph finds it for a vector that the vocabulary does not hold."""
    vector = after.vocabulary.vectors[[after.vocabulary.index("sack")]]
    weights = before._model.resolve(vector)["p_weights"].numpy()[0]
    columns = before._model.column_weights.numpy()
    return before.concepts[int(np.abs(columns - weights).sum(axis=1).argmin())]["name"]


def test_a_model_directory_keeps_its_other_files_and_may_be_replaced_in_place(model, tags, tmp_path):
    assert add(model, tmp_path, "--tags", tags, "--word", "gown") == 0
    new = tmp_path / "new"
    assert sorted(f.name for f in new.iterdir()) == sorted(f.name for f in model.iterdir())
    for file in model.iterdir():
        if file.is_file() and file.name != "mixing.json":
            assert (new / file.name).read_bytes() == file.read_bytes()
    (tmp_path / "more.jsonl").write_text('{"image": "c.jpg", "tags": ["robe", "hair", "gown"]}\n')
    again = ["--tags", str(tmp_path / "more.jsonl"), "--word", "robe", "--out", str(new)]
    assert main(["vocabulary", "add", str(new), *again]) == 0
    grown = Vocabulary.load(new / "vocabulary")
    assert grown.names[8:] == ["gown", "robe"] and grown.cooccurrence[9, 8] == 1
    assert sorted(f.name for f in tmp_path.iterdir()) == ["more.jsonl", "new", "tags.jsonl"]


def test_a_model_is_not_written_over_something_else(model, vectors, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").touch()
    assert add(model, tmp_path, "--vectors", vectors) == 2
    assert "exists and is not a model directory" in capsys.readouterr().err
    assert (tmp_path / "new" / "thesis.txt").exists()


def test_adding_to_a_model_needs_no_tensorflow(model, tags, tmp_path):
    arguments = ["vocabulary", "add", str(model), "--out", str(tmp_path / "new"), "--tags", str(tags)]
    code = (
        "import sys; from cmask_tf.cli import main; "
        f"sys.exit(main({[*arguments, '--word', 'gown']!r}) or 'tensorflow' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
