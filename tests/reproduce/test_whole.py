"""`cmask reproduce`: what it takes, what it refuses, and what it remembers of an OUT."""

import json
import signal

import pytest

from cmask_tf import cli, config
from cmask_tf.reproduce import run, whole
from cmask_tf.reproduce.plan import Step

ANNOTATIONS = (
    "coco/concept_masks_val.json",
    "coco/concept_masks_test.json",
    "coco/instances_train.json",
    "tags/train.jsonl",
)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    for name in ANNOTATIONS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "images/test").mkdir(parents=True)
    return folder


@pytest.fixture
def asked(monkeypatch):
    """What would be run and reported, in place of doing it."""
    seen = []

    def ran(steps, out, lock, progress):
        seen.append(steps)
        (out / "report").mkdir(exist_ok=True)
        (out / "report/metrics.json").write_text('{"orderings": []}')

    monkeypatch.setattr(run, "run", ran)
    return seen


def names(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


def reproduce(data, out, *more: str) -> int:
    return cli.main(["reproduce", "--data", str(data), "--out", str(out), *more])


def one_line(capsys) -> str:
    (error,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    return error


def test_a_terminated_run_ends_its_command_and_says_how_to_go_on(data, tmp_path, monkeypatch, capsys):
    result = tmp_path / "out/slow"
    (tmp_path / "slowtool.py").write_text(
        "import os, signal, time\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(whole, "plan", lambda request: [Step("slow", ("slowtool",), (), result)])
    before = signal.getsignal(signal.SIGTERM)
    assert reproduce(data, tmp_path / "out", "--config", "tiny") == 130
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "cmask: interrupted: step slow is not finished; run the same command to go on"
    assert signal.getsignal(signal.SIGTERM) is before
    with run.alone(tmp_path / "out"):  # the command is gone
        pass


def test_seeds_count_from_the_configs(data, tmp_path, asked, capsys):
    assert reproduce(data, tmp_path / "out", "--config", "tiny", "--seeds", "3", "--set", "seed=5") == 0
    (steps,) = asked
    assert names(steps)[:3] == ["records", "vocabulary", "seed-5/embedding"]
    assert [name for name in names(steps) if name.endswith("/model")] == [
        "seed-5/model", "seed-6/model", "seed-7/model"
    ]  # fmt: skip
    assert steps[-1].command[-4:] == ("--seeds", "5", "6", "7")
    assert config.load(str(tmp_path / "out/config.json")).name == "tiny-paper"
    assert "report.html: written" in capsys.readouterr().out


def test_json_is_all_that_is_printed(data, tmp_path, asked, capsys):
    assert reproduce(data, tmp_path / "out", "--config", "tiny", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"orderings": []}


def test_the_same_out_goes_on_with_its_config_and_more_seeds(data, tmp_path, asked):
    out = tmp_path / "out"
    assert reproduce(data, out, "--config", "tiny", "--set", "refine.epochs=3") == 0
    assert reproduce(data, out, "--seeds", "2") == 0
    assert config.load(str(out / "config.json")).refine.epochs == 3
    assert "seed-1/model" not in names(asked[0])
    assert "seed-1/model" in names(asked[1])


def test_another_config_is_refused_by_the_field_that_differs(data, tmp_path, asked, capsys):
    out = tmp_path / "out"
    reproduce(data, out, "--config", "tiny")
    asked.clear()
    capsys.readouterr()
    assert reproduce(data, out, "--config", "tiny", "--set", "refine.epochs=3") == 2
    assert "another config (refine.epochs: 11 there, 3 asked for)" in one_line(capsys)
    assert not asked


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_other_annotations_are_refused(data, tmp_path, asked, capsys, name):
    out = tmp_path / "out"
    reproduce(data, out, "--config", "tiny")
    capsys.readouterr()
    (data / name).write_text("changed")
    assert reproduce(data, out, "--config", "tiny") == 2
    assert f"was begun with another {data / name}" in one_line(capsys)


def test_ablations_know_the_overrides_of_the_first_run(data, tmp_path, asked):
    out = tmp_path / "out"
    reproduce(data, out, "--config", "tiny", "--set", "refine.epochs=3")
    assert reproduce(data, out, "--ablations") == 0
    design = config.load(str(out / "ablations/design/config.json"))
    assert (design.name, design.refine.epochs) == ("tiny-lite", 3)
    assert names(asked[-1])[-2:] == ["ablations/design/scores/Ours", "report"]
    assert asked[-1][-1].command[-1] == "--ablations"


def test_only_tiny_has_another_design_to_compare(data, tmp_path, asked):
    reproduce(data, tmp_path / "out", "--config", "lite", "--ablations")
    assert "ablations/theta-1/model" in names(asked[0])
    assert "ablations/design/model" not in names(asked[0])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--seeds", "0"), "--seeds 0: expected 1 or more"),
        (("--config", "small"), "small: no such config"),
        (("--set", "refine.epoch=1"), "no config field 'refine.epoch'"),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_nothing(data, tmp_path, capsys, more, said):
    assert reproduce(data, tmp_path / "out", *more) == 2
    assert said in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_data_folder_is_one_line(data, tmp_path, capsys):
    (data / "tags/train.jsonl").unlink()
    assert reproduce(data, tmp_path / "out") == 2
    assert f"{data / 'tags/train.jsonl'}: missing; expected a data folder" in one_line(capsys)


def test_a_folder_of_something_else_is_left_alone(data, tmp_path, asked, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").touch()
    assert reproduce(data, out, "--config", "tiny") == 2
    assert f"{out}: holds thesis.txt" in one_line(capsys)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_file_in_its_place_is_one_line(data, tmp_path, capsys):
    (tmp_path / "out").touch()
    assert reproduce(data, tmp_path / "out") == 2
    assert "expected a folder" in one_line(capsys)


def test_a_model_alone_takes_three_trainings_and_no_test_photo(data, tmp_path, asked):
    model = whole.train(data, tmp_path / "out", "lite", ["seed=4"])
    (steps,) = asked
    assert names(steps) == ["records", "vocabulary", "seed-4/embedding", "seed-4/refine", "seed-4/model"]
    assert model == steps[-1].writes == tmp_path / "out/seed-4/model"
    said = [word for step in steps for word in step.command]
    assert not any("test" in word for word in said if not word.startswith(str(tmp_path)))
    # The reproduction of the same config takes over what is trained.
    assert reproduce(data, tmp_path / "out", "--config", "lite", "--set", "seed=4") == 0
    assert set(names(steps)) < set(names(asked[1]))
