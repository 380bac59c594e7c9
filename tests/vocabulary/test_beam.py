"""Counting on Apache Beam: the same counts as in one process."""

import json
from functools import partial

import numpy as np
import pytest

pytest.importorskip("apache_beam", reason="Apache Beam is not installed")

from cmask_tf.cli import main  # noqa: E402
from cmask_tf.errors import UserError  # noqa: E402
from cmask_tf.faults import Faults  # noqa: E402
from cmask_tf.vocabulary import beam, tag_files  # noqa: E402
from cmask_tf.vocabulary.artefact import Vocabulary  # noqa: E402
from cmask_tf.vocabulary.counts import Counts, count_files  # noqa: E402


def same_counts(files, folder, *arguments) -> tuple[Counts, Faults]:
    """Counts both ways and compares; gives the counts and what was bad."""
    local, ours = Faults(), Faults()
    expected = count_files(files, *arguments, local)
    on_beam = partial(beam.count_files, beside=folder / "out", runner="DirectRunner")
    counts = on_beam(files, *arguments, ours)
    assert (counts.names, counts.documents) == (expected.names, expected.documents)
    assert counts.single.dtype == expected.single.dtype and (counts.single == expected.single).all()
    assert counts.pairs.dtype == np.int32 and counts.pairs.shape == expected.pairs.shape
    for part in ("indptr", "indices", "data"):
        assert (getattr(counts.pairs, part) == getattr(expected.pairs, part)).all()
    assert ours.state() == local.state()
    assert not [path for path in folder.iterdir() if path.name.startswith(".out")]
    return counts, ours


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Three hundred images in JSONL, read in many parts, and some in CSV; six bad lines."""
    monkeypatch.setattr(tag_files.parts, "__defaults__", (500,))
    monkeypatch.setattr(beam, "_IMAGES", 7)
    monkeypatch.setattr(beam, "_ROWS", 5)
    rng = np.random.default_rng(0)
    lines = [
        json.dumps(
            {"image": f"{n}.jpg", "tags": [f"Tag {t}" for t in rng.integers(0, 23, rng.integers(0, 6))]}
        )
        for n in range(300)
    ]
    for at in (2, 50, 90, 200, 210, 220):
        lines.insert(at, "{" if at < 100 else '{"image": "a.jpg"}')
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "b.csv").write_text('image,tags\na.jpg,"tag 3, sea"\n')
    return [tmp_path / "a.jsonl", tmp_path / "b.csv"]


def test_files_in_parts_with_bad_lines_give_the_same_counts(files, tmp_path):
    counts, faults = same_counts(files, tmp_path, 1, {"tag 1": "tag 2"})
    assert len(counts.names) == 23 and "tag 1" not in counts.names and counts.names[-1] == "sea"
    assert faults.bad == {"not JSON": 3, 'expected {"image": path, "tags": [text, ...]}': 3}


def test_rare_tags_are_left_out(files, tmp_path):
    counts, _ = same_counts(files, tmp_path, 35, None)
    assert 1 < len(counts.names) < 23


def test_a_single_tag_has_no_pairs(files, tmp_path):
    counts, _ = same_counts(files[1:], tmp_path, 1, {"sea": "tag 3"})
    assert counts.names == ["tag 3"] and counts.pairs.nnz == 0


def test_the_first_bad_line_is_the_error_when_strict(files, tmp_path):
    with pytest.raises(UserError, match="a.jsonl:3: not JSON"):
        beam.count_files(files, beside=tmp_path / "out", runner="DirectRunner")


def test_a_broken_file_is_one_line(tmp_path, capsys):
    (tmp_path / "a.jsonl.gz").write_bytes(b"not gzip")
    arguments = [str(tmp_path / "a.jsonl.gz"), "--dim", "2", "--out", str(tmp_path / "out")]
    assert main(["vocabulary", "build", *arguments, "--beam", "DirectRunner"]) == 2
    assert "broken gzip file" in capsys.readouterr().err


def test_the_command_builds_the_same_vocabulary(tmp_path, ccp):
    tags = str(ccp / "tags" / "train.jsonl")
    for name, more in (("local", []), ("beam", ["--beam", "DirectRunner"])):
        main(["vocabulary", "build", tags, "--dim", "8", "--out", str(tmp_path / name), *more])
    local, ours = (Vocabulary.load(tmp_path / name) for name in ("local", "beam"))
    assert local.names == ours.names and (local.vectors == ours.vectors).all()
