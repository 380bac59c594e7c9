"""What lies in the folder of versions, and whether a version there is whole. Needs no TensorFlow."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

CHECKSUMS = "assets.extra/checksums.json"  # {"path in the version": "sha256:..."}
_SHARD = re.compile(r"variables\.data-\d{5}-of-(\d{5})")


@dataclass(frozen=True)
class Found:
    """A version's directory as it is now; `files` is (path, bytes, modification time in ns) of each."""

    directory: Path
    files: tuple[tuple[str, int, int], ...]


def scan(base: Path) -> dict[int, Found]:
    """Every directory of `base` whose name is a number; none when `base` is away."""
    found = {}
    try:
        entries = sorted(base.iterdir())
    except OSError:
        return {}
    for entry in entries:
        if entry.name.isascii() and entry.name.isdigit() and entry.is_dir():
            found[int(entry.name)] = Found(entry, _files(entry))
    return found


def _files(directory: Path) -> tuple[tuple[str, int, int], ...]:
    files = []
    for path in sorted(directory.rglob("*")):
        try:
            state = path.stat()
        except OSError:
            continue  # it went away between the two calls: the next look will differ
        if path.is_file():
            files.append((str(path.relative_to(directory)), state.st_size, state.st_mtime_ns))
    return tuple(files)


def missing(found: Found) -> str | None:
    """What a version lacks to be a whole SavedModel, by the names of its files."""
    names = {name for name, _, _ in found.files}
    for name in ("saved_model.pb", "variables/variables.index"):
        if name not in names:
            return f"no {name}"
    shards = [match for name in names if (match := _SHARD.fullmatch(name.removeprefix("variables/")))]
    wanted = max((int(match[1]) for match in shards), default=1)
    if len(shards) < wanted:
        return f"{len(shards)} of {wanted} files variables/variables.data-*"
    return None


def damaged(found: Found) -> str | None:
    """The first file whose content is not what the version's own checksums say; reads every file."""
    file = found.directory / CHECKSUMS
    if not file.is_file():
        return None
    try:
        sums = json.loads(file.read_text())
        for name, wanted in sorted(sums.items()):
            with (found.directory / name).open("rb") as content:
                if "sha256:" + hashlib.file_digest(content, "sha256").hexdigest() != wanted:
                    return f"{name} is not what {CHECKSUMS} says"
    except (OSError, ValueError, AttributeError) as error:
        return f"{CHECKSUMS}: {error}"
    return None
