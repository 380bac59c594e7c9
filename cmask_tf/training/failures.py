"""What ends a training that is no mistake in the program: told in one line, with what to do about it.

A lost host, a full disk, a damaged record file. The checkpoints are as good as before; the same command goes
on with the last one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, EIO, ENOSPC, EROFS
from pathlib import Path

import tensorflow as tf

from cmask_tf.data.damage import find_damage, find_undecodable
from cmask_tf.data.unreadable import UNREADABLE
from cmask_tf.errors import UserError
from cmask_tf.training.cluster import lost_host

# HDF5 and TensorFlow hand on the words of the operating system, not its number.
_DISK = re.compile("|".join(os.strerror(number) for number in (ENOSPC, EDQUOT, EFBIG, EROFS, EIO)))
_DECODING = re.compile("JPEG|PNG|decode", re.IGNORECASE)
_GO_ON = "put that right and run the same command: it goes on with the last checkpoint"


@contextmanager
def told(out: Path, records: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Runs a stage; what a person has to put right becomes a `UserError`, anything else stays as it is.

    Args:
        out: the stage's model directory; work in progress is beside it.
        records: the record files that the stage reads; only called when one of them is damaged.

    Raises:
        UserError: one line. `LostHost` when another host is gone.
    """
    try:
        yield
    except tf.errors.OpError as error:
        raise (lost_host(error) or _damage(error, records) or _disk(error, out) or error) from None
    except (OSError, RuntimeError) as error:  # HDF5 raises the latter when it closes a file
        raise (_disk(error, out) or error) from None


def _damage(error: tf.errors.OpError, records: Callable[[], Iterable[str]]) -> UserError | None:
    if UNREADABLE.reason:  # raised inside a pipeline, where TensorFlow wraps it
        return UserError(UNREADABLE.reason)
    find = None
    if isinstance(error, tf.errors.DataLossError):
        find = find_damage
    elif isinstance(error, tf.errors.InvalidArgumentError) and _DECODING.search(str(error)):
        find = find_undecodable
    if find is None or not (found := find(records())):
        return None
    return UserError(f"{found}; make the record set again, or copy the file again, and run the same command")


def _disk(error: Exception, out: Path) -> UserError | None:
    """The line for a file that cannot be written."""
    text = str(error)
    reason = _DISK.search(text)
    if not reason:
        return None
    place = _named(error, text) or out
    return UserError(f"{place}: cannot be written ({reason[0]}); {_GO_ON}")


def _named(error: Exception, text: str) -> str | None:
    """The file that an error names."""
    if isinstance(error, OSError) and error.filename:
        return str(error.filename)
    found = re.search(rf"filename = '([^']+)'|(/[^\s;']+); (?:{_DISK.pattern})", text)
    return found and (found[1] or found[2])
