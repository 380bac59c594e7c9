"""The conversion of `records.write` on Apache Beam: the same functions, the same files, by many workers.

Feeds of records -> grouped by photo -> a spool of a few photos at a time -> shards. Every worker sees the
same folders under the same paths. What a reader or a photo does wrong is counted by the workers and told
at the end. Beam's own words are in docs/beam.md.
"""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tqdm import tqdm

from cmask_tf.beam import AsDict, AsSingleton, TaggedOutput, beam, pipeline_options, run
from cmask_tf.data import conversion, records
from cmask_tf.data.beam_sources import SOURCES, Feed, Record
from cmask_tf.data.claim import claimed, clear, write_json
from cmask_tf.data.placed_faults import PlacedFaults, place
from cmask_tf.data.spool import Spool
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.tag_files import PART_BYTES, Part, length

READING = "reading.json"
_BATCH = 256  # photos that share a spool: making one takes as long as filling it with a photo
_place = itemgetter(0)


def write(
    read: partial,
    out: Path,
    *,
    inputs: dict,
    source: str,
    runner: str,
    options: Sequence[str] = (),
    strict: bool = False,
    shards: int | None = None,
) -> records.Summary:
    """Converts photos to the record set that `records.write` makes of them, byte by byte.

    An interrupted conversion keeps its finished shards, and reads the source again.

    Args:
        read: as for `records.write`: one of the readers, with its arguments.
        out: the folder to write, which all workers see.
        inputs: as for `records.write`.
        source: as for `records.write`.
        runner: Beam's name of it.
        options: Beam's own, see `cmask_tf.beam.pipeline_options`.
        strict: the first bad record, in the source's order, is an error.
        shards: the number of files; by default one for a thousand photos.

    Raises:
        UserError: as `records.write`; a runner or option that Beam does not know; a step that failed.
    """
    if shards is not None and shards < 1:
        raise UserError(f"--shards {shards}: expected 1 or more")
    pipeline = pipeline_options(runner, options)
    claim = inputs | {"source": source, "strict": strict, "shards": shards, "beam": True}
    with claimed(out, records.FILES, claim) as folder:
        (folder / READING).unlink(missing_ok=True)
        opened = _opened(read, folder)
        with _progress(folder, f"converting {source}"):
            run(pipeline, partial(_construct, opened, folder, strict, shards))
        concepts, photos, faults = _told(folder, source, strict)
        names = records.shard_names(photos, shards)
        return records.describe(folder, concepts, faults, _whole(folder, names, strict), names, source)


def _opened(read: partial, folder: Path):
    try:
        return SOURCES[read.func](*read.args, **read.keywords)
    except UserError:
        clear(folder)
        raise


def _told(folder: Path, name: str, strict: bool) -> tuple[list[str], int, Faults]:
    """What the workers read: the objects' names, the number of photos, the faults."""
    try:
        reading = json.loads((folder / READING).read_text(encoding="utf-8"))
        if reading["error"]:
            raise UserError(reading["error"])
        if not reading["photos"]:
            raise UserError(f"{name}: no photos to convert")
    except UserError:
        clear(folder)
        raise
    faults = Faults(strict)
    faults.restore(reading["faults"])
    return reading["names"], reading["photos"], faults


def _whole(folder: Path, names: Sequence[str], strict: bool) -> conversion.Tally:
    whole = conversion.Tally()
    for name in names:
        state = conversion.finished(folder / name)
        if state is None:
            raise UserError(f"{folder / name}: not written; does every worker see this folder?")
        whole.add(state)
    try:
        if strict and whole.faults.bad:
            raise UserError(next(iter(whole.faults.examples.values()))[0])
        whole.faults.check()
    except UserError:
        conversion.forget_faulty(folder, names)
        raise
    return whole


