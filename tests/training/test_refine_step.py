"""The benchmark of Stage 2's step at toy size, its processes run in this one."""

import argparse
import contextlib
import importlib.util
import io
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "refine_step.py"
SMALL = [
    "--concepts=90",
    "--dim=16",
    "--bottleneck=8",
    "--maps=20",
    "--boxed=12",
    "--annotated=3",
    "--grid=4",
]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FILE.parent)
    spec = importlib.util.spec_from_file_location("refine_step", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def child(sizes, name, batch=0, work=""):
        values = {**vars(sizes), "batch": [batch], "work": Path(work), "child": name}
        return module.CHILDREN[name](argparse.Namespace(**values))

    monkeypatch.setattr(module, "child", child)
    monkeypatch.setattr("refine_step_child.matmul_rate", lambda: 1e11)
    return module


def rows(module, *arguments) -> list[list[str]]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        module.main([*SMALL, "--network-batch=0", "--repetitions=1", *arguments])
    return [[c.strip() for c in line.split("|")[1:-1]] for line in out.getvalue().splitlines() if "|" in line]


def test_both_forms_and_their_agreement_are_in_one_table(benchmark):
    found = rows(benchmark, "--batch", "2", "3")
    assert [row[0] for row in found[2:]] == ["2"] * 7 + ["3"] * 7
    for name in ("literal", "fast", "times less"):
        assert sum(row[1] == name for row in found) == 2
    apart = [row[1] for row in found if row[1].startswith("apart, relative, without")]
    assert len(apart) == 4 and sum("same targets" in text for text in apart) == 2
    for text in apart:
        parts = text.split(": ")[1].split(", ")
        assert len(parts) == 6 and all(float(part.split()[-1]) < 1e-4 for part in parts)


def test_a_literal_step_that_does_not_fit_is_counted_and_not_run(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark, "available", lambda: 1e6)
    literal, fast, less = rows(benchmark, "--batch", "2")[2:]
    assert literal[3:] == ["does not fit"] * 4 and "does not fit" not in fast
    assert float(less[2]) > 1 and not any(less[3:])


def test_operations_are_those_of_the_matrix_products(benchmark):
    """Of the paper's sizes, in 10^12: counted by hand."""
    paper = benchmark.arguments([])
    assert benchmark.flops(paper, 32, "literal") == pytest.approx(2.798e12, rel=1e-3)
    v, d, k, places = 18_000, 4096, 2000, 3200
    assert benchmark.flops(paper, 32, "fast") == 2 * (
        2 * v * d * k + 3 * places * d * k + 3 * places * k * (750 + 800)
    )
