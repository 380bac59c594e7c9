"""A package that only some options need: told before any work."""

from __future__ import annotations

import importlib.util

from cmask_tf.errors import UserError


def require(module: str, package: str, use: str) -> None:
    """Looks whether a module can be imported, without importing it.

    Args:
        module: as it is imported.
        package: as it is installed.
        use: what needs it.

    Raises:
        UserError: it is not there; says how to install it.
    """
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{use} needs {package}: pip install {package}")
