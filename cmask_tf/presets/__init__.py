"""Trained presets: finished systems that the package carries.

    cmask_tf/presets/NAME/  an ordinary model directory, its kernels in float16, with SHA256SUMS

`packing.pack` makes one. The standard library is enough here.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cmask_tf.errors import UserError

DEFAULT = "street"  # what every command takes that is given no model
SUMS = "SHA256SUMS"
FOLDER = Path(__file__).parent

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def names() -> list[str]:
    """The presets that this installation carries, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{SUMS}"))


def locate(name: str) -> Path:
    """The model directory of a preset, to be read only.

    Raises:
        UserError: there is none of this name; lists those that there are.
    """
    if name not in names():
        raise UserError(f"{name}: no such preset; {there_are()}")
    return FOLDER / name


def there_are() -> str:
    """What `names` says, as part of an error."""
    return f"this package carries {', '.join(names()) or 'no preset'}"


def keep(path: Path) -> None:
    """Refuses to write where a preset of the package lies.

    Raises:
        UserError: the path is one, or lies in one.
    """
    if any(path.resolve().is_relative_to((FOLDER / name).resolve()) for name in names()):
        raise UserError(f"{path}: a preset of the package, which stays as it is; give another place")


def write_sums(directory: Path) -> None:
    """Writes SHA256SUMS over every other file of a directory, as `sha256sum --check` reads it."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{_digest(path)}  {path.relative_to(directory).as_posix()}\n" for path in files]
    (directory / SUMS).write_text("".join(lines), encoding="utf-8")


def verify(directory: Path) -> None:
    """Compares the files of a directory with its SHA256SUMS.

    Raises:
        UserError: the first file that is missing or damaged, or a line that is none.
    """
    path = directory / SUMS
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{path}: line {number}: expected a SHA-256 sum and a file")
        expected, name = match.groups()
        if not (directory / name).is_file():
            raise UserError(f"{directory / name}: missing; {SUMS} lists it")
        if _digest(directory / name) != expected:
            raise UserError(f"{directory / name}: damaged: not the file that {SUMS} was made of")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
