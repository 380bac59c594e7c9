"""Which record is damaged: TensorFlow's pipelines say that one is, and not which."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

import tensorflow as tf

from cmask_tf.data import schema
from cmask_tf.data.stored_photos import decoded_sizes

_HEADER, _FOOTER = 12, 4  # bytes: the length and its checksum before each record, the record's checksum after


def find_damage(files: Iterable[str]) -> str | None:
    """The first damage in TFRecord files, in words: the file, the number of the record (from 1), what it is.

    First walks over the records' lengths, which finds files that are cut off without reading them; then reads
    everything. None when all is well.
    """
    files = list(files)
    return next(filter(None, map(_cut_off, files)), None) or next(filter(None, map(_altered, files)), None)


def find_undecodable(files: Iterable[str]) -> str | None:
    """The first record whose photo TensorFlow cannot decode, in words; None when there is none."""
    for file in files:
        for number, serialized in enumerate(tf.data.TFRecordDataset(file), 1):
            if None in decoded_sizes([schema.parse(serialized)["encoded"].numpy()]):
                return f"{file}: record {number}: its photo cannot be decoded"
    return None


def _cut_off(file: str) -> str | None:
    with open(file, "rb") as source:
        size, place, number = os.fstat(source.fileno()).st_size, 0, 1
        while place < size:
            source.seek(place)
            header = source.read(_HEADER)
            place += _HEADER + (struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else 0) + _FOOTER
            if place > size:
                return f"{file}: record {number} is cut off; the file has {size} bytes"
            number += 1
    return None


def _altered(file: str) -> str | None:
    number = 1
    try:
        for _ in tf.data.TFRecordDataset(file):
            number += 1
    except tf.errors.DataLossError:
        return f"{file}: record {number}: its bytes are not those that were written"
    return None
