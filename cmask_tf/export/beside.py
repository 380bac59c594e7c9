"""What every export does around its work: where it is written, and what converters must not print."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cmask_tf.errors import UserError


def check_place(out: Path) -> None:
    """Raises a UserError where files would come among others: `out` is there, and not empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists; give a directory that is not there yet")


def empty_folder(parent: Path, out: Path) -> Path:
    """A new folder in `parent`, whose name no server takes for a version.

    Args:
        parent: made where it is not there.
        out: what the user asked for, for the message.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=parent))
        folder.chmod(0o755)
    except OSError as error:
        raise UserError(f"{out}: expected a directory to write to ({error.strerror})") from None
    return folder


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drops what C++ writes to stderr meanwhile: converters tell of GPUs they miss, and of their options."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
