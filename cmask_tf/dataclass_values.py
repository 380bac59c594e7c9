"""Frozen dataclasses from JSON: an unknown field is an error that names it, never a silent default."""

from __future__ import annotations

import dataclasses
import json
import types
import typing

from cmask_tf.errors import UserError


def override(values: dict[str, typing.Any], text: str) -> None:
    """Sets one field of nested plain values in place.

    Args:
        values: of a dataclass, nested.
        text: "part.field=value"; the value is JSON, or a bare string.

    Raises:
        UserError: no such field, or no value.
    """
    key, equals, raw = text.partition("=")
    if not equals:
        raise UserError(f"--set {text}: expected field=value, as in refine.epochs=10")
    try:
        value = json.loads(raw)
    except ValueError:
        value = raw
    *parents, leaf = key.split(".")
    inner: typing.Any = values
    for name in parents:
        inner = inner.get(name) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or leaf not in inner:
        raise UserError(f"--set {text}: no config field {key!r}")
    inner[leaf] = value


def build(cls, values: dict, where: str, prefix: str = ""):
    """A dataclass, and those inside it, from plain values of the right types.

    Args:
        cls: the dataclass; its fields are of plain types, tuples of one, dataclasses, or these or None.
        values: by field.
        where: named in errors.
        prefix: of the fields' names in errors.

    Raises:
        UserError: a field that is unknown or missing, or a value of another type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: {prefix.rstrip('.')} is an object of fields, not {values!r}")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise UserError(f"{where}: unknown field {prefix}{key}; known here: {', '.join(hints)}")
    for entry in dataclasses.fields(cls):
        required = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if required and entry.name not in values:
            raise UserError(f"{where}: field {prefix}{entry.name} is missing")
    built = {k: _convert(hints[k], v, where, prefix + k) for k, v in values.items()}
    return cls(**built)


def _convert(kind, value, where: str, key: str):
    if typing.get_origin(kind) is types.UnionType:
        if value is None:
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    if dataclasses.is_dataclass(kind):
        return build(kind, value, where, key + ".")
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: {key} is a list of {item.__name__}, not {value!r}")
        return tuple(_convert(item, v, where, key) for v in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{where}: {key} is of type {kind.__name__}, not {value!r}")
    return value
