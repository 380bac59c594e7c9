"""Photos to shards of records, several at a time, in the source's order.

A shard is written beside its place and renamed; the JSON file beside it says what it holds and what was bad
in it, and marks it as finished: a run that finds it goes on with the next one.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path

from tqdm import tqdm

from cmask_tf.data.claim import publish, write_json
from cmask_tf.data.sources import Annotated, Annotations
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults

_STRENGTH = ("tag", "box", "mask")
# Photos that a thread takes at a time. One by one, threads would mostly wait for the interpreter's lock.
_CHUNK = 16


@dataclass
class Tally:
    """What some shards hold.

    Attributes:
        photos: number of records.
        level: "mask" where any object has one, else "box", else "tag".
        concepts: name of an object -> number of photos that have one.
        tags: tag -> number of photos.
        faults: photos that could be written, and those that could not.
    """

    photos: int = 0
    level: str = "tag"
    concepts: Counter[str] = field(default_factory=Counter)
    tags: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)

    def count(self, photo: Annotated) -> None:
        """One more photo."""
        self.photos += 1
        self.faults.read()
        self.concepts.update({thing.name for thing in photo.objects})
        self.tags.update(set(photo.tags))
        level = "mask" if any(thing.mask for thing in photo.objects) else "box" if photo.objects else "tag"
        self.level = max(self.level, level, key=_STRENGTH.index)

    def state(self) -> dict:
        """Plain values, for `add`."""
        counts = {"photos": self.photos, "level": self.level, "faults": self.faults.state()}
        return counts | {"concepts": dict(self.concepts), "tags": dict(self.tags)}

    def add(self, state: dict) -> None:
        """Counts what another shard holds."""
        self.photos += state["photos"]
        self.level = max(self.level, state["level"], key=_STRENGTH.index)
        self.concepts.update(state["concepts"])
        self.tags.update(state["tags"])
        self.faults.add(state["faults"])


def convert(annotated: Annotations, folder: Path, names: Sequence[str], title: str) -> Tally:
    """Writes the shards that are not there yet.

    Args:
        annotated: the photos; they are dealt to the shards in runs of equal length.
        folder: where to.
        names: of the shards' files.
        title: of the progress bar.

    Returns:
        What all shards hold.

    Raises:
        UserError: a photo is bad and the source's faults are strict, or too many are; the shards that such
            photos would have been in are written again by the next run.
    """
    whole, labels = Tally(), {name: number for number, name in enumerate(annotated.names, 1)}
    ends = [number * annotated.total // len(names) for number in range(len(names) + 1)]
    try:
        with (
            tqdm(total=annotated.total, desc=f"writing {title}", unit="photo", delay=2) as bar,
            ThreadPoolExecutor(threads := os.cpu_count() or 1) as pool,
        ):
            for name, first, end in zip(names, ends, ends[1:], strict=False):
                state = finished(folder / name)
                if state is None:
                    photos = islice(annotated.items(first), end - first)
                    encoded = encode_photos(labels, photos, partial(_ahead, pool, 2 * threads))
                    state = write_shard(encoded, folder / name, annotated.faults.strict, bar)
                else:
                    bar.update(end - first)
                whole.add(state)
        whole.faults.check()
    except UserError:
        forget_faulty(folder, names)
        raise
    return whole


def state_file(shard: Path) -> Path:
    """The mark of a finished shard."""
    return shard.with_name(shard.name + ".json")


def finished(shard: Path) -> dict | None:
    """What a shard holds, as `Tally.state` says; None when it is not written to its end."""
    try:
        state = json.loads(state_file(shard).read_text(encoding="utf-8"))
        return state if shard.stat().st_size == state["bytes"] else None
    except (OSError, ValueError):
        return None


def forget_faulty(folder: Path, names: Sequence[str]) -> None:
    """Removes the marks of the shards that left out bad photos."""
    for name in names:
        state = finished(folder / name)
        if state and state["faults"]["bad"]:
            state_file(folder / name).unlink()


def write_shard(
    encoded: Iterable[tuple[Annotated, bytes] | BadRecord], shard: Path, strict: bool, bar: tqdm
) -> dict:
    """Writes one shard and its mark.

    Args:
        encoded: of `encode_photo`.
        shard: its path.
        strict: the first bad photo is an error.
        bar: moves on by one a photo.

    Returns:
        What it holds: `Tally.state`, and its size as "bytes".
    """
    # TensorFlow takes seconds to import: wrong input is told before, and RecordSet does without.
    import tensorflow as tf

    tally, beside = Tally(faults=Faults(strict)), shard.with_name(shard.name + ".tmp")
    try:
        with tf.io.TFRecordWriter(str(beside)) as writer:
            for one in encoded:
                if isinstance(one, BadRecord):
                    tally.faults.skip(one)
                else:
                    photo, serialized = one
                    writer.write(serialized)
                    tally.count(photo)
                bar.update()
    except tf.errors.OpError as error:
        raise OSError(error.message) from None
    publish(beside, shard)
    state = tally.state() | {"bytes": shard.stat().st_size}
    write_json(state_file(shard), state)
    return state


def encode_photos(
    labels: Mapping[str, int], photos: Iterable[Annotated | BadRecord], run: Callable = map
) -> Iterator[tuple[Annotated, bytes] | BadRecord]:
    """Photos with their serialized records, or what is wrong with them, in their order.

    Args:
        labels: of `schema.encode`.
        photos: looked at a few at a time.
        run: what applies a function to the items of an iterable, as `map` does.
    """
    # Here, not in the threads that `run` may have: two that import the same modules at once may wait for each
    # other for ever. Not at the top: wrong input is told before TensorFlow's seconds.
    from cmask_tf.data import schema, stored_photos  # noqa: F401

    photos = iter(photos)
    chunks = iter(lambda: list(islice(photos, _CHUNK)), [])
    return chain.from_iterable(run(partial(_encode_chunk, labels), chunks))


def _encode_chunk(
    labels: Mapping[str, int], photos: Sequence[Annotated | BadRecord]
) -> list[tuple[Annotated, bytes] | BadRecord]:
    from cmask_tf.data import schema, stored_photos

    encoded = iter(stored_photos.read_photos([photo for photo in photos if isinstance(photo, Annotated)]))
    found: list[tuple[Annotated, bytes] | BadRecord] = []
    for photo in photos:
        stored = photo if isinstance(photo, BadRecord) else next(encoded)
        bad = isinstance(stored, BadRecord)
        found.append(stored if bad else (photo, schema.encode(photo, stored, labels)))
    return found


def _ahead(pool: ThreadPoolExecutor, most: int, work: Callable, items: Iterable) -> Iterator:
    """`map` in order, with a bounded number of items in memory."""
    waiting: deque[Future] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
