"""The benchmarks of the vocabulary run, at toy size."""

import contextlib
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def run(name: str, *arguments) -> str:
    """What a benchmark prints."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        module.main([str(argument) for argument in arguments])
    return out.getvalue()


@pytest.fixture(scope="module")
def scale(tmp_path_factory) -> tuple:
    work = tmp_path_factory.mktemp("scale")
    sizes = ("--images", 3000, "--words", 240, "--dim", 40, "--solver-words", 200)
    return work, run("pmi_scale", *sizes, "--work", work)


def test_pmi_scale_prints_one_table_of_the_whole_build(scale):
    rows = dict(map(str.strip, line.split("|")[1:3]) for line in scale[1].splitlines() if line[0] == "|")
    assert {"peak memory", "parsing and counting", "PMI matrix", "eigenvectors", "loading"} <= set(rows)
    assert rows["images x tags, words, dimensions"] == "3,000 x 30, 240, 40"
    assert any("equal" in row and "NOT" not in row for name, row in rows.items() if "X^T X" in name)
    error = next(row for name, row in rows.items() if "outside the float64 subspace" in name)
    assert float(error) < 1e-3


def test_pmi_scale_writes_tags_of_planted_topics_once_and_finds_them_again(scale):
    work, out = scale
    lines = [json.loads(line) for file in (work / "tags-3000-240").iterdir() for line in file.open()]
    assert len(lines) == 3000 and all(len(set(line["tags"])) == 30 for line in lines)
    row = next(line for line in out.splitlines() if "planted topic" in line)
    found, chance = (float(part.split("%")[0]) for part in row.split("|")[2].split("(chance"))
    assert found > 2 * chance


def test_pmi_variants_prints_a_row_for_each_setting(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "tags.jsonl"
    lines = [{"image": "a", "tags": [f"w{t}" for t in rng.integers(0, 30, 6)]} for _ in range(400)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = run("pmi_variants", f"noise={file}", "--splits", 2, "--min-counts", 2, 60).splitlines()
    assert len(table) == 2 + 2 * 8 and all(line.startswith("| noise | ") for line in table[2:])
    # Nothing to learn from noise: held-out pairs score as chance pairs do.
    assert all(abs(float(line.split("|")[8].strip(" *").split(" ")[0]) - 0.5) < 0.1 for line in table[2:])
