"""Files of tagged photos: one photo a line, in JSONL, CSV or TSV, plain or gzipped. All are UTF-8.

    x.jsonl    {"image": "a.jpg", "tags": ["red hat", "beach"]} a line; other keys are passed over
    x.csv      a heading with the columns `image` and `tags`, in any place, others are passed over; without
               a heading the two columns in this order. Tags are parted by ";", and one that holds a ";" is
               quoted inside the cell as CSV quotes a text
    x.tsv      the same with tabs between the columns

A plain JSONL file can be read in parts, so that several processes share it.
"""

from __future__ import annotations

import csv
import glob
import gzip
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import orjson

from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults

SUFFIXES = tuple(suffix + end for suffix in (".jsonl", ".csv", ".tsv") for end in ("", ".gz"))
PART_BYTES = 64 << 20
_EXPECTED = 'expected {"image": path, "tags": [text, ...]}'
_COLUMNS = ["image", "tags"]
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_BETWEEN = ";"

Row = tuple[int, str, list[str]]  # line number, photo and tags as written
_BOM = b"\xef\xbb\xbf"


def tag_files(paths: Iterable[str | Path]) -> list[Path]:
    """The tag files that are meant by names of files, folders of files and globs, each file once.

    Args:
        paths: in the order in which they are to be read; the files of a folder or glob go by name.

    Raises:
        UserError: nothing of that name, a folder without tag files, or a file of another type.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _expand(Path(path)):
            found.setdefault(file.resolve(), check_name(file))
    return list(found.values())


def check_name(path: Path) -> Path:
    """The path, when its name is that of a tag file.

    Raises:
        UserError: it has another ending.
    """
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    return path


def tag_lines(path: str | Path, faults: Faults | None = None) -> Iterator[tuple[str, str, list[str]]]:
    """The photos of one file: ("file:line", the photo as written, its tags as written), in order.

    Args:
        path: the file.
        faults: takes the bad lines, which are left out, and the number of good ones; when None, a bad
            line is an error.

    Raises:
        UserError: the file cannot be read, or a bad line that `faults` does not take.
    """
    for number, image, tags in Part(Path(path)).records(Faults(strict=True) if faults is None else faults):
        yield f"{path}:{number}", image, tags


def parse_json(line: bytes, where: str) -> tuple[str, list[str]]:
    """The photo and the tags, as written, of one line of JSONL.

    Raises:
        BadRecord: it is not such a line; `where` tells which.
    """
    try:
        return _parse(line)
    except _Fault as fault:
        raise BadRecord(fault.reason, where, fault.detail) from None


def parts(files: Iterable[Path], size: int = PART_BYTES) -> list[Part]:
    """The files in parts of about `size` bytes; gzip, CSV and TSV files in one part each."""
    found = []
    for file in files:
        end = length(file)
        step = size if file.name.endswith(".jsonl") else max(end, 1)
        found += [Part(file, start, min(start + step, end)) for start in range(0, end, step)]
    return found


@dataclass(frozen=True)
class Part:
    """The lines of a file that start at the bytes from `start` to `stop` (None: to its end)."""

    path: Path
    start: int = 0
    stop: int | None = None

    @property
    def bytes(self) -> int:
        """Size, for progress."""
        return (length(self.path) if self.stop is None else self.stop) - self.start

    def records(self, faults: Faults) -> Iterator[Row]:
        """The good rows; the bad ones are skipped, and both are counted.

        Raises:
            UserError: as for `rows`; or from `faults`.
        """
        good = 0
        for row in self.rows():
            if isinstance(row, BadRecord):
                faults.read(good)
                good = 0
                faults.skip(row)
            else:
                good += 1
                yield row
        faults.read(good)

    def rows(self) -> Iterator[Row | BadRecord]:
        """Each photo, or what is bad about its line; line numbers are the file's when the part is its first.

        Raises:
            UserError: the file cannot be read, or its heading lacks a column.
        """
        delimiter = _DELIMITERS.get(Path(self.path.name.removesuffix(".gz")).suffix)
        try:
            yield from self._columns(delimiter) if delimiter else self._json_lines()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{self.path}: broken gzip file ({error})") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _json_lines(self) -> Iterator[Row | BadRecord]:
        for number, line in enumerate(self.lines(), 1):
            if not line.strip():
                continue
            try:
                yield number, *_parse(line)
            except _Fault as fault:
                yield BadRecord(fault.reason, f"{self.path}:{number + self._lines_before}", fault.detail)

    def lines(self) -> Iterator[bytes]:
        """As they are in the file, line ends included; without a byte order mark."""
        with _open(self.path) as file:
            if self.start > 0:
                file.seek(self.start - 1)
                at = self.start - 1 + len(file.readline())
            else:
                at = 0
            for line in file:
                if self.stop is not None and at >= self.stop:
                    return
                yield line.removeprefix(_BOM) if at == 0 else line
                at += len(line)

    @cached_property
    def _lines_before(self) -> int:
        """Lines that start before the part; counted only when a fault has to be located."""
        if self.start == 0:
            return 0
        with _open(self.path) as file:
            whole, rest = divmod(self.start - 1, 1 << 20)
            lines = sum(file.read(1 << 20).count(b"\n") for _ in range(whole)) + file.read(rest).count(b"\n")
            return lines + 1 if file.readline() else lines

    def _columns(self, delimiter: str) -> Iterator[Row | BadRecord]:
        # What is not UTF-8 is told by the row that holds it.
        texts = (line.decode("utf-8", "surrogateescape") for line in self.lines())
        lines, head = _Lines(texts), None
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            number = lines.begin()
            try:
                row = next(rows, None)
                if row is None:
                    return
                if head is None and row:
                    head = _head(row, self.path)
                    if head is not _COLUMNS:
                        continue
                if row:
                    yield number, *_cells(row, head, delimiter)
            except csv.Error as error:
                lines.give_back()
                yield BadRecord("not a row of CSV", f"{self.path}:{number}", str(error))
            except _Fault as fault:
                lines.give_back()
                yield BadRecord(fault.reason, f"{self.path}:{number}", fault.detail)


class _Lines(Iterator[str]):
    """Lines; a bad row gives back all but its first: a quote that is not closed takes others with it."""

    def __init__(self, lines: Iterator[str]):
        self._lines, self._again, self._taken, self._number = lines, deque(), [], 0

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append(line)
        self._number += 1
        return line

    def begin(self) -> int:
        """The number of the line that a row begins with, from 1."""
        self._taken.clear()
        return self._number + 1

    def give_back(self) -> None:
        """The row's lines but the first come again."""
        self._again.extendleft(reversed(self._taken[1:]))
        self._number -= len(self._taken[1:])


