"""Photos of a command line: single ones, folders and patterns; and many of them, some at a time, in order."""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cmask_tf.errors import UserError

Item = TypeVar("Item")
Value = TypeVar("Value")


def find(paths: Sequence[Path], out: Path) -> list[Path]:
    """The photos named, those that lie in the folders named (not below), and those of the patterns, by name.

    Raises:
        UserError: no such file, a folder or a pattern without photos, or photos where the outputs would go.
    """
    photos: list[Path] = []
    for path in paths:
        if path.is_file():
            photos.append(path)
        elif path.is_dir():
            _keep_apart(path, out, below=False)
            photos += _photos(path, path.iterdir(), "no photos in this folder")
        elif glob.has_magic(str(path)):
            fixed = _before_magic(path)
            deep = "**" in path.parts or len(path.parts) > len(fixed) + 1
            _keep_apart(Path(*fixed), out, below=deep)
            found = map(Path, glob.iglob(str(path), recursive=True))
            photos += _photos(path, found, "no photo has such a name")
        else:
            raise UserError(f"{path}: no such image")
    return photos


def are_many(paths: Sequence[Path]) -> bool:
    """Whether a folder or a pattern is among the paths that `find` took."""
    return not all(path.is_file() for path in paths)


def stamp(path: Path) -> list[int]:
    """Size and time of change of a file, which tell it from one that took its place."""
    state = path.stat()
    return [state.st_size, state.st_mtime_ns]


def ahead(
    work: Callable[[Item], Value], items: Iterable[Item], jobs: int, first_alone: bool = False
) -> Iterator[tuple[Item, Value | UserError]]:
    """Works on items in threads, at most `jobs` of them begun and not yet asked for.

    Args:
        work: what is done with an item.
        items: what to work on.
        jobs: at least 1; the results in memory are no more than these and the one that was asked for.
        first_alone: nothing else begins before the first result was taken.

    Yields:
        In order, each item with its result, or with the UserError that `work` raised.
    """
    pool = ThreadPoolExecutor(jobs)
    waiting: deque[tuple[Item, Future[Value]]] = deque()
    left, room = iter(items), 1 if first_alone else jobs
    try:
        while True:
            while len(waiting) < room:
                try:
                    item = next(left)
                except StopIteration:
                    break
                waiting.append((item, pool.submit(work, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            room = jobs
            try:
                value: Value | UserError = future.result()
            except UserError as error:
                value = error
            del future  # else it holds the result until the next one is there
            yield item, value
            del value
    finally:
        # Work under way is not waited for: whoever stops, stops now.
        pool.shutdown(wait=False, cancel_futures=True)


def _photos(path: Path, found: Iterable[Path], nothing: str) -> list[Path]:
    from PIL import Image  # not needed to tell a wrong path

    suffixes = Image.registered_extensions()
    hits = sorted(
        p for p in found if p.suffix.lower() in suffixes and not p.name.startswith(".") and p.is_file()
    )
    if not hits:
        raise UserError(f"{path}: {nothing}")
    return hits


def _keep_apart(folder: Path, out: Path, below: bool) -> None:
    """Outputs among the photos would be photos of the next run."""
    folder, target = folder.resolve(), out.resolve()
    if target == folder or (below and target.is_relative_to(folder)):
        raise UserError(f"{out}: holds the photos and the outputs; give another --out")


def _before_magic(path: Path) -> list[str]:
    """The folders of a pattern that stand before its first wildcard."""
    parts = list(path.parts)
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return parts[:first]
