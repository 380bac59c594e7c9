"""The versions of the one model that is served: the latest that loads, the old one until it is idle.

Everything here runs on the event loop; only reading directories and loading go to a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from grpc import StatusCode

from cmask_tf.serving import log, version_folder
from cmask_tf.serving.servable import Servable
from cmask_tf.serving.status import Refused, invalid
from cmask_tf.serving.version_folder import Found

_REMEMBERED = 20  # versions that have ended, as the status shows them


@dataclass(frozen=True)
class VersionStatus:
    """ModelVersionStatus: `state` is one of START, LOADING, AVAILABLE, UNLOADING, END."""

    state: str
    code: StatusCode = StatusCode.OK
    message: str = ""


class _Holder:
    """A servable and how many requests use it."""

    def __init__(self, servable: Servable):
        self.servable = servable
        self.users = 0
        self.retired = False


class Versions:
    """Latest-version policy over a folder: a new version is loaded before the old one is let go."""

    def __init__(self, name: str, base: Path, on_change: Callable[[], None] = lambda: None):
        """
        Args:
            name: the model's name.
            base: the folder with the versions.
            on_change: called on the event loop whenever a version's state changed.
        """
        self.name = name
        self.status: dict[int, VersionStatus] = {}
        self._base = base
        self._on_change = on_change
        self._current: _Holder | None = None
        self._seen: dict[int, Found] = {}
        self._refused: dict[int, Found] = {}

    @property
    def available(self) -> int | None:
        """The version that serves, if one does."""
        return self._current.servable.version if self._current else None

    @contextlib.contextmanager
    def hold(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[Servable]:
        """The servable of a request; it stays loaded until the block ends.

        Raises:
            Refused: no such model, version or label.
        """
        if not name:
            raise invalid("ModelSpec has no name specified")
        if label:
            raise invalid(f"Unrecognized servable version label: {label[:80]}")
        holder = self._current
        if name != self.name or holder is None or version not in (None, holder.servable.version):
            wanted = f"Latest({name[:80]})" if version is None else f"Specific({name[:80]}, {version})"
            raise Refused(StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
        holder.users += 1
        try:
            yield holder.servable
        finally:
            holder.users -= 1
            self._release(holder)

    def statuses(self, name: str, version: int | None = None) -> dict[int, VersionStatus]:
        """The states of all versions, the highest first, or of one.

        Raises:
            Refused: NOT_FOUND.
        """
        known = self.status if name == self.name else {}
        if not known:
            raise Refused(StatusCode.NOT_FOUND, f"Could not find any versions of model {name[:80]}")
        if version is None:
            return dict(sorted(known.items(), reverse=True))
        if version not in known:
            raise Refused(StatusCode.NOT_FOUND, f"Could not find version {version} of model {name[:80]}")
        return {version: known[version]}

    async def watch(self, seconds: float) -> None:
        """Looks for versions forever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.poll()
            except Exception as error:  # what serves goes on serving, whatever the disk does
                log.line("poll failed", error=f"{type(error).__name__}: {error}")

    async def poll(self) -> None:
        """One look: loads the highest version that is whole, was not refused as it is, and lies still.

        A directory lies still when two looks saw the same files, sizes and times. When the one that
        serves is gone from the folder, the highest other one takes over; with none it goes on.
        """
        found = await asyncio.to_thread(version_folder.scan, self._base)
        seen, self._seen = self._seen, found
        for version in sorted(found, reverse=True):
            if version == self.available:
                return
            now = found[version]
            if seen.get(version) != now or self._refused.get(version) == now:
                continue
            if version_folder.missing(now) is None and await self._load(version, now):
                return

    async def _load(self, version: int, found: Found) -> bool:
        log.line("version loading", model=self.name, version=version)  # with a warm-up it takes a while
        self._set(version, VersionStatus("LOADING"))
        try:
            servable = await asyncio.to_thread(_load_whole, version, found)
        except Exception as error:
            self._refused[version] = found
            message = (str(error).splitlines() or [type(error).__name__])[0][:300]
            log.line("version refused", model=self.name, version=version, error=message)
            self._set(version, VersionStatus("END", StatusCode.FAILED_PRECONDITION, message))
            return False
        old, self._current = self._current, _Holder(servable)
        log.line("version available", model=self.name, version=version)
        self._set(version, VersionStatus("AVAILABLE"))
        if old is not None:
            old.retired = True
            self._set(old.servable.version, VersionStatus("UNLOADING"))
            self._release(old)
        return True

    def _release(self, holder: _Holder) -> None:
        if holder.retired and holder.users == 0:
            version = holder.servable.version
            holder.retired = False
            holder.servable = None
            gc.collect()  # a SavedModel is full of cycles: its memory would stay for long
            log.line("version unloaded", model=self.name, version=version)
            self._set(version, VersionStatus("END"))

    def _set(self, version: int, status: VersionStatus) -> None:
        self.status[version] = status
        ended = [number for number in sorted(self.status) if self.status[number].state == "END"]
        for number in ended[:-_REMEMBERED]:
            del self.status[number]
        self._on_change()


def _load_whole(version: int, found: Found) -> Servable:
    reason = version_folder.damaged(found)
    if reason is not None:
        raise ValueError(reason)
    return Servable(found.directory, version)


@contextlib.asynccontextmanager
async def watching(versions: Versions, seconds: float) -> AsyncIterator[None]:
    """Looks for versions while the block runs."""
    task = asyncio.create_task(versions.watch(seconds))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