class _Fault(Exception):
    def __init__(self, reason: str, detail: str = ""):
        self.reason, self.detail = reason, detail


def _parse(line: bytes) -> tuple[str, list[str]]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _Fault("not JSON", str(error)) from None
    try:
        image, tags = record["image"], record["tags"]
    except (TypeError, KeyError):
        raise _Fault(_EXPECTED, f"{line[:80]!r}") from None
    # The join is the quick way to see that all tags are texts.
    try:
        "".join(tags)
    except TypeError:
        raise _Fault(_EXPECTED, f"{line[:80]!r}") from None
    if not isinstance(image, str) or not isinstance(tags, list):
        raise _Fault(_EXPECTED, f"{line[:80]!r}")
    return image, tags


def _head(row: list[str], path: Path) -> list[str]:
    """The columns that a file's first row names; `_COLUMNS` itself when it is a photo's."""
    head = [name.strip().lower() for name in row]
    named = [head.count(column) for column in _COLUMNS]
    if named == [0, 0]:
        return _COLUMNS
    if named != [1, 1]:
        raise UserError(f"{path}:1: expected a heading with the columns image and tags, not {row!r:.120}")
    return head


def _cells(row: list[str], head: list[str], delimiter: str) -> tuple[str, list[str]]:
    if len(row) != len(head):
        found = f"not {len(row)}; a text with a {delimiter!r} is quoted"
        raise _Fault(f"expected {len(head)} columns", found)
    image, cell = (row[head.index(column)].strip() for column in _COLUMNS)
    if "\n" in image + cell:
        raise _Fault("a quote that is not closed")
    try:
        (image + cell).encode()
    except UnicodeEncodeError as error:
        raise _Fault("text that is not UTF-8", error.reason) from None
    if not image:
        raise _Fault("expected a path in the column image")
    try:
        tags = next(csv.reader([cell], delimiter=_BETWEEN, skipinitialspace=True), [])
    except csv.Error as error:
        raise _Fault(f"tags are parted by {_BETWEEN!r} and quoted as in CSV", str(error)) from None
    return image, [tag.strip() for tag in tags if tag.strip()]


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(SUFFIXES))
        if not files:
            raise UserError(f"{path}: no file in this folder ends in {', '.join(SUFFIXES)}")
        return files
    if path.exists():
        return [path]
    files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
    if not files:
        raise UserError(f"{path}: no such file, folder or glob")
    return [file for found in files for file in _expand(found)]


def _open(path: Path):
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb", buffering=1 << 20)


def length(path: Path) -> int:
    """Bytes of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
