"""Photos in the records that do not decode: a training of days does not end for one, nor pass it in silence.

Such a photo stays in its place as a black one without concepts, tags or mask, so that an epoch has its number
of steps and its loss asks nothing of the network; each is named once on stderr. Records of `cmask data` hold
only photos that were whole; those of other programs may hold anything. What begins and ends like a photo and
still does not decode (a broken header) does end a training: `damage.find_undecodable` names it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
from tqdm import tqdm

from cmask_tf.data import schema
from cmask_tf.faults import MOST

INDEX, BAD = "_index", "_bad"  # beside the tensors of a batch until they are reported
_FEW = 10  # photos that may be bad whatever their share
Decode = Callable[..., dict[str, tf.Tensor]]


class Unreadable:
    """The photos that this process met.

    Attributes:
        names: of the photos, in the order in which they were met.
        reason: why the records are no good at all; "" while they are.
    """

    def __init__(self):
        self.names: dict[str, None] = {}
        self.reason = ""
        self._seen = 0

    def note(self, index: int, serialized: bytes) -> None:
        """Names a photo, the first time.

        Args:
            index: of the example in its epoch.
            serialized: its record.

        Raises:
            ValueError: too many photos are bad: the records are the wrong ones.
        """
        if self.reason:  # batches are made ahead of the one that failed
            raise ValueError(self.reason)
        self._seen = max(self._seen, index + 1)
        name = _name(serialized)
        if name in self.names:
            return
        self.names[name] = None
        line = f"photo {name} of the records cannot be decoded"
        if len(self.names) > max(_FEW, MOST * self._seen):
            self.reason = f"{line}, nor {len(self.names) - 1} others of {self._seen}; expected JPEG or PNG"
            raise ValueError(self.reason)
        tqdm.write(f"{line}; it counts as a photo without concepts", file=sys.stderr)


UNREADABLE = Unreadable()


def forgiving(
    decode: Decode, shapes: Mapping[str, Sequence[int | None]], padding: Mapping[str, object]
) -> Callable:
    """What `decode` gives, or where the photo does not decode an example without anything.

    Args:
        decode: (index, example) -> tensors by name, a graph function; the (first of the) example is a record.
        shapes: of the tensors, None where they vary.
        padding: the value that stands for nothing, by name.

    Returns:
        (index, example) -> the tensors and, for `reported`, INDEX int64 and BAD string: the record if it does
        not decode, or else "".
    """

    def guarded(index, example, record):
        # Half a millisecond an example, which is why whole files go past it.
        good = tf.data.Dataset.from_tensors((index, example)).map(lambda *one: (decode(*one), ""))
        spec, _ = good.element_spec
        empty = {
            name: tf.fill([side or 1 for side in shape], tf.cast(padding[name], spec[name].dtype))
            for name, shape in shapes.items()
            if name != "serialized"
        }
        if "serialized" in shapes:
            empty["serialized"] = record
        bad = tf.data.Dataset.from_tensors((empty, record))
        return good.ignore_errors().concatenate(bad).take(1).get_single_element()

    def decoded_or_empty(index, example):
        record = tf.nest.flatten(example)[0]
        tensors, bad = tf.cond(
            _looks_whole(record),
            lambda: (decode(index, example), ""),
            lambda: guarded(index, example, record),
        )
        return {**tensors, INDEX: index, BAD: bad}

    return decoded_or_empty


def _looks_whole(record: tf.Tensor) -> tf.Tensor:
    """Whether the photo begins and ends like a JPEG or a PNG."""
    spec = {schema.ENCODED: tf.io.FixedLenFeature([], tf.string, "")}
    encoded = tf.io.parse_single_example(record, spec)[schema.ENCODED]
    size = tf.strings.length(encoded)
    first = tf.strings.substr(encoded, 0, tf.minimum(size, 3))
    last = tf.strings.substr(encoded, -tf.minimum(size, 8), 8)
    jpeg = (first == b"\xff\xd8\xff") & (tf.strings.substr(last, -tf.minimum(size, 2), 2) == b"\xff\xd9")
    return jpeg | ((first == b"\x89PN") & (last == b"IEND\xaeB`\x82"))


def reported(rows: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The tensors of a batch without INDEX and BAD, once the photos that did not decode have been named."""
    rows = dict(rows)
    indices, records = rows.pop(INDEX), rows.pop(BAD)
    bad = tf.strings.length(records) > 0

    def tell():
        found = [tf.boolean_mask(indices, bad), tf.boolean_mask(records, bad)]
        with tf.control_dependencies([tf.py_function(_note, found, [])]):
            return tf.constant(True)

    with tf.control_dependencies([tf.cond(tf.reduce_any(bad), tell, lambda: tf.constant(True))]):
        return tf.nest.map_structure(tf.identity, rows)


def _note(indices: tf.Tensor, records: tf.Tensor) -> None:
    for index, record in zip(indices.numpy(), records.numpy(), strict=True):
        UNREADABLE.note(int(index), record)


def _name(serialized: bytes) -> str:
    """What the record calls its photo."""
    try:
        feature = tf.train.Example.FromString(serialized).features.feature
    except Exception:  # protobuf's own; not a tf.Example at all
        return f"of {len(serialized)} bytes"
    values = [v for key in (schema.FILE_NAME, schema.SOURCE_ID) for v in feature[key].bytes_list.value]
    return next((value.decode(errors="replace") for value in values if value), "without a name")
