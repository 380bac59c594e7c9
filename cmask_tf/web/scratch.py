"""The folder of everything that visitors send and take away: emptied by age, gone with the process."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from pathlib import Path

KEPT = 3600.0  # seconds that a file stays after it was last written
_EVERY = 300.0  # seconds between two looks


class Scratch:
    """A temporary folder; use it in a `with`.

    Args:
        kept: seconds that a file is kept.

    Attributes:
        path: the folder.
    """

    def __init__(self, kept: float = KEPT):
        self.path = Path(tempfile.mkdtemp(prefix="cmask-web-"))
        self._kept, self._over, self._lasting = kept, threading.Event(), set()

    def __enter__(self) -> Scratch:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        shutil.rmtree(self.path, ignore_errors=True)

    def folder(self) -> Path:
        """A new folder for one visitor's files."""
        return Path(tempfile.mkdtemp(dir=self.path))

    def keep(self) -> None:
        """What lies there now is the page's own and stays."""
        self._lasting = set(self.path.rglob("*"))

    def sweep(self) -> None:
        """Deletes the files that are older, and the folders that have nothing in them any more."""
        oldest = time.time() - self._kept
        for path in sorted(self.path.rglob("*"), reverse=True):  # what is in a folder before the folder
            try:
                if path in self._lasting or path.stat().st_mtime > oldest:
                    continue
                path.rmdir() if path.is_dir() else path.unlink()
            except OSError:  # gone meanwhile, or a folder that is not empty
                continue

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self.sweep()
