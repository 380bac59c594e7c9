"""Where two configs differ, field by field."""

from __future__ import annotations

from cmask_tf.config import Config


def differences(one: Config, other: Config) -> list[tuple[str, object, object]]:
    """("refine.epochs", its value in the one, its value in the other) of each field that is not the same."""
    there = _flat(other)
    return [(name, value, there[name]) for name, value in _flat(one).items() if value != there[name]]


def _flat(config: Config) -> dict[str, object]:
    flat = {}
    for name, value in vars(config).items():
        if hasattr(value, "__dataclass_fields__"):
            flat |= {f"{name}.{leaf}": field for leaf, field in vars(value).items()}
        else:
            flat[name] = value
    return flat
