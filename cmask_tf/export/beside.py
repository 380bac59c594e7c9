"""Where an export is written before it appears by one rename."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cmask_tf.errors import UserError


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
