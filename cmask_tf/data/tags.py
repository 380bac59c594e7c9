"""Photos with tags and nothing else (Stock-18K, paper section 3), from a file of lines or from class folders.

    x.jsonl    {"image": "images/train/x.jpg", "tags": ["red hat", "beach"]} a line
    x.csv      a heading with the columns `image` and `tags`, others are passed over; tags are parted
               by ";", and one that holds a ";" is quoted as CSV quotes a text
    x.tsv      the same with tabs between the columns
    a folder   the folders that a photo lies in are its tags: beach/red hat/x.jpg has two

Files may be compressed (.gz). A file is read once, line by line; empty tags and repeats are dropped.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from cmask_tf.data.sources import PHOTOS, Annotations, PhotoFinder
from cmask_tf.data.spool import Spool
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.text import fold

_COLUMNS = ("image", "tags")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_BETWEEN = ";"
_FORM = 'expected {"image": path, "tags": [text, ...]}'


class TagLine(NamedTuple):
    """One photo's tags.

    Attributes:
        where: file and line, for errors.
        image: the photo's path as given.
        tags: each once, in the line's order.
    """

    where: str
    image: str
    tags: tuple[str, ...]


def read_tags(tags: Path, images: Path, work: Path, faults: Faults, folded: bool = True) -> Annotations:
    """The photos of a tag file, or of class folders, in the file's order or by name.

    The photo's `source_id` is its path below `images`, without the suffix. A photo without tags is kept; a
    second line for a photo is left out.

    Args:
        tags: JSONL, CSV or TSV, also .gz; or `images` itself, for class folders.
        images: the folder that the lines' paths start from, or any of the folders that they name.
        work: the conversion's folder.
        faults: counts the lines.
        folded: reduce tags to one spelling (`vocabulary.text.fold`); else only the white space around them
            goes.

    Raises:
        UserError: no such file or folder, a file of another form, or too many bad lines.
    """
    spool = Spool(Path(work) / "spool.sqlite")
    if not spool.complete:
        fill_tags(spool, tags, images, faults, folded)
        spool.finish(faults)
    return spool.annotations(faults)


def fill_tags(spool: Spool, tags: Path, images: Path, faults: Faults, folded: bool = True) -> None:
    """Adds photos and tags to a spool; see `read_tags`."""
    finder = checked_finder(tags, images)
    for line in tag_lines(tags, faults, folded):
        try:
            fill_line(spool, line, finder, faults)
        except BadRecord as bad:
            faults.skip(bad)


def checked_finder(tags: Path, images: Path) -> PhotoFinder:
    """Finds the photos that `tags` names.

    Raises:
        UserError: no such folder of photos, or class folders that are not it.
    """
    tags, finder = Path(tags), PhotoFinder(images)
    if tags.is_dir() and not tags.samefile(finder.images):
        raise UserError(f"{tags}: class folders are the folders of photos; expected --images {tags}")
    return finder


def fill_line(spool: Spool, line: TagLine, finder: PhotoFinder, faults: Faults) -> None:
    """Adds a photo and its tags to a spool.

    Raises:
        BadRecord: the photo is not there.
    """
    path = finder.find(line.image, line.where)
    faults.read()
    if spool.has_photo(path) is not None:
        faults.leave_out("second line for a photo", f"{line.where}: {line.image}")
        return
    photo = spool.photo(path, path.relative_to(finder.images).with_suffix("").as_posix())
    for tag in line.tags:
        spool.add_tag(photo, tag)


def tag_lines(tags: Path, faults: Faults, folded: bool = True) -> Iterator[TagLine]:
    """The good lines of a tag file, or the photos of class folders; the bad ones are skipped.

    Raises:
        UserError: no such file, one of another form, or too many bad lines.
    """
    tags = Path(tags)
    name = tags.with_suffix("") if tags.suffix == ".gz" else tags
    if tags.is_dir():
        lines = _from_folders(tags, faults)
    elif name.suffix in _DELIMITERS:
        lines = _from_table(tags, _DELIMITERS[name.suffix])
    else:
        lines = _from_json(tags)
    for where, parse, value in tqdm(lines, desc=f"reading {tags.name}", unit="photo", delay=2):
        try:
            yield TagLine(where, *parse(value, where, folded))
        except BadRecord as bad:
            faults.skip(bad)


def parse_json(line: bytes, where: str, folded: bool = True) -> tuple[str, tuple[str, ...]]:
    """A line of JSONL: the photo's path as given, and its tags.

    Raises:
        BadRecord: a line of another form.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # also what is not UTF-8
        raise BadRecord("not JSON", where, str(error)) from None
    if not isinstance(value, dict) or not isinstance(value.get("image"), str):
        raise BadRecord(_FORM, where, f"{line[:80]!r}")
    tags = value.get("tags")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise BadRecord("tags is a list of texts", where, f"not {tags!r:.80}")
    return _checked(value["image"], tags, where, folded)


