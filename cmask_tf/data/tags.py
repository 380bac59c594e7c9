"""Photos with tags and nothing else (Stock-18K, paper section 3): one JSON object a line.

{"image": "images/train/x.jpg", "tags": ["red hat", "beach"]}. The file is read twice, checked the first time;
neither pass holds it in memory (8 bytes a photo, to find photos that have two lines).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cmask_tf.data.sources import Annotated, Annotations, PhotoFinder, image_size
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.text import fold


def read_tags(tags: Path, images: Path) -> Annotations:
    """The photos of a tag file, with folded tags, each tag once, in the line's order.

    The photo's `source_id` is its path below `images`, without the suffix.

    Args:
        tags: the JSONL file.
        images: the folder that the lines' paths start from, or any of the folders that they name.

    Raises:
        UserError: names the file and line: not JSON, a photo that is not there, or a second line for one.
    """
    finder, hashes = PhotoFinder(images), array("q")
    lines = tqdm(tag_lines(tags), desc=f"reading {Path(tags).name}", unit="photo", delay=2)
    for where, image, _ in lines:
        hashes.append(hash(finder.find(image, where)))
    _refuse_doubles(np.array(hashes, np.int64), tags, finder)
    return Annotations((), len(hashes), _items(tags, finder))


def tag_lines(path: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Each line as ("file:line", the photo's path as given, its folded tags).

    Raises:
        UserError: no such file, or a line of another form.
    """
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    where = f"{path}:{number}"
                    yield where, *_parse(line, where)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _parse(line: bytes, where: str) -> tuple[str, tuple[str, ...]]:
    try:
        value = json.loads(line)
    except ValueError as error:  # also what is not UTF-8
        raise UserError(f"{where}: not JSON ({error})") from None
    if not isinstance(value, dict) or not isinstance(value.get("image"), str):
        raise UserError(f'{where}: expected {{"image": path, "tags": [text, ...]}}')
    tags = value.get("tags")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UserError(f"{where}: tags is a list of texts, not {tags!r:.80}")
    return value["image"], tuple(dict.fromkeys(filter(None, map(fold, tags))))


def _refuse_doubles(hashes: np.ndarray, tags: Path, finder: PhotoFinder) -> None:
    values, counts = np.unique(hashes, return_counts=True)
    if len(values) == len(hashes):
        return
    suspects, first = set(values[counts > 1].tolist()), {}
    for where, image, _ in tag_lines(tags):
        path = finder.find(image, where)
        if hash(path) in suspects and first.setdefault(path, where) != where:
            raise UserError(f"{where}: photo {path} is in {first[path]} already; expected one line a photo")


def _items(tags: Path, finder: PhotoFinder) -> Iterator[Annotated]:
    for where, image, words in tag_lines(tags):
        path = finder.find(image, where)
        height, width = image_size(path)
        source_id = path.relative_to(finder.images).with_suffix("").as_posix()
        yield Annotated(path, source_id, height, width, tags=words)
