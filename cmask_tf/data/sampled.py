"""A fixed part of a record set: what an evaluation during training looks at, each time the same photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Sampled:
    """`photos` of the `total` records of `files`, evenly spread: sources often come one after the other.

    All records are read and only these are decoded.
    """

    files: Sequence[str]
    total: int
    photos: int

    @property
    def examples(self) -> int:
        """The number of photos that are left."""
        return min(self.photos, self.total)


def at_most(files: Sequence[str], total: int, photos: int) -> Sampled:
    """At most `photos` of `total` records; 0: all."""
    return Sampled(files, total, photos or total)


def chosen(records, serialized: tf.data.Dataset) -> tf.data.Dataset:
    """The records of a `Sampled` among all of them; any other records as they are."""
    if not isinstance(records, Sampled) or records.photos >= records.total:
        return serialized
    part, total = records.photos, records.total
    spread = serialized.enumerate().filter(
        lambda place, _: (place + 1) * part // total > place * part // total
    )
    return spread.map(lambda _, example: example)