def _construct(source, folder: Path, strict: bool, shards: int | None, pipeline: beam.Pipeline) -> None:
    """Adds the whole conversion to a pipeline."""
    keyed, faults = _read(source, pipeline)
    if hasattr(source, "photo"):
        keyed = keyed | "one id" >> beam.GroupByKey() | "photos" >> beam.FlatMap(_by_photo, source)
    filled = (
        keyed
        | "one photo" >> beam.GroupByKey()
        | "some photos" >> beam.BatchElements(min_batch_size=1, max_batch_size=_BATCH)
        | "fill" >> beam.ParDo(_Fill(source)).with_outputs("faults", "names", "places", main="photos")
    )
    places = filled.places | "order" >> beam.CombineGlobally(_joined)
    names = filled.names | "names" >> beam.Distinct() | "all names" >> beam.combiners.ToList()
    reading = (
        [*faults, filled.faults]
        | "all faults" >> beam.Flatten()
        | "sum of faults" >> beam.CombineGlobally(PlacedFaults.merged)
        | "tell" >> beam.Map(_tell, source, folder, strict, AsSingleton(names), AsSingleton(places))
    )
    (
        filled.photos
        | "deal" >> beam.Map(_deal, AsSingleton(places), shards)
        | "one shard" >> beam.GroupByKey()
        | "write" >> beam.Map(_write_shard, folder, shards, AsSingleton(reading))
    )


def _read(source, pipeline: beam.Pipeline) -> tuple[beam.PCollection, list[beam.PCollection]]:
    """(key, Record) of every good record; the faults of the others."""
    feeds = source.feeds
    parts = [
        (file, start, start + PART_BYTES)
        for file, feed in enumerate(feeds)
        if feed.path is not None
        for start in range(0, length(feed.path), PART_BYTES)
    ]
    whole = [file for file, feed in enumerate(feeds) if feed.path is None]
    files = (
        pipeline
        | "files" >> beam.Create(whole)
        | "a worker a file" >> beam.Reshuffle()
        | "read files" >> beam.ParDo(_ReadFile(source)).with_outputs("faults", main="records")
    )
    some = pipeline | "parts" >> beam.Create(parts) | "a worker a part" >> beam.Reshuffle()
    counts = some | "count lines" >> beam.Map(_count_lines, feeds)
    lines = some | "read lines" >> beam.ParDo(_ReadLines(source), AsDict(counts)).with_outputs(
        "faults", main="records"
    )
    start = pipeline | "faults of the start" >> beam.Create([source.faults])
    records_ = (files.records, lines.records) | "all records" >> beam.Flatten()
    return records_, [start, files.faults, lines.faults]


class _Reader(beam.DoFn):
    """What both ways of reading share."""

    def __init__(self, source):
        self._source = source

    def setup(self):
        self._feeds = self._source.feeds

    def _keyed(self, record: Record) -> tuple[str, Record]:
        try:
            return self._feeds[record.file].key(record.value, record.where), record
        except BadRecord:  # told when it is filled in; alone, for it may be one of many
            return f"\0{record.place}", record


class _ReadFile(_Reader):
    """Number of a feed -> its records, by one worker."""

    def process(self, file: int):
        faults, number = PlacedFaults(), 0
        faults.place = place(file, 0) + 1
        try:
            for number, (where, value) in enumerate(self._feeds[file].entries(faults), 1):
                yield self._keyed(Record(place(file, number), file, where, value))
                faults.place = place(file, number) + 1  # of what is skipped before the next
        except UserError as error:
            faults.broken.append((faults.place, str(error)))
        yield TaggedOutput("faults", faults)


class _ReadLines(_Reader):
    """(number of a feed, first byte, byte after the last) -> the records of these lines."""

    def process(self, part: tuple[int, int, int], counts: dict[tuple[int, int], int]):
        file, start, stop = part
        before = sum(lines for (one, at), lines in counts.items() if one == file and at < start)
        feed, faults = self._feeds[file], PlacedFaults()
        for number, line in enumerate(Part(feed.path, start, stop).lines(), before + 1):
            faults.place, where = place(file, number), f"{feed.path}:{number}"
            try:
                value = feed.parse(line, number, where)
            except BadRecord as bad:
                faults.skip(bad)
                continue
            if value is not None:
                yield self._keyed(Record(faults.place, file, where, value))
        yield TaggedOutput("faults", faults)


