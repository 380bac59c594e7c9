"""One process at a time."""

from __future__ import annotations

import fcntl


def lock(handle: int) -> bool:
    """Locks an open file or folder until it is closed.

    Returns:
        Whether nobody else has the lock; a file system without locks cannot tell, and is trusted.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    return True
