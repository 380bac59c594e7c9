"""The masks of many photos as one file of COCO's annotations, line by line: memory stays that of one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from cmask_tf import outputs
from cmask_tf.journal import Journal


def write(out: Path, photos: Sequence[Path], journal: Journal, numbers: Mapping[str, int]) -> Path:
    """Writes `coco.json`, whole or not at all.

    A concept that was found in a photo is one annotation; its `score` makes the list of annotations a
    list of results as well. `file_name` is relative to the folder that holds all photos.

    Args:
        out: the folder for it.
        photos: all photos, whose position + 1 is their id; those that are not in the journal are left out.
        journal: their rows, with "segmentation" and "bbox".
        numbers: the category of each concept.

    Returns:
        The file.

    Raises:
        UserError: it cannot be written.
    """
    path = outputs.coco_path(out)
    partial = path.with_name(path.name + ".partial")
    finished = [(number, photo) for number, photo in enumerate(photos, start=1) if journal.holds(photo)]
    categories = ({"id": number, "name": name} for name, number in numbers.items())
    try:
        out.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="ascii") as file:
            for key, values in (
                ("images", _images(finished, journal)),
                ("categories", categories),
                ("annotations", _annotations(finished, journal, numbers)),
            ):
                file.write(("{" if key == "images" else ",") + f'"{key}": [')
                _write_all(file, values)
                file.write("]\n")
            file.write("}\n")
        os.replace(partial, path)
    except OSError as error:
        raise outputs.unwritable(error, out) from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def _images(photos: Sequence[tuple[int, Path]], journal: Journal) -> Iterator[dict]:
    folder = os.path.commonpath([photo.absolute().parent for _, photo in photos]) if photos else ""
    for number, photo in photos:
        entry = journal.read(photo)
        name = Path(os.path.relpath(photo.absolute(), folder)).as_posix()
        yield {"id": number, "file_name": name, "height": entry["height"], "width": entry["width"]}


def _annotations(
    photos: Sequence[tuple[int, Path]], journal: Journal, numbers: Mapping[str, int]
) -> Iterator[dict]:
    count = 0
    for number, photo in photos:
        for row in journal.read(photo)["rows"]:
            if not (row["present"] and row["area"]):
                continue
            count += 1
            about = {"id": count, "image_id": number, "category_id": numbers[row["concept"]], "iscrowd": 0}
            yield about | {key: row[key] for key in ("segmentation", "bbox", "area", "score")}


def _write_all(file: IO[str], values: Iterable[dict]) -> None:
    for index, value in enumerate(values):
        file.write((",\n" if index else "\n") + json.dumps(value))
