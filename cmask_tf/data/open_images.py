"""Open Images boxes (OIVG-750, paper section 3): a CSV of normalised boxes and one of class names.

Reads V4 to V7: columns are found by their names, the class file may have a heading. IsGroupOf becomes
crowd.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from cmask_tf.data.sources import Annotations, BoxTable
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.text import fold

_CORNERS = ("YMin", "XMin", "YMax", "XMax")
_ROUNDING = 1e-6  # what a writer of six decimals may go beyond 1


def read_open_images(boxes: Path, classes: Path, images: Path) -> Annotations:
    """Every photo that has a box in an Open Images file, once.

    Args:
        boxes: `...-annotations-bbox.csv`.
        classes: `class-descriptions-boxable.csv`.
        images: the folder of photos, `ImageID.jpg` each.

    Raises:
        UserError: names the file and line; coordinates in pixels are the usual case.
    """
    table = BoxTable(images)
    add_open_images(table, boxes, classes)
    return table.annotations()


def add_open_images(table: BoxTable, boxes: Path, classes: Path) -> None:
    """Reads the boxes into a table; see `read_open_images`."""
    names = read_classes(classes)
    last, row = None, 0
    for where, line in _lines(Path(boxes)):
        if line["ImageID"] != last:
            last = line["ImageID"]
            row = table.photo(table.finder.find(f"{last}.jpg", where), last)
        if line["LabelName"] not in names:
            raise UserError(f"{where}: LabelName {line['LabelName']} is not in {classes}")
        table.add(row, names[line["LabelName"]], _box(line, where), line.get("IsGroupOf") == "1")


def read_classes(classes: Path) -> dict[str, str]:
    """LabelName -> folded display name.

    Raises:
        UserError: no such file, or a line without a name.
    """
    names = {}
    for line, row in _rows(Path(classes)):
        # Some copies leave a name's comma unquoted: what follows the first comma is the name.
        label, name = row[0], ",".join(row[1:])
        if not name.strip():
            raise UserError(f"{classes}:{line}: expected LabelName,DisplayName")
        if label != "LabelName":
            names[label] = fold(name)
    return names


def _lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    rows = _rows(path)
    _, head = next(rows, (1, []))
    missing = [column for column in ("ImageID", "LabelName", *_CORNERS) if column not in head]
    if missing:
        raise UserError(f"{path}:1: expected the columns of Open Images; {', '.join(missing)} is missing")
    for line, row in tqdm(rows, desc=f"reading {path.name}", unit="box", delay=2):
        if len(row) != len(head):
            raise UserError(f"{path}:{line}: expected {len(head)} columns, not {len(row)}")
        yield f"{path}:{line}", dict(zip(head, row, strict=True))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None


def _box(line: dict[str, str], where: str) -> tuple[float, float, float, float]:
    try:
        box = tuple(float(line[corner]) for corner in _CORNERS)
    except ValueError as error:
        raise UserError(f"{where}: expected numbers in {', '.join(_CORNERS)} ({error})") from None
    for corner, value in zip(_CORNERS, box, strict=True):
        if not 0 <= value <= 1 + _ROUNDING:  # not a number fails too
            raise UserError(f"{where}: {corner} is {value:g}; expected 0 to 1 (normalised), not pixels")
    if box[0] > box[2] or box[1] > box[3]:
        raise UserError(f"{where}: expected XMin <= XMax and YMin <= YMax")
    return tuple(min(value, 1.0) for value in box)
