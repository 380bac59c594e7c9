"""Record sets: a folder of TFRecord shards beside a `dataset.json` that says what they hold.

    {"source", "examples", "level": "mask" | "box" | "tag", "concepts": {name: photos},
     "tags": {name: photos}, "shards": [file names], "read", "bad": {reason: records},
     "left_out": {reason: records}, "fault_examples": {reason: [text]}}

Photos are copied byte by byte, in the source's order; a set appears whole or not at all, and report.md beside
it tells a person what is in it. An interrupted conversion goes on where it stopped (`data/claim.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cmask_tf.data import conversion
from cmask_tf.data.claim import CLAIM, claimed, clear, write_json
from cmask_tf.data.report import REPORT, markdown
from cmask_tf.data.sources import Annotations
from cmask_tf.errors import UserError
from cmask_tf.faults import Faults

INDEX = "dataset.json"
CHECK = "check.png"
SHARD_PHOTOS = 1000  # about 100 MB of web photos
FILES = (INDEX, REPORT, CHECK, "records-*.tfrecord")


@dataclass(frozen=True)
class Summary:
    """What a record set holds; the content of its dataset.json.

    Attributes:
        examples: number of photos.
        level: "mask" where any object has one, else "box", else "tag".
        concepts: name of an object -> number of photos that have one.
        tags: tag -> number of photos.
        shards: file names.
        read: number of good records (lines, rows, annotations) in the source's files.
        bad: reason -> number of records, photos among them, that could not be used.
        left_out: reason -> number of records that are as they should be and of no use.
        fault_examples: reason, of either -> the first few, a line each.
    """

    source: str
    examples: int
    level: str
    concepts: dict[str, int]
    tags: dict[str, int]
    shards: list[str]
    read: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    fault_examples: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, directory: Path) -> Summary:
        """From a record set's dataset.json.

        Raises:
            UserError: the set is missing or unfinished, or the file is not as it should be.
        """
        index = Path(directory) / INDEX
        if not index.is_file():
            unfinished = index.parent.with_name(index.parent.name + ".partial").exists()
            state = "unfinished" if unfinished else "missing"
            raise UserError(f"{index}: {state}; expected a record set, as `cmask data` writes it")
        try:
            values = json.loads(index.read_text(encoding="utf-8"))
            if "skipped" in values:  # the sets that cmask-tf 0.1 wrote
                values["left_out"] = values.pop("skipped")
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise UserError(f"{index}: not the index of a record set ({error})") from None


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
        summary = Summary.load(directory)
        for name in summary.shards:
            if not (directory / name).is_file():
                raise UserError(f"{directory / name}: missing; {INDEX} names it")
        files = [str(directory / name) for name in summary.shards]
        concepts = {name: count for name, count in summary.concepts.items() if count}
        return cls(directory, files, summary.examples, concepts, summary.tags, summary.level)


def write(
    read: Callable[[Path, Faults], Annotations],
    out: Path,
    *,
    inputs: dict,
    source: str,
    strict: bool = False,
    shards: int | None = None,
) -> Summary:
    """Converts photos to a record set. A set that is there already is replaced.

    Args:
        read: (work folder, faults) -> the source; what it leaves in the folder it finds again when it is
            called once more for an interrupted conversion.
        out: the folder to write.
        inputs: what the set depends on, JSON values and Paths; when any of it changes, also a file's size or
            time, an interrupted conversion starts over.
        source: where the photos are from, for people.
        strict: the first bad record is an error.
        shards: the number of files; by default one for a thousand photos.

    Raises:
        UserError: no photos, too many bad ones, or `out` holds other files.
        KeyboardInterrupt: with a line that says how to go on.
    """
    if shards is not None and shards < 1:
        raise UserError(f"--shards {shards}: expected 1 or more")
    claim = inputs | {"source": source, "strict": strict, "shards": shards}
    with claimed(out, FILES, claim) as folder:
        annotated = _read(read, folder, Faults(strict), source or str(out))
        names = shard_names(annotated.total, shards)
        whole = conversion.convert(annotated, folder, names, source)
        return describe(folder, annotated.names, annotated.faults, whole, names, source)


def shard_names(photos: int, shards: int | None) -> list[str]:
    """File names of a set's shards; by default one for a thousand photos."""
    count = shards or -(-photos // SHARD_PHOTOS)
    return [f"records-{shard:05d}-of-{count:05d}.tfrecord" for shard in range(count)]


def describe(
    folder: Path,
    concepts: Sequence[str],
    reading: Faults,
    whole: conversion.Tally,
    shards: list[str],
    source: str,
) -> Summary:
    """Writes dataset.json and report.md beside a set's shards, and removes what else is there.

    Args:
        concepts: every name that an object of the source has, sorted.
        reading: what was found when the annotations were read; `whole` holds what was found in the photos.
    """
    summary = _summary(concepts, reading, whole, shards, source)
    write_json(folder / INDEX, asdict(summary), indent=1)
    (folder / REPORT).write_text(markdown(asdict(summary)), encoding="utf-8")
    clear(folder, keep=(CLAIM, INDEX, REPORT, *shards))
    return summary


def _read(read: Callable, folder: Path, faults: Faults, source: str) -> Annotations:
    try:
        annotated = read(folder, faults)
        if not annotated.total:
            raise UserError(f"{source}: no photos to convert")
    except Exception:  # nothing is worth keeping before everything is read
        clear(folder)
        raise
    return annotated


def _summary(
    concepts: Sequence[str], reading: Faults, whole: conversion.Tally, shards: list[str], source: str
) -> Summary:
    faults = Faults()
    faults.add(reading.state())
    faults.add(whole.faults.state())
    photos = {name: whole.concepts[name] for name in concepts}
    tags = dict(sorted(whole.tags.items()))
    counted = dict(sorted(faults.bad.items())), dict(sorted(faults.left_out.items())), faults.examples
    return Summary(source, whole.photos, whole.level, photos, tags, shards, reading.good, *counted)