def parse_row(row: Mapping[str, str], where: str, folded: bool = True) -> tuple[str, tuple[str, ...]]:
    """A row of a table, column -> text: the same.

    Raises:
        BadRecord: no photo, or a line break between the tags.
    """
    if not row["image"].strip():
        raise BadRecord("expected a path in the column image", where)
    try:
        tags = next(csv.reader([row["tags"]], delimiter=_BETWEEN, skipinitialspace=True), [])
    except csv.Error as error:
        raise BadRecord(f"tags are parted by {_BETWEEN!r} and quoted as in CSV", where, str(error)) from None
    return _checked(row["image"].strip(), tags, where, folded)


def _checked(image: str, tags: Iterable[str], where: str, folded: bool) -> tuple[str, tuple[str, ...]]:
    spelled = [fold(tag) if folded else tag.strip() for tag in tags]
    try:
        "".join([image, *spelled]).encode()
    except UnicodeEncodeError as error:
        raise BadRecord("text that is not UTF-8", where, error.reason) from None
    return image, tuple(dict.fromkeys(filter(None, spelled)))


def _from_json(path: Path) -> Iterator[tuple]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield f"{path}:{number}", parse_json, line


def _from_table(path: Path, delimiter: str) -> Iterator[tuple]:
    # What is not UTF-8 is told by the row that holds it.
    texts = (line.decode("utf-8", "surrogateescape") for line in _lines(path))
    rows, head = csv.reader(texts, delimiter=delimiter, strict=True), None
    while True:
        where = f"{path}:{rows.line_num + 1}"
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield where, _refuse, BadRecord("not a row of CSV", where, str(error))
            continue
        if row is None:
            return
        if head is None:
            head = _head(row, path)
        elif len(row) != len(head) and row:
            found = f"not {len(row)}; a text with a {delimiter!r} is quoted"
            yield where, _refuse, BadRecord(f"expected {len(head)} columns", where, found)
        elif row:
            yield where, parse_row, dict(zip(head, row, strict=True))


def _refuse(bad: BadRecord, where: str, folded: bool):
    raise bad


def _head(row: list[str], path: Path) -> list[str]:
    head = [name.strip().lower() for name in row]
    if any(head.count(column) != 1 for column in _COLUMNS):
        raise UserError(f"{path}:1: expected a heading with the columns image and tags, not {row!r:.120}")
    return head


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file):
                yield line if number else line.removeprefix(b"\xef\xbb\xbf")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _from_folders(root: Path, faults: Faults) -> Iterator[tuple]:
    for folder, below, names in os.walk(root):
        below.sort()
        for name in sorted(names):
            path = Path(folder, name)
            where = os.fsencode(path).decode("utf-8", "replace")
            if path.suffix.lower() in PHOTOS:
                yield where, _parse_path, path.relative_to(root)
            else:
                faults.leave_out(f"file whose name does not end in {', '.join(PHOTOS)}", where)


def _parse_path(path: Path, where: str, folded: bool) -> tuple[str, tuple[str, ...]]:
    return _checked(path.as_posix(), path.parts[:-1], where, folded)
