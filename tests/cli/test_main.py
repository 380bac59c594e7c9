"""The `cmask` command as a whole: help without heavy imports, one line and exit code 2 for wrong input."""

import errno
import os
import subprocess
import sys
from importlib import metadata

import pytest

from cmask_tf import cli
from cmask_tf.errors import UserError

HEAVY = ("tensorflow", "keras", "cv2", "scipy", "sklearn", "matplotlib", "PIL", "inflect")


def imported_by(*arguments: str) -> tuple[int, str, set[str]]:
    """Runs the command in a fresh process: its exit code, its stderr, and which heavy modules it imported."""
    code = (
        "import sys\n"
        "from cmask_tf.cli import main\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as error: code = error.code\n"
        f"print('\\n' + ' '.join(m for m in {HEAVY} if m in sys.modules))\n"
        "sys.exit(code)\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=os.getcwd())
    return done.returncode, done.stderr, set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["segment", "--help"], ["export", "--help"], ["serve", "--help"]]
)
def test_help_imports_nothing_heavy(arguments):
    code, _, heavy = imported_by(*arguments)
    assert code == 0
    assert heavy == set()


def test_a_missing_image_is_told_without_tensorflow(tmp_path, model):
    code, stderr, heavy = imported_by("segment", str(tmp_path / "no.jpg"), "--model", str(model))
    assert code == 2
    assert stderr == f"cmask: error: {tmp_path / 'no.jpg'}: no such image\n"
    assert "tensorflow" not in heavy


def test_an_unknown_concept_is_told_without_tensorflow(tmp_path, model, jpeg):
    code, stderr, heavy = imported_by("segment", str(jpeg), "--concept", "drss", "--model", str(model))
    assert code == 2
    # A progress bar may stand before it: the first unknown word waits for the table of spellings.
    assert stderr.splitlines()[-1].startswith(
        "cmask: error: unknown concept 'drss'; the nearest names are: dress"
    )
    assert "Traceback" not in stderr
    assert "tensorflow" not in heavy


def test_concepts_need_no_tensorflow(model):
    code, _, heavy = imported_by("concepts", "--model", str(model), "--nearest", "dress")
    assert code == 0
    assert "tensorflow" not in heavy


@pytest.mark.parametrize("arguments", [[], ["segmnt"], ["segment"], ["evaluate", "--model", "x"], ["train"]])
def test_wrong_arguments_are_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "error:" in error


def test_an_interrupt_is_exit_code_130(monkeypatch, capsys):
    from cmask_tf.cli import concepts

    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(concepts, "run", interrupt)
    assert cli.main(["concepts"]) == 130


def test_train_hands_its_arguments_to_the_stage(monkeypatch):
    from cmask_tf.training import arguments

    calls = []
    monkeypatch.setattr(arguments, "run", lambda stage, args: calls.append((stage, args.out.name)))
    assert cli.main(["train", "refine", "--data", "records", "--from", "one", "--out", "two"]) == 0
    assert calls == [("refine", "two")]


def test_an_error_of_a_stage_is_one_line(monkeypatch, capsys):
    from cmask_tf.training import arguments

    def fail(stage, args):
        raise UserError("step 3: the loss is not finite")

    monkeypatch.setattr(arguments, "run", fail)
    assert cli.main(["train", "embedding", "--data", "r", "--vocabulary", "v", "--out", "o"]) == 2
    assert capsys.readouterr().err == "cmask: error: step 3: the loss is not finite\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ModuleNotFoundError("No module named 'grpc.aio'", name="grpc.aio"),
            "this command needs grpc, which is not installed: pip install 'cmask-tf[serve]'",
        ),
        (
            ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow"),
            "this command needs tensorflow, which is not installed: pip install 'cmask-tf'",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/srv/masks"), "/srv/masks: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    ],
)
def test_what_a_person_has_to_put_right_is_one_line(monkeypatch, capsys, error, line):
    from cmask_tf.cli import concepts

    def fail(args):
        raise error

    monkeypatch.setattr(concepts, "run", fail)
    assert cli.main(["concepts"]) == 2
    assert capsys.readouterr().err == f"cmask: error: {line}\n"


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("x", name="cmask_tf.typo"), OSError(errno.EBADF, "Bad file descriptor")]
)
def test_a_mistake_in_the_program_keeps_its_traceback(monkeypatch, error):
    from cmask_tf.cli import concepts

    def fail(args):
        raise error

    monkeypatch.setattr(concepts, "run", fail)
    with pytest.raises(type(error)):
        cli.main(["concepts"])


def test_the_version_is_the_installed_one():
    import cmask_tf

    assert cmask_tf.__version__ == metadata.version("cmask-tf")
