"""JSON lines on stderr: what the server does, and one line a request without its content."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Iterable

_LOGGER = logging.getLogger("cmask.serving")
_NAMES, _NAME_LENGTH = 3, 32  # how much of a request's concepts a line shows


def start() -> None:
    """Sends the lines to stderr; without it they go where the program that embeds the server says."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOGGER.handlers = [handler]
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False


def line(event: str, **fields) -> None:
    """Writes one line: the time, what happened, and the fields."""
    if _LOGGER.isEnabledFor(logging.INFO):
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        _LOGGER.info(json.dumps({"time": now, "event": event, **fields}, ensure_ascii=True, default=str))


def cut(names: Iterable[bytes]) -> list[str]:
    """The first few concept names, each cut, whatever their bytes are."""
    shown = []
    for name in names:
        if len(shown) == _NAMES:
            return [*shown, "..."]
        short = name[:_NAME_LENGTH].decode("utf-8", "replace")
        shown.append(short if len(name) <= _NAME_LENGTH else short + "...")
    return shown
