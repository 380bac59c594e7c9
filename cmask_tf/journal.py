"""Which photos of a large folder are finished, and what was found in them: JSON lines, a photo each.

A run that was interrupted leaves the journal beside its outputs; the same command takes it up. What was found
is read from the file again whenever it is needed, so that memory does not grow with the photos.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from cmask_tf.errors import UserError
from cmask_tf.locks import lock
from cmask_tf.photo_files import stamp

NAME = "segment.jsonl"


class Journal:
    """The finished photos of one command.

    Args:
        path: the file; made with the first finished photo. None: a temporary one, which nobody takes up.
        settings: plain values that decide what the outputs are.

    Raises:
        UserError: the file is of other settings, or another process is writing it.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, object]):
        self._path, self._settings = path, json.dumps(settings, sort_keys=True)
        self._file: IO[bytes] | None = None
        self._places: dict[str, tuple[int, list[int]]] = {}
        if path is not None and path.is_file():
            self._file = self._open()
            self._read()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def holds(self, photo: Path) -> bool:
        """Whether this very photo, by name, size and time of change, is finished."""
        return str(photo) in self._places and self._places[str(photo)][1] == stamp(photo)

    def read(self, photo: Path) -> dict:
        """What `add` was given for a photo that is finished."""
        assert self._file is not None
        self._file.seek(self._places[str(photo)][0])
        return json.loads(self._file.readline())

    def add(self, photo: Path, seen: Sequence[int], height: int, width: int, rows: Sequence[dict]) -> None:
        """Writes down that a photo is finished: its files are in their places.

        Args:
            photo: as on the command line.
            seen: its `stamp` before it was read.
            height: of the photo in pixels.
            width: of the photo in pixels.
            rows: of `outputs.write`.
        """
        if self._file is None:
            self._file = self._open()
            self._append({"settings": self._settings})
        entry = {"image": str(photo), "stamp": list(seen), "height": height, "width": width, "rows": rows}
        self._places[str(photo)] = (self._append(entry), list(seen))

    def _open(self) -> IO[bytes]:
        if self._path is None:
            return tempfile.TemporaryFile()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = self._path.open("a+b")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error.strerror or error}") from None
        if not lock(file.fileno()):
            file.close()
            raise UserError(f"{self._path.parent}: another process is writing to it")
        return file

    def _read(self) -> None:
        assert self._file is not None and self._path is not None
        self._file.seek(0)
        place = 0
        for number, line in enumerate(self._file):
            entry = _entry(line)
            if entry is None:  # the last line of a run that was killed while it wrote
                break
            if number == 0 and entry.get("settings") != self._settings:
                raise UserError(
                    f"{self._path.parent}: holds the outputs of another model, other concepts or another"
                    " format; give another --out"
                )
            if number:
                self._places[entry["image"]] = (place, entry["stamp"])
            place += len(line)
        self._file.truncate(place)
        if not place:
            self._append({"settings": self._settings})

    def _append(self, entry: Mapping[str, object]) -> int:
        """Writes a line; returns where it begins."""
        assert self._file is not None
        try:
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written: {error.strerror or error}") from None
        return place


def _entry(line: bytes) -> dict | None:
    try:
        entry = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
