"""Which examples an epoch has, in which order, and which of them a host decodes.

All of it is settled on serialized examples: what is skipped, or is another host's, costs its reading and no
decoding. The order is a function of (seed, epoch): files in another order every epoch, several read at a
time in turns, then a shuffle among `SHUFFLE` examples. It is fixed also when decoding is not deterministic.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import tensorflow as tf

from cmask_tf.data import balance
from cmask_tf.data.sampled import chosen

SHUFFLE = 4096  # serialized examples that are held for shuffling
_FILES = 8  # read at a time
# Without its tuning thread TensorFlow 2.20 would make 16 calls at a time on any larger machine.
_CALLS = os.cpu_count() or 1
_TURN = 16  # examples of a file before it is the next one's turn


class Records(Protocol):
    """Where examples come from; `records.RecordSet` is one, `balance.Balanced` another."""

    files: Sequence[str]


@dataclass(frozen=True)
class Share:
    """The replicas `first` to `last` - 1 of `replicas`: those of one host.

    Row i of a global batch is replica (i mod replicas)'s. With fewer rows than replicas every replica
    gets all of them (`training.strategy.distribute` says why).
    """

    first: int = 0
    last: int = 1
    replicas: int = 1

    @property
    def whole(self) -> bool:
        """Whether there is one host only."""
        return self.last - self.first == self.replicas

    def rows(self, count: tf.Tensor) -> tf.Tensor:
        """The places, int64, of this host's rows in a global batch of `count` rows, int64."""
        places = tf.range(count)
        turn = places % self.replicas
        mine = (turn >= self.first) & (turn < self.last)
        return tf.boolean_mask(places, mine | (count < self.replicas))


@dataclass(frozen=True)
class Order:
    """One pass over records.

    Attributes:
        seed: of the run.
        epoch: counted from 0.
        skip: global batches to pass over.
        train: shuffle and augment; otherwise the records come as they are.
        deterministic: also decode in this order; otherwise what is decoded first comes first.
        share: what this host decodes of each global batch.
    """

    seed: int
    epoch: int
    skip: int = 0
    train: bool = True
    deterministic: bool = True
    share: Share = field(default_factory=Share)

    def random(self, *purpose: int) -> np.random.Generator:
        """Random numbers of this epoch, others for each purpose."""
        return np.random.default_rng([self.seed, self.epoch, *purpose])


def serialized(records: Records, order: Order, beside: Sequence[str] | None = None) -> tf.data.Dataset:
    """Serialized examples, string []; in training balanced ones as often as their factors say.

    Args:
        records: whose examples they are.
        order: the pass.
        beside: for each of the records' files another one with as many records in the same order; elements
            are then pairs of one of each.
    """
    files = [list(records.files), *([list(beside)] if beside is not None else [])]
    if not order.train:
        return chosen(records, _side_by_side(*files))
    count = len(files[0])
    starts, copies = [0] * count, None
    if isinstance(records, balance.Balanced):
        starts, copies = records.starts, records.copies(order.random(2))
    turn = order.random().permutation(count)
    dataset = tf.data.Dataset.from_tensor_slices(
        (*(np.array(side)[turn] for side in files), np.array(starts, np.int64)[turn])
    )
    dataset = dataset.interleave(
        lambda *sides: _side_by_side(*sides[:-1]).enumerate(sides[-1]),
        cycle_length=min(_FILES, count),
        block_length=_TURN,
        num_parallel_calls=min(_FILES, count),
        deterministic=True,
    )
    if copies is None:
        return dataset.map(lambda place, example: example)
    copies = tf.constant(copies, tf.int32)

    def repeated(place, example):
        return tf.nest.map_structure(lambda one: tf.repeat([one], copies[place]), example)

    return dataset.map(repeated).unbatch()


def _side_by_side(files, *beside) -> tf.data.Dataset:
    """The records of a file or of files one after the other, with those of the files beside them."""
    first, *others = (tf.data.TFRecordDataset(side) for side in (files, *beside))
    return tf.data.Dataset.zip((first, *others)) if others else first


def ordered(examples: tf.data.Dataset, order: Order, batch: int) -> tf.data.Dataset:
    """(index in the epoch, example) of the pass, all hosts' examples.

    Args:
        examples: in the order of `serialized`.
        order: the pass.
        batch: examples of a global batch.
    """
    if order.train:
        derived = int(order.random(1).integers(2**31))
        examples = examples.shuffle(SHUFFLE, seed=derived, reshuffle_each_iteration=False)
    return examples.enumerate().skip(order.skip * batch)


def decoded(
    examples: tf.data.Dataset, decode: Callable, order: Order, batch: int, shapes: dict, padding: dict
) -> tf.data.Dataset:
    """Decodes on every core and joins to batches.

    Args:
        examples: what `ordered` returned.
        decode: (index, example) -> dict of tensors.
        order: the pass.
        batch: examples of a global batch.
        shapes: of each tensor, None where it is padded.
        padding: the value for it.

    Returns:
        Global batches, dicts. On one of several hosts: (its rows of the global batch, the number of rows
        of the global batch, int64 []); always in order then, since the hosts have to agree.
    """
    if order.share.whole:
        examples = examples.map(decode, _CALLS, deterministic=order.deterministic)
        if not any(None in shape for shape in shapes.values()):
            return examples.batch(batch)  # padding copies twice
        return examples.padded_batch(batch, shapes, padding)

    def mine(index, example):
        count = tf.size(index, tf.int64)
        rows = order.share.rows(count)
        pick = [tf.gather(t, rows) for t in tf.nest.flatten((index, example))]
        same = tf.fill([tf.size(rows)], tf.size(rows, tf.int64)), tf.fill([tf.size(rows)], count)
        return tf.nest.pack_sequence_as((index, example), pick), *same

    # Every row knows how many of its batch are this host's: the last batch of an epoch may have more of
    # them than a full one.
    rows = examples.batch(batch).map(mine).unbatch()
    rows = rows.map(
        lambda pair, here, count: (decode(*pair), pair[0] // batch, here, count),
        _CALLS,
        deterministic=True,
    )
    zero = tf.constant(0, tf.int64)
    return rows.group_by_window(
        key_func=lambda _, number, here, __: number * (batch + 1) + here,
        reduce_func=lambda key, group: group.padded_batch(
            batch, (shapes, [], [], []), (padding, zero, zero, zero)
        ),
        window_size_func=lambda key: key % (batch + 1),
    ).map(lambda rows, _, __, count: (rows, count[0]))
