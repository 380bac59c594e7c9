"""Record sets: a folder of TFRecord shards beside a `dataset.json` that says what they hold.

    {"source", "examples", "level": "mask" | "box" | "tag", "concepts": {name: photos},
     "tags": {name: photos}, "skipped": {reason: objects}, "shards": [file names]}

Photos are copied byte by byte, one at a time, in the source's order; a set appears whole or not at all.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from cmask_tf.data.sources import Annotated, Annotations
from cmask_tf.errors import UserError

INDEX = "dataset.json"
_FILES = (INDEX, "records-*.tfrecord")
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}  # MPO: a JPEG with a second picture


@dataclass(frozen=True)
class Summary:
    """What a record set holds; the content of its dataset.json.

    Attributes:
        level: "mask" where any object has one, else "box", else "tag".
        concepts: name of an object -> number of photos that have one.
        tags: tag -> number of photos.
        skipped: reason -> number of objects that the reader left out.
        shards: file names.
    """

    source: str
    examples: int
    level: str
    concepts: dict[str, int]
    tags: dict[str, int]
    skipped: dict[str, int]
    shards: list[str]


@dataclass(frozen=True)
class RecordSet:
    """A finished record set on disk."""

    directory: Path
    files: list[str]
    examples: int
    concepts: dict[str, int]
    tags: dict[str, int]
    level: str

    @classmethod
    def open(cls, directory: Path) -> RecordSet:
        """Checks that the set is there and whole.

        Raises:
            UserError: it is missing, unfinished, or lacks a shard.
        """
        directory = Path(directory)
        index = directory / INDEX
        if not index.is_file():
            state = "unfinished" if directory.with_name(directory.name + ".partial").exists() else "missing"
            raise UserError(f"{index}: {state}; expected a record set, as `cmask data` writes it")
        try:
            summary = Summary(**json.loads(index.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(f"{index}: not the index of a record set ({error})") from None
        for name in summary.shards:
            if not (directory / name).is_file():
                raise UserError(f"{directory / name}: missing; {INDEX} names it")
        files = [str(directory / name) for name in summary.shards]
        concepts = {name: count for name, count in summary.concepts.items() if count}
        return cls(directory, files, summary.examples, concepts, summary.tags, summary.level)


def write(annotated: Iterable[Annotated], out: Path, shards: int = 1, source: str = "") -> Summary:
    """Converts photos to a record set. A set that is there already is replaced.

    Args:
        annotated: what a reader returned, or any iterable (held in memory then).
        out: the folder to write.
        shards: the number of files; photos are dealt to them in runs of equal length.
        source: where the photos are from, for people.

    Raises:
        UserError: no photos, one that is broken or not of the annotated size, or `out` holds other files.
    """
    if not isinstance(annotated, Annotations):
        annotated = Annotations.of(annotated)
    if not annotated.total:
        raise UserError(f"{source or out}: no photos to convert")
    if shards < 1:
        raise UserError(f"--shards {shards}: expected 1 or more")
    with replaced(out, _FILES) as folder:
        summary = _convert(annotated, folder, shards, source)
        (folder / INDEX).write_text(json.dumps(asdict(summary), indent=1, ensure_ascii=False) + "\n")
    return summary


@contextmanager
def replaced(out: Path, files: Sequence[str]) -> Iterator[Path]:
    """A folder beside `out` to write into, which takes `out`'s place when the block ends well.

    Args:
        out: the folder that is to be; an older one is removed when it holds nothing but `files`.
        files: patterns of the names that such a folder may hold.

    Raises:
        UserError: `out` is a file or holds anything else.
    """
    out = Path(out)
    partial = out.with_name(out.name + ".partial")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: expected a folder, not a file")
    for path in out.iterdir() if out.exists() else ():
        if not any(fnmatch(path.name, pattern) for pattern in files):
            raise UserError(f"{out}: holds {path.name}; expected a new folder, or one of the same command")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            shutil.rmtree(out)
        os.replace(partial, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert(annotated: Annotations, folder: Path, shards: int, source: str) -> Summary:
    # TensorFlow takes seconds to import: wrong input is told before, and RecordSet does without.
    import tensorflow as tf

    from cmask_tf.data import schema

    labels = {name: number for number, name in enumerate(annotated.names, 1)}
    concepts, tags, level = Counter(dict.fromkeys(labels, 0)), Counter(), "tag"
    names = [f"records-{shard:05d}-of-{shards:05d}.tfrecord" for shard in range(shards)]
    with tqdm(total=annotated.total, desc=f"writing {source or 'records'}", unit="photo") as bar:
        for shard, name in enumerate(names):
            first, end = (number * annotated.total // shards for number in (shard, shard + 1))
            with tf.io.TFRecordWriter(str(folder / name)) as writer:
                for photo in islice(annotated, end - first):
                    writer.write(schema.encode(photo, read_photo(photo), labels))
                    concepts.update({thing.name for thing in photo.objects})
                    tags.update(set(photo.tags))
                    level = _level(photo, level)
                    bar.update()
    concepts, tags = dict(sorted(concepts.items())), dict(sorted(tags.items()))
    return Summary(source, annotated.total, level, concepts, tags, dict(annotated.skipped), names)


def _level(photo: Annotated, before: str) -> str:
    if before == "mask" or any(thing.mask for thing in photo.objects):
        return "mask"
    return "box" if photo.objects else before


def read_photo(photo: Annotated) -> bytes:
    """The bytes of a photo's file, with its header and its end checked, not its pixels.

    Raises:
        UserError: not a JPEG or PNG, truncated, or not of the annotated size.
    """
    from PIL import Image

    try:
        encoded = photo.image.read_bytes()
        with Image.open(io.BytesIO(encoded)) as image:
            kind, size = image.format, (image.height, image.width)
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise UserError(f"{photo.image}: expected a JPEG or PNG photo ({error})") from None
    if kind not in _ENDS:
        raise UserError(f"{photo.image}: expected a JPEG or PNG photo, not {kind}")
    # Only the second half counts: a thumbnail in the header has an end of its own.
    if encoded.rfind(_ENDS[kind]) < len(encoded) // 2:
        raise UserError(f"{photo.image}: truncated; the file stops before the picture does")
    if size != (photo.height, photo.width):
        raise UserError(
            f"{photo.image}: stored as {size[1]} x {size[0]}, annotated as {photo.width} x {photo.height}"
        )
    return encoded
