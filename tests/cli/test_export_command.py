"""`cmask export`: one command for all formats, and what belongs to another format is refused by name."""

import subprocess
import sys
from pathlib import Path

import pytest

from cmask_tf import cli

EXPORT = Path(__file__).parents[2] / "export"


@pytest.fixture
def refusal(model, tmp_path, capsys):
    """What a call says that is refused; nothing is written then."""

    def told(*arguments: str) -> str:
        assert cli.main(["export", "--model", str(model), "--out", str(tmp_path / "out"), *arguments]) == 2
        assert not (tmp_path / "out").exists()
        [line] = capsys.readouterr().err.splitlines()
        return line

    return told


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--concepts", "2"], "--concepts belongs to --format tflite, not saved_model"),
        (["--photos", "."], "--photos belongs to --format tflite, not saved_model"),
        (["--format", "onnx", "--photos", "."], "--photos belongs to --format tflite, not onnx"),
        (["--engine-photos", "1", "1", "8"], "--engine-photos belongs to --format onnx, not saved_model"),
        (
            ["--format", "tflite", "--engine-width", "8", "8", "8"],
            "--engine-width belongs to --format onnx, not tflite",
        ),
        (["--variant", "int8"], "--variant int8: --format saved_model has float32 and float16"),
        (["--format", "onnx", "--variant", "dynamic"], "--format onnx has float32 and float16"),
    ],
)
def test_options_of_another_format_are_refused_by_name(refusal, arguments, message):
    assert message in refusal(*arguments)


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_files_come_among_no_others(model, tmp_path, capsys, target):
    (tmp_path / "somebody's").touch()
    start = ["export", "--format", target, "--model", str(model)]
    assert cli.main([*start, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"cmask: error: {tmp_path}: exists; give a directory that is not there yet\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["somebody's"]


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_a_saved_model_is_no_source(tmp_path, capsys, target):
    (tmp_path / "saved_model.pb").touch()
    start = ["export", "--format", target, "--model", str(tmp_path)]
    assert cli.main([*start, "--out", str(tmp_path / "out")]) == 2
    assert "segment_encoded takes strings (names, encoded images)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "script, wrong",
    [("to_tflite", "--engine-width"), ("to_tensorrt", "--concepts"), ("export_saved_model", "--concepts")],
)
def test_the_scripts_are_the_command_with_their_format(tmp_path, script, wrong):
    sizes = ["1", "1", "1"] if wrong.startswith("--engine") else ["1"]
    command = [sys.executable, str(EXPORT / f"{script}.py"), "--out", str(tmp_path / "out"), wrong, *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    known = {"to_tflite": "tflite", "to_tensorrt": "onnx", "export_saved_model": "saved_model"}
    assert done.returncode == 2 and done.stderr.endswith(f", not {known[script]}\n")
