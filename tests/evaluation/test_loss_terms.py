"""benchmarks/loss_terms.py: which runs it plans, what it starts them from, and its tables and curves."""

import importlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cmask_tf.errors import UserError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("loss_terms")


@pytest.fixture
def report(script):
    return script.report


@pytest.fixture
def commands(script, monkeypatch):
    """Trainings that write down at once what a training writes down; the commands in their order."""
    given = []

    def cmask(*words):
        given.append([str(word) for word in words])
        out = Path(words[words.index("--out") + 1])
        out.mkdir(parents=True)
        if words[0] == "train":
            pretend(out, words[1], len(given))

    monkeypatch.setattr(script, "cmask", cmask)
    monkeypatch.setattr(script, "measure", lambda stage, model, records: {"own": 0.5, "leak": 0.1})
    return given


def pretend(out: Path, stage: str, number: int) -> None:
    """A finished run's history and provenance; better the later it is called."""
    measures = ("val_cosine", "val_soft_iou_image", "val_soft_iou_mask")  # none of Stage 3's
    level = [{"epoch": e, **dict.fromkeys(measures, e / 10 + number)} for e in (1, 2, 3)]
    train = [{"epoch": e, "matching": 40.0 / e} for e in (1, 2, 3)]
    (out / "provenance.json").write_text(json.dumps({stage: {"validation": level[1:2]}}))
    work = out.with_name(out.name + ".run")
    work.mkdir()
    (work / "history.json").write_text(json.dumps({"train": train, "validation": level}))


def labels(runs, stage="refine"):
    return {run.name: run.label for run in runs if run.stage == stage}


def test_a_run_that_repeats_another_is_not_planned_and_the_other_says_so(script):
    tiny, lite = (labels(script.planned(config, [])) for config in ("tiny", "lite"))
    assert tiny["all"] == "all terms (c = 1e-6, all maps)" and "matching-paper" not in tiny
    assert lite["all"] == "all terms (c = 0.01, tagged maps)" and "matching-tagged" not in lite
    assert {"no-matching", "no-discrimination", "no-dice"} <= set(tiny) & set(lite)
    without = labels(script.planned("tiny", ["segment.dice_weight=0"]), "segmentation")
    assert without == {"all": "all terms (no Dice)"}


def arguments(tmp_path, *more):
    return ["--data", str(tmp_path / "toys"), "--work", str(tmp_path / "work"), *map(str, more)]


def test_every_stage_starts_from_the_same_run_of_its_seed(script, commands, tmp_path):
    script.main(arguments(tmp_path, "--seeds", 3, 4, "--dim", 9, "--set", "embed.epochs=2"))
    prepare, vocabulary, *trainings = commands
    assert prepare[:2] == ["data", "prepare"] and "9" in vocabulary
    assert len(trainings) == 2 * len(script.planned("tiny", []))
    for words in trainings:
        out = Path(words[words.index("--out") + 1])
        settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        if words[1] == "embedding":
            assert settings[:2] == ["embed.epochs=2", "seed=" + out.parent.name[-1]]
        else:
            before = {"refine": "embedding-all", "segmentation": "refine-all"}[words[1]]
            assert words[words.index("--from") + 1] == str(out.parent / before)
            assert len(settings) == 0 if out.name.endswith("-all") else len(settings) > 0


def test_the_report_holds_every_table_and_the_pictures_that_there_is_anything_to_see_in(
    script, commands, tmp_path, capsys
):
    script.main(arguments(tmp_path, "--seeds", 0, 1))
    document = tmp_path / "work" / "report.md"
    text = document.read_text()
    assert "toys, config `tiny`, 2 seeds (0, 1)" in text
    for title in ("Stage 1", "Stage 2, refined maps", "Stage 2, what is left", "Stage 3"):
        assert f"| {title}" in text
    links = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    drawn = ("stage1", "matching", "discrimination", "dice")
    assert links == [f"pictures/loss-terms-toys-{name}.png" for name in drawn]
    for link in links:
        assert (document.parent / link).read_bytes().startswith(b"\x89PNG")
    assert str(document) in capsys.readouterr().out


def test_only_the_section_of_that_name_is_replaced(script, commands, tmp_path):
    document = tmp_path / "chapter.md"
    begin, end = "<!-- loss terms: toys -->", "<!-- end of loss terms: toys -->"
    document.write_text(f"# Before\n\n{begin}\nold\n{end}\n\nAfter.\n")
    for _ in range(2):
        script.main(arguments(tmp_path / "a", "--seeds", 0, "--document", document))
        once = document.read_text()
        for folder in (tmp_path / "a" / "work", tmp_path / "pictures"):
            shutil.rmtree(folder)
    assert once.startswith(f"# Before\n\n{begin}\n") and once.endswith(f"\n{end}\n\nAfter.\n")
    assert "old" not in once and once.count("| Stage 1") == 1


def test_a_document_without_the_section_is_told_before_any_work(script, commands, tmp_path):
    document = tmp_path / "chapter.md"
    document.write_text("<!-- end of loss terms: toys --> <!-- loss terms: toys -->\n")
    with pytest.raises(UserError, match=r"chapter\.md: no section between <!-- loss terms: toys -->"):
        script.main(arguments(tmp_path, "--document", document))
    assert not commands and not (tmp_path / "work").exists()


def test_a_command_that_fails_ends_the_script_with_its_code(script, tmp_path, capfd):
    script.cmask("concepts", "--help")
    with pytest.raises(SystemExit) as ended:
        script.cmask("concepts", "--model", tmp_path / "none")
    assert ended.value.code == 2 and "no such model directory" in capfd.readouterr().err


def result(report, epochs, **end):
    return report.Result({"validation": [{"epoch": e, "val_iou_mask": e + 0.5} for e in epochs]}, end)


def test_a_curve_covers_the_epochs_that_all_seeds_have(report):
    results = [result(report, (1, 2, 3)), result(report, (1, 2))]
    epochs, values = report.curve(results, "validation", "val_iou_mask")
    assert epochs.tolist() == [1, 2] and values.tolist() == [[1.5, 2.5]] * 2
    assert len(report.curve(results, "validation", "val_iou_box")[0]) == 0


def test_cells_are_mean_and_sample_deviation_and_missing_measures_a_dash(report):
    runs = [report.Run("refine", "all", "all terms"), report.Run("refine", "none", "no terms")]
    results = {
        ("refine", "all"): [result(report, (), own=0.1), result(report, (), own=0.3)],
        ("refine", "none"): [result(report, (), own=0.1), result(report, ())],
    }
    columns = {"own": "own map", "leak": "siblings' maps"}
    table = report.table("Siblings", "refine", columns, runs, results).splitlines()
    assert table[0] == "| Siblings | own map |"  # nobody has the other
    assert table[2] == f"| all terms | 0.200 ± {np.std([0.1, 0.3], ddof=1):.3f} |"
    assert table[3] == "| no terms | - |"


def test_what_was_measured_once_is_kept_until_the_model_changes(script, monkeypatch, tmp_path):
    from cmask_tf.evaluation import coarse

    calls = []
    monkeypatch.setattr(coarse, "coarse_scores", lambda *given: calls.append(given) or {"soft_iou_box": 0.5})
    model = tmp_path / "embedding-all"
    model.mkdir()
    (model / "provenance.json").write_text("{}")
    for measured in (1, 2):
        for _ in range(2):
            assert script.measure("embedding", model, tmp_path) == {"coarse_soft_iou_box": 0.5}
            assert len(calls) == measured
        os.utime(tmp_path / "embedding-all.measures.json", (0, 0))  # older than the model
