"""Running steps: once each, in order, resumable, and one line for what goes wrong."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from cmask_tf.errors import UserError
from cmask_tf.reproduce import run
from cmask_tf.reproduce.plan import Step
from cmask_tf.reproduce.progress import Progress, duration, last_line

# A step's module: appends its name to order.txt, writes its result; what it prints goes to its log.
TOOL = """
import os, pathlib, signal, sys
name, result, how = sys.argv[1:]
with open("order.txt", "a") as file:
    file.write(name + "\\n")
print("working", flush=True)
if how == "fail":
    sys.exit("cmask: error: no such photo")
if how == "lost":
    print("the other host is gone"); sys.exit(75)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how != "nothing":
    pathlib.Path(result).touch()
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "steptool.py").write_text(TOOL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "_LOOK", 0.05)
    return tmp_path


def steps(place, **how: str) -> list[Step]:
    made, before = [], ()
    for name, behaviour in how.items():
        result = place / f"{name}.done"
        made.append(Step(f"seed-0/{name}", ("steptool", name, str(result), behaviour), before, result))
        before = (result,)
    return made


def go(place, todo: list[Step]) -> str:
    told = io.StringIO()
    with run.alone(place / "out") as lock:
        run.run(todo, place / "out", lock, Progress(len(todo), told))
    return told.getvalue()


def order(place) -> list[str]:
    return (place / "order.txt").read_text().split()


def test_steps_run_in_order_and_what_is_done_is_not_repeated(place):
    todo = steps(place, one="", two="", three="")
    go(place, todo)
    assert order(place) == ["one", "two", "three"]
    (place / "two.done").unlink()
    told = go(place, todo)
    assert order(place) == ["one", "two", "three", "two"]
    assert told.splitlines()[0] == "[2/3] seed-0/two ..."
    assert told.splitlines()[1].startswith("[2/3] seed-0/two done in ")
    assert len(told.splitlines()) == 2


def test_a_step_may_be_repeated_always(place):
    todo = [replace(step, always=True) for step in steps(place, one="")]
    go(place, todo)
    go(place, todo)
    assert order(place) == ["one", "one"]


def test_a_step_that_fails_is_one_line_that_names_it_and_its_log(place):
    todo = steps(place, one="", two="fail", three="")
    with pytest.raises(UserError) as stop:
        go(place, todo)
    log = place / "out/logs/seed-0-two.log"
    assert str(stop.value) == f"step seed-0/two failed: no such photo (log: {log})"
    assert stop.value.exit_code == 2
    assert order(place) == ["one", "two"]
    assert "working" in log.read_text()


def test_the_exit_code_is_the_steps(place):
    with pytest.raises(UserError, match="the other host is gone") as stop:
        go(place, steps(place, one="lost"))
    assert stop.value.exit_code == 75


def test_a_step_that_was_killed_goes_on_with_the_next_run(place):
    with pytest.raises(UserError, match="step seed-0/two was killed by signal 9") as stop:
        go(place, steps(place, one="", two="killed"))
    assert stop.value.exit_code == 2
    go(place, steps(place, one="", two=""))
    assert order(place) == ["one", "two", "two"]
    assert set(run.read_times(place / "out")) == {"seed-0/one", "seed-0/two"}
    assert (place / "out/logs/seed-0-two.log").read_text().count("$ python -m steptool two") == 2


def test_a_step_that_leaves_no_result_is_an_error(place):
    with pytest.raises(UserError, match=r"step seed-0/one: .*one.done was not written"):
        go(place, steps(place, one="nothing"))


def test_a_step_whose_input_was_taken_away_is_an_error_before_it_starts(place):
    todo = steps(place, one="", two="")
    with pytest.raises(UserError, match=r"step seed-0/two: .*one.done is missing"):
        go(place, todo[1:])
    assert not (place / "order.txt").exists()


def test_a_second_run_is_kept_off(place):
    with run.alone(place / "out"), pytest.raises(UserError, match="another run"):
        go(place, [])


def test_an_interrupt_ends_the_running_command(place, monkeypatch):
    (place / "steptool.py").write_text(
        "import pathlib, time\npathlib.Path('began').touch()\ntime.sleep(60)\npathlib.Path('ended').touch()\n"
    )

    class Interrupted(Progress):
        def update(self, log):
            if (place / "began").exists():
                raise KeyboardInterrupt

    todo = steps(place, one="")
    with run.alone(place / "out") as lock, pytest.raises(KeyboardInterrupt):
        run.run(todo, place / "out", lock, Interrupted(1, io.StringIO()))
    with run.alone(place / "out"):  # the command holds the lock while it lives
        assert not (place / "ended").exists()


def test_a_command_that_a_killed_run_left_keeps_the_next_one_off(place):
    (place / "steptool.py").write_text(
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = (
        "import pathlib, sys\nfrom cmask_tf.reproduce import plan, progress, run\n"
        "out = pathlib.Path('out')\nstep = plan.Step('one', ('steptool',), (), out / 'one')\n"
        "with run.alone(out) as lock:\n    run.run([step], out, lock, progress.Progress(1))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not ((place / "pid").exists() and (place / "pid").read_text()):
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    try:
        with pytest.raises(UserError, match="or a command that one left"), run.alone(place / "out"):
            pass
    finally:
        os.kill(int((place / "pid").read_text()), signal.SIGKILL)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_running_line_with_the_logs_last(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    log, seconds, told = tmp_path / "a.log", iter([0.0, 65.0, 70.0]), Terminal()
    log.write_bytes(b"reading\nepoch 1/3  10%\repoch 2/3  40%\r\n\n")
    view = Progress(12, told, lambda: next(seconds))
    view.skip()
    view.begin("seed-0/refine")
    view.update(log)
    assert told.getvalue() == "\r\x1b[K[ 2/12] seed-0/refine  1 min 05 s  epoch 2/3  40%"
    view.end()
    assert told.getvalue().endswith("\r\x1b[K[ 2/12] seed-0/refine done in 1 min 10 s\n")


def test_elsewhere_there_are_plain_lines_alone(tmp_path):
    told = io.StringIO()
    view = Progress(1, told, lambda: 0.0)
    view.begin("records")
    view.update(tmp_path / "no.log")
    view.end("failed")
    assert told.getvalue() == "[1/1] records ...\n[1/1] records failed in 0 s\n"


def test_durations_and_last_lines_are_readable(tmp_path):
    assert [duration(s) for s in (7.4, 60, 3599, 3660)] == ["7 s", "1 min 00 s", "59 min 59 s", "1 h 01 min"]
    assert last_line(tmp_path / "none.log") == ""
    (tmp_path / "long.log").write_text("x" * 9000 + "\nlast")
    assert last_line(tmp_path / "long.log") == "last"


def test_steps_run_under_this_python(place):
    (place / "steptool.py").write_text(
        "import pathlib, sys\npathlib.Path(sys.argv[2]).write_text(sys.executable)"
    )
    go(place, steps(place, one=""))
    assert (place / "one.done").read_text() == sys.executable
