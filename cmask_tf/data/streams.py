"""Large files read record by record: JSON by ijson, CSV by the standard library, either also as .gz.

Memory is a buffer and one record, whatever the size of the file. A bar shows the share of the bytes that
was read. What is no JSON or CSV at all is an error of the file, told in one line; what a record holds is
its reader's affair. NaN and Infinity are not JSON, though Python writes them: such a file is refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import ijson
from tqdm import tqdm

from cmask_tf.errors import UserError

_BUFFER = 1 << 18
_BOM = b"\xef\xbb\xbf"


def json_entries(path: Path, key: str | None = None, what: str = "an object") -> Iterator[object]:
    """The entries of one long list in a JSON file, in the file's order, 20 to 40 MB of the file a second.

    Args:
        path: the file.
        key: of the list in the outermost object; None: the outermost value is the list itself, or an object
            whose values are the entries.
        what: words for the outermost object, for the error.

    Raises:
        UserError: no such file, not JSON, or no such list.
    """
    empty = True
    with _opened(path) as file, _told_as_json(path):
        if key is not None:
            entries = ijson.items(file, f"{key}.item", use_float=True, buf_size=_BUFFER)
        elif _first_byte(file) == b"{":
            entries = (value for _, value in ijson.kvitems(file, "", use_float=True, buf_size=_BUFFER))
        else:
            entries = ijson.items(file, "item", use_float=True, buf_size=_BUFFER)
        for entry in entries:
            empty = False
            yield entry
    if empty:
        _expect_list(path, key, what)


def holds_a_list(path: Path) -> bool:
    """Whether the outermost value of a JSON file is a list, by its first byte.

    Raises:
        UserError: no such file.
    """
    with _opened(path) as file:
        return _first_byte(file) == b"["


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of every line with anything in it, the heading too.

    A row is a line: a quote that is not closed does not swallow the rows behind it. Bytes that are not UTF-8
    come as lone surrogates, so that one bad line does not end the file.

    Raises:
        UserError: no such file, or not CSV.
    """
    with _opened(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        for number, line in enumerate(text, 1):
            try:
                row = csv_fields(line)
            except csv.Error as error:
                raise UserError(f"{path}:{number}: not a CSV file ({error})") from None
            if row:
                yield number, row


def csv_fields(line: str) -> list[str]:
    """The fields of a line of CSV, none of an empty one; a quote that is not closed keeps the line's end."""
    bare = line.rstrip("\r\n")
    if '"' in bare or "\r" in bare:
        return next(csv.reader((line,)))
    return bare.split(",") if bare else []


class _Counted(io.RawIOBase):
    """A file that moves a bar along while it is read."""

    def __init__(self, file: io.FileIO, bar: tqdm):
        self._file, self._bar = file, bar

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = self._file.readinto(buffer)
        self._bar.update(count)
        return count


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked and without a byte order mark. Errors while it is read are told too."""
    path = Path(path)
    try:
        with (
            path.open("rb", buffering=0) as raw,
            tqdm(
                total=path.stat().st_size, desc=f"reading {path.name}", unit="B", unit_scale=True, delay=2
            ) as bar,
        ):
            file = io.BufferedReader(_Counted(raw, bar), _BUFFER)
            if path.suffix == ".gz":
                file = io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER)
            if file.peek(3)[:3] == _BOM:
                file.read(3)
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


@contextmanager
def _told_as_json(path: Path) -> Iterator[None]:
    try:
        yield
    except (
        ijson.JSONError,
        ValueError,
    ) as error:  # ValueError: bytes that are not UTF-8, integers over 64 bits
        raise UserError(f"{path}: not JSON ({' '.join(str(error).split())[:200]})") from None


def _first_byte(file: BinaryIO) -> bytes:
    """The first byte that is not white space, left in place."""
    return file.peek(_BUFFER).lstrip()[:1]


def _expect_list(path: Path, key: str | None, what: str) -> None:
    """Tells an empty list from none."""
    with _opened(path) as file, _told_as_json(path):
        for prefix, event, _ in ijson.parse(file, buf_size=_BUFFER):
            if prefix == (key or "") and event == "start_array" or (key is None and event == "start_map"):
                return
            if key is not None and prefix == "" and event not in ("start_map", "map_key", "end_map"):
                raise UserError(f"{path}: expected {what} with a list {key!r}")
    raise UserError(f"{path}: expected " + (f"a list {key!r} of objects" if key else "a list of records"))
