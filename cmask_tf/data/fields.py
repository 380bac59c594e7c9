"""Single values of a record: what public files write for an id, a text, a number, a size. Nothing here
opens a file.

Every function raises BadRecord when the value cannot be used.
"""

from __future__ import annotations

from cmask_tf.faults import BadRecord

_LARGEST = 1e9  # px; beyond it is no coordinate (and not NaN nor an infinity)
_SIDE = 65535  # px; JPEG's limit


def shown(value: object) -> str:
    """A value in an error: one short line."""
    return f"{value!r:.80}"


def place(file: object, kind: str, entry: object, keys: tuple[str, ...], number: int) -> str:
    """What an error calls an entry: "FILE: image 7" by its id, else "FILE: image number 12" (from 1)."""
    for key in keys:
        value = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(value, (int, str)) and not isinstance(value, bool):
            text = str(value)
            return f"{file}: {kind} {text[:80] if text.isprintable() else shown(text)}"
    return f"{file}: {kind} number {number}"


def mapping(value: object, where: str) -> dict:
    """The value, a JSON object."""
    if not isinstance(value, dict):
        raise BadRecord("expected an object", where, shown(value))
    return value


def identifier(entry: dict, keys: tuple[str, ...], where: str) -> str:
    """The first of the keys that is there, a number or a text; 7, 7.0 and "7" are one id."""
    value = next((entry[key] for key in keys if entry.get(key) is not None), None)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) not in (int, str) or value == "":
        raise BadRecord(f"expected {keys[0]}, a number or a text", where, shown(value))
    return text(str(value), keys[0], where)


def text(value: object, key: str, where: str) -> str:
    """The value, a text with anything in it."""
    if not isinstance(value, str) or not value.strip():
        raise BadRecord(f"expected {key}, a text", where, shown(value))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRecord(f"{key} is not Unicode text", where, shown(value)) from None
    return value


def is_pixels(value: object) -> bool:
    """Whether it is a finite number that may be a coordinate in px."""
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST


def size(entry: dict, where: str) -> tuple[int, int]:
    """(height, width) in px, each a whole number from 1."""
    sides = tuple(entry.get(key) for key in ("height", "width"))
    if not all(is_pixels(side) and side == int(side) and 0 < side <= _SIDE for side in sides):
        raise BadRecord("expected height and width in pixels", where, shown(sides))
    return int(sides[0]), int(sides[1])
