"""Runs the steps of a plan, one process each; what is done is not done again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cmask_tf.data.claim import GO_ON, write_json
from cmask_tf.errors import UserError
from cmask_tf.reproduce.plan import Step
from cmask_tf.reproduce.progress import Progress, last_line

TIMES = "times.json"  # in OUT/logs: {step: seconds}, interrupted attempts included
_LOOK = 0.5  # seconds between two looks at a log
_BAR = "5"  # seconds between two states of a progress bar in a log


class StepFailed(UserError):
    """A step ended with an error; its exit code is ours."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


@contextlib.contextmanager
def alone(out: Path) -> Iterator[int]:
    """Keeps other runs off OUT while this one, or a command that it started, is alive.

    Yields:
        a file descriptor that holds the lock; commands inherit it.

    Raises:
        UserError: another run works there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: expected a folder ({error.strerror})") from None
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(f"{out}: another run, or a command that one left, works on it") from None
    try:
        yield handle
    finally:
        os.close(handle)


def run(steps: Sequence[Step], out: Path, lock: int, progress: Progress) -> None:
    """Runs every step whose result is not there, in order.

    Args:
        steps: from `plan`.
        out: OUT; logs and times go to OUT/logs.
        lock: what `alone` yields.
        progress: the view.

    Raises:
        StepFailed: names the step, the last line it printed and its log.
        UserError: a step succeeded and its result is not there, or what it reads is missing.
        KeyboardInterrupt: says how to go on.
    """
    for step in steps:
        if step.writes.exists() and not step.always:
            progress.skip()
            continue
        missing = [path for path in step.reads if not path.exists()]
        if missing:
            raise UserError(f"step {step.name}: {missing[0]} is missing; expected it from an earlier step")
        _run(step, out / "logs", lock, progress)


def read_times(out: Path) -> dict[str, float]:
    """Seconds that each step took, all its attempts together; empty when none ran."""
    file = out / "logs" / TIMES
    return json.loads(file.read_text()) if file.is_file() else {}


def log_of(step: Step, logs: Path) -> Path:
    """Where a step's output goes."""
    return logs / (step.name.replace("/", "-") + ".log")


def _run(step: Step, logs: Path, lock: int, progress: Progress) -> None:
    log = log_of(step, logs)
    logs.mkdir(exist_ok=True)
    progress.begin(step.name)
    outcome = "interrupted"
    try:
        code = _process(step, log, lock, progress)
        outcome = "done" if code == 0 else "failed"
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"step {step.name} is not finished; {GO_ON}") from None
    finally:
        _add_time(step.name, progress.end(outcome), logs.parent)
    if code:
        said = last_line(log).removeprefix("cmask: error: ") or "it said nothing"
        how = f"was killed by signal {-code}" if code < 0 else "failed"
        raise StepFailed(f"step {step.name} {how}: {said} (log: {log})", max(code, 2))
    if not step.writes.exists():
        raise UserError(f"step {step.name}: {step.writes} was not written (log: {log})")


def _process(step: Step, log: Path, lock: int, progress: Progress) -> int:
    with log.open("ab") as file:
        file.write(f"$ python -m {' '.join(step.command)}\n".encode())
        file.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", *step.command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={"TQDM_MININTERVAL": _BAR, "PYTHONUNBUFFERED": "1", **os.environ},
            pass_fds=(lock,),
        )
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(_LOOK)
                progress.update(log)
        finally:
            process.terminate()  # an interrupt may have reached this process alone
            process.wait()


def _add_time(name: str, seconds: float, out: Path) -> None:
    times = read_times(out)
    times[name] = times.get(name, 0.0) + seconds
    write_json(out / "logs" / TIMES, times, indent=1)
