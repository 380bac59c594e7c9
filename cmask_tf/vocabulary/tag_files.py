"""Files of tagged photos: one photo a line, in JSONL, CSV or TSV, plain or gzipped.

JSONL: {"image": "a.jpg", "tags": ["red hat", "beach"]}. CSV and TSV: the photo, then all its tags in
one column, with ",", ";" or "|" between them (a CSV field that holds commas is quoted, as always; a tag
that holds one of the three needs JSONL); a first line "image,tags" or the like is a heading. All are
UTF-8. A plain JSONL file can be read in parts, so that several processes share it.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import re
import zlib
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
            if not file.name.endswith(SUFFIXES):
                raise UserError(f"{file}: expected a name that ends in {', '.join(SUFFIXES)}")
            found.setdefault(file.resolve(), file)
    return list(found.values())


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

    def records(self, faults: Faults) -> Iterator[tuple[int, str, list[str]]]:
        """Each photo as (line number in the file when the part is the file's first, photo, tags).

        Args:
            faults: takes the bad lines.

        Raises:
            UserError: the file cannot be read; or from `faults`.
        """
        rows = self._json_lines(faults) if ".jsonl" in self.path.suffixes else self._columns(faults)
        try:
            yield from rows
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{self.path}: broken gzip file ({error})") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _json_lines(self, faults: Faults) -> Iterator[tuple[int, str, list[str]]]:
        good = 0
        for number, line in enumerate(self.lines(), 1):
            if not line.strip():
                continue
            try:
                record = _parse(line)
            except _Fault as fault:
                faults.read(good)
                good = 0
                where = f"{self.path}:{number + self._lines_before}"
                faults.skip(BadRecord(fault.reason, where, fault.detail))
                continue
            good += 1
            yield number, *record
        faults.read(good)

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

    def _columns(self, faults: Faults) -> Iterator[tuple[int, str, list[str]]]:
        comma = "\t" if ".tsv" in self.path.suffixes else ","
        quoting = csv.QUOTE_NONE if comma == "\t" else csv.QUOTE_MINIMAL
        with _open(self.path) as raw, io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="") as file:
            rows = csv.reader(file, delimiter=comma, quoting=quoting)
            while True:
                try:
                    row = next(rows)
                except StopIteration:
                    return
                except csv.Error as error:
                    faults.skip(BadRecord("not CSV", f"{self.path}:{rows.line_num}", str(error)))
                    continue
                if not row or (rows.line_num == 1 and row[-1].strip().lower() == "tags"):
                    continue
                if len(row) != 2 or not row[0].strip() or "\ufffd" in row[0] + row[1]:
                    where = f"{self.path}:{rows.line_num}"
                    faults.skip(
                        BadRecord("expected two columns, photo and tags, in UTF-8", where, f"{row}"[:80])
                    )
                    continue
                faults.read()
                yield rows.line_num, row[0].strip(), [t for t in re.split("[,;|]", row[1]) if t.strip()]


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
        raise _Fault(_EXPECTED) from None
    # The join is the quick way to see that all tags are texts.
    try:
        "".join(tags)
    except TypeError:
        raise _Fault(_EXPECTED) from None
    if not isinstance(image, str) or not isinstance(tags, list):
        raise _Fault(_EXPECTED)
    return image, tags


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
