"""The step that scores one of Table 1's attention maps: what it hands on, and what it says of bad input."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cmask_tf.errors import UserError
from cmask_tf.reproduce import score
from cmask_tf.reproduce.plan import ATTENTION


@pytest.fixture
def calls(monkeypatch):
    """Stands in for opening a system and for scoring it."""
    made = []
    opened = SimpleNamespace(attention_system=lambda kind, seed_dir: f"{kind} of {seed_dir}")
    scored = SimpleNamespace(evaluate=lambda *words, title: made.append((*words, title)))
    monkeypatch.setitem(sys.modules, "cmask_tf.evaluation.attention_systems", opened)
    monkeypatch.setitem(sys.modules, "cmask_tf.evaluation.evaluate", scored)
    return made


def run(monkeypatch, kind: str) -> int:
    options = ["--seed-dir", "seed-0", "--images", "test", "--masks", "masks.json", "--out", "out"]
    monkeypatch.setattr(sys, "argv", ["score", kind, *options])
    return score.main()


@pytest.mark.parametrize("kind", ATTENTION)
def test_the_map_is_scored_under_its_name(calls, monkeypatch, kind):
    assert run(monkeypatch, kind) == 0
    assert calls == [(f"{kind} of seed-0", Path("test"), Path("masks.json"), Path("out"), kind)]


def test_bad_input_is_one_line_and_exit_code_2(calls, monkeypatch, capsys):
    def missing(kind, seed_dir):
        raise UserError("seed-0/refine/config.json: missing from the model directory")

    monkeypatch.setattr(sys.modules["cmask_tf.evaluation.attention_systems"], "attention_system", missing)
    assert run(monkeypatch, "Refined") == 2
    assert capsys.readouterr().err == "seed-0/refine/config.json: missing from the model directory\n"
    assert not calls
