"""What a person sees of a reproduction: which step of how many, what it says of itself, how long it took.

On a terminal one running line, and one line of each step that ended; elsewhere plain lines alone. What the
commands print is in their logs.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

_TAIL = 4096  # bytes of a log in which its last line is looked for


class Progress:
    """The view of one run, on stderr by default."""

    def __init__(self, total: int, file: IO | None = None, clock: Callable[[], float] = time.monotonic):
        """Args:
        total: number of steps, those that are done already included.
        file: where the lines go.
        clock: seconds.
        """
        self._total, self._file, self._clock = total, file or sys.stderr, clock
        self._running = self._file.isatty()
        self._place, self._name, self._began = 0, "", 0.0

    def skip(self) -> None:
        """Counts a step that is done already."""
        self._place += 1

    def begin(self, name: str) -> None:
        """A step starts."""
        self._place += 1
        self._name, self._began = name, self._clock()
        if not self._running:
            self._line(f"{self._where()} {name} ...")

    def update(self, log: Path) -> None:
        """Shows the last line of the step's log, where a line can be overwritten."""
        if self._running:
            text = f"{self._where()} {self._name}  {duration(self.seconds)}  {last_line(log)}"
            self._file.write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
            self._file.flush()

    def end(self, outcome: str = "done") -> float:
        """The step ended; the seconds it took."""
        seconds = self.seconds
        if self._running:
            self._file.write("\r\x1b[K")
        self._line(f"{self._where()} {self._name} {outcome} in {duration(seconds)}")
        return seconds

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    def _where(self) -> str:
        return f"[{self._place:{len(str(self._total))}}/{self._total}]"

    def _line(self, text: str) -> None:
        self._file.write(text + "\n")
        self._file.flush()


def duration(seconds: float) -> str:
    """ "7 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def last_line(log: Path) -> str:
    """The last line of a log that says anything; a progress bar's states count as lines."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    said = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return said[-1] if said else ""
