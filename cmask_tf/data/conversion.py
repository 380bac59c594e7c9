"""Photos to shards of records, several at a time, in the source's order.

A shard is written beside its place and renamed; the JSON file beside it says what it holds and what was bad
in it, and marks it as finished: a run that finds it goes on with the next one.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from cmask_tf.data.claim import publish, write_json
from cmask_tf.data.sources import NO_PHOTO, Annotated, Annotations
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults

_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}  # MPO: a JPEG with a second picture
_STRENGTH = ("tag", "box", "mask")
_AHEAD = 4  # photos for each thread that are encoded or wait to be written


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
                    encoded = _ahead(pool, _AHEAD * threads, partial(encode_photo, labels), photos)
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


def encode_photo(
    labels: Mapping[str, int], photo: Annotated | BadRecord
) -> tuple[Annotated, bytes] | BadRecord:
    """A photo with its serialized record, or what is wrong with it; `labels` are those of `schema.encode`."""
    from cmask_tf.data import schema

    if isinstance(photo, BadRecord):
        return photo
    try:
        return photo, schema.encode(photo, read_photo(photo), labels)
    except BadRecord as bad:
        return bad


def _ahead(pool: ThreadPoolExecutor, most: int, work: Callable, items: Iterable) -> Iterator:
    """`map` in order, with a bounded number of items in memory."""
    waiting: deque[Future] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def read_photo(photo: Annotated) -> bytes:
    """The bytes of a photo's file, which training can decode.

    TensorFlow decodes it, 0.6 ms for a photo of 480 px: it refuses some damaged photos that other decoders
    take, and would end the training that meets one.

    Raises:
        BadRecord: not a JPEG or PNG, truncated, damaged, or not of the annotated size.
    """
    import tensorflow as tf
    from PIL import Image, UnidentifiedImageError

    where = str(photo.image)
    try:
        encoded = photo.image.read_bytes()
        with Image.open(io.BytesIO(encoded)) as image:
            kind, size = image.format, (image.height, image.width)
    except UnidentifiedImageError:  # its text holds an address in memory, another one each time
        raise BadRecord(NO_PHOTO, where, "of no type that Pillow knows") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise BadRecord(NO_PHOTO, where, str(error)) from None
    if kind not in _ENDS:
        raise BadRecord(NO_PHOTO, where, f"it is {kind}")
    # Only the second half counts: a thumbnail in the header has an end of its own.
    if encoded.rfind(_ENDS[kind]) < len(encoded) // 2:
        raise BadRecord("truncated; the file stops before the picture does", where)
    if size != (photo.height, photo.width):
        found = f"stored as {size[1]} x {size[0]}, annotated as {photo.width} x {photo.height}"
        raise BadRecord("photo of another size than annotated", where, found)
    try:
        tf.io.decode_image(encoded, channels=3)
    except tf.errors.InvalidArgumentError:
        raise BadRecord("damaged; its pixels cannot be decoded", where) from None
    return encoded