def _count_lines(part: tuple[int, int, int], feeds: Sequence[Feed]) -> tuple[tuple[int, int], int]:
    file, start, stop = part
    return (file, start), sum(1 for _ in Part(feeds[file].path, start, stop).lines())


def _by_photo(one_id: tuple[str, Iterable[Record]], source) -> Iterator[tuple[str, Record]]:
    """The records of one id, by the photo that it names."""
    key, found = one_id
    found = sorted(found, key=_place)
    try:
        key = source.photo(found)
    except BadRecord:
        key = f"\0{key}"
    for record in found:
        yield key, record


class _Fill(beam.DoFn):
    """Some photos' records -> (place, photo) each, as a spool gives them back."""

    def __init__(self, source):
        self._source = source

    def process(self, groups: list[tuple[str, Iterable[Record]]]):
        spool, faults = _PlacedSpool(), PlacedFaults()
        fill = self._source.filler(spool)
        for _, found in groups:
            for record in sorted(found, key=_place):
                spool.place = faults.place = record.place
                try:
                    fill(record, faults)
                except BadRecord as bad:
                    faults.skip(bad)
        spool.finish(Faults())
        annotated = spool.annotations(Faults())
        yield from zip(spool.places, annotated.items(0), strict=True)
        yield from (TaggedOutput("names", name) for name in annotated.names)
        yield TaggedOutput("places", np.array(spool.places, np.int64))
        yield TaggedOutput("faults", faults)


class _PlacedSpool(Spool):
    """A spool in memory that knows which record brought each photo."""

    def __init__(self):
        super().__init__(Path(":memory:"))
        self.place, self.places = 0, []

    def photo(self, path: Path, source_id: str, size: tuple[int, int] | None = None) -> int:
        row = super().photo(path, source_id, size)
        if row > len(self.places):
            self.places.append(self.place)
        return row


def _joined(places: Iterable[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate([np.zeros(0, np.int64), *places]))


def _tell(
    faults: PlacedFaults, source, folder: Path, strict: bool, names: list[str], places: np.ndarray
) -> dict:
    """What was read, also as the file `READING`."""
    faults = PlacedFaults.merged([faults])
    reading = {"error": None, "faults": None, "names": sorted(names), "photos": len(places)}
    try:
        if hasattr(source, "finish"):
            source.finish(faults)
        reading["faults"] = faults.told(strict).state()
    except UserError as error:
        reading["error"] = str(error)
    with TemporaryDirectory(prefix="reading-", dir=folder) as attempt:
        write_json(Path(attempt) / READING, reading)
        os.replace(Path(attempt) / READING, folder / READING)
    return reading


def _deal(photo: tuple[int, object], places: np.ndarray, shards: int | None) -> tuple[int, tuple]:
    """(number of the shard, photo): runs of equal length, as `conversion.convert` deals them."""
    count = len(records.shard_names(len(places), shards))
    ends = [(number + 1) * len(places) // count for number in range(count)]
    return bisect_right(ends, int(np.searchsorted(places, photo[0]))), photo


def _write_shard(dealt: tuple[int, Iterable[tuple]], folder: Path, shards: int | None, reading: dict) -> None:
    """Writes one shard, whatever other attempts at it do."""
    shard, photos = dealt
    if reading["error"]:
        return
    name = records.shard_names(reading["photos"], shards)[shard]
    if conversion.finished(folder / name):
        return
    labels = {name: number for number, name in enumerate(reading["names"], 1)}
    encoded = conversion.encode_photos(labels, (photo for _, photo in sorted(photos, key=_place)))
    with TemporaryDirectory(prefix="attempt-", dir=folder) as attempt:
        written = Path(attempt) / name
        conversion.write_shard(encoded, written, False, tqdm(disable=True))
        for path in (written, conversion.state_file(written)):
            os.replace(path, folder / path.name)


@contextmanager
def _progress(folder: Path, title: str) -> Iterator[None]:
    """A bar that counts the shards that are there."""
    done = threading.Event()

    def watch() -> None:
        with tqdm(desc=title, unit=" shards", delay=2) as bar:
            while not done.wait(1):
                bar.update(len(list(folder.glob("records-*.tfrecord"))) - bar.n)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()
