"""A folder that appears whole or not at all, and the work folder beside it that an interrupted run leaves.

The work is done in OUT.partial, which takes OUT's place at the end. Its claim.json says what OUT is made
from: arguments, sizes and times of the input files. A run with the same claim takes up what is there; one
with another claim empties the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from cmask_tf.errors import UserError
from cmask_tf.locks import lock

CLAIM = "claim.json"
GO_ON = "run the same command to go on"
_VERSION = 1  # of what the work folder holds


@contextmanager
def claimed(out: Path, files: Sequence[str], inputs: dict) -> Iterator[Path]:
    """OUT.partial to work in; it takes `out`'s place when the block ends well.

    Args:
        out: the folder that is to be; an older one is removed when it holds nothing but `files`.
        files: patterns of the names that such a folder may hold.
        inputs: what the result depends on; of a `Path` also the size and time of the file count.

    Raises:
        UserError: `out` is a file or holds anything else; another process works on it; a full disk.
        KeyboardInterrupt: says how to go on.
    """
    out = Path(out)
    folder = out.with_name(out.name + ".partial")
    _check_out(out, files)
    try:
        with _locked(folder, out):
            _take_up(folder, inputs)
            yield folder
            (folder / CLAIM).unlink()
            if out.exists():
                shutil.rmtree(out)
            os.replace(folder, out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{out} is not finished; {GO_ON}") from None
    except (OSError, sqlite3.Error) as error:
        _discard_if_empty(folder)
        raise UserError(f"{out}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    except UserError:
        _discard_if_empty(folder)
        raise


def clear(folder: Path, keep: Sequence[str] = (CLAIM,)) -> None:
    """Empties a work folder but for the files whose names match `keep`."""
    for path in folder.iterdir():
        if any(fnmatch(path.name, pattern) for pattern in keep):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_json(path: Path, value, indent: int | None = None) -> None:
    """A JSON file, whole or not at all."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    publish(beside, path)


def publish(beside: Path, path: Path) -> None:
    """Gives a file that was written beside its place its name, when its bytes are on the disk."""
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(beside, path)


def _check_out(out: Path, files: Sequence[str]) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: expected a folder, not a file")
    for path in out.iterdir() if out.exists() else ():
        if not any(fnmatch(path.name, pattern) for pattern in files):
            raise UserError(f"{out}: holds {path.name}; expected a new folder, or one of the same command")


@contextmanager
def _locked(folder: Path, out: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not lock(handle):
            raise UserError(f"{out}: another process is writing it")
        yield
    finally:
        os.close(handle)


def _take_up(folder: Path, inputs: dict) -> None:
    # The folder is made by now: a folder of photos that holds it has its time of change for good.
    claim = json.loads(json.dumps({"version": _VERSION, "inputs": _described(inputs)}))
    try:
        if json.loads((folder / CLAIM).read_text(encoding="utf-8")) == claim:
            return
    except (OSError, ValueError):
        pass
    clear(folder, keep=())
    write_json(folder / CLAIM, claim)


def _described(value):
    if isinstance(value, dict):
        return {str(key): _described(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_described(one) for one in value]
    if isinstance(value, Path):
        try:
            state = value.stat()
        except OSError:  # the reader tells what is wrong with it
            return [str(value.absolute())]
        return [str(value.absolute()), state.st_size, state.st_mtime_ns]
    return value


def _discard_if_empty(folder: Path) -> None:
    if folder.is_dir() and all(path.name.startswith(CLAIM) for path in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
