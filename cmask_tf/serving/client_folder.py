"""Many photos through one `SegmentClient`: some at a time, in order, a bad one not in the others' way."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from cmask_tf import outputs
from cmask_tf.errors import UserError
from cmask_tf.serving.client import Answer, SegmentClient, ServerError, encode_photo

HALF = 128  # the smallest 8-bit probability that is at least 0.5, rounded


class UnknownConcept(UserError):
    """A name that is not in the served model's vocabulary."""


def find_photos(paths: Sequence[Path], out: Path) -> list[Path]:
    """The photos named, and those that lie in the folders named (not below), by name.

    Raises:
        UserError: no such file, a folder without photos, or a folder that the outputs would go to.
    """
    suffixes = Image.registered_extensions()
    photos: list[Path] = []
    for path in paths:
        if path.is_dir():
            if path.resolve() == out.resolve():
                raise UserError(f"{path}: holds the photos and the outputs; give another --out")
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes and p.is_file())
            if not found:
                raise UserError(f"{path}: no photos in this folder")
            photos += found
        elif path.is_file():
            photos.append(path)
        else:
            raise UserError(f"{path}: no such image")
    return photos


def segment_photos(
    client: SegmentClient,
    photos: Sequence[Path],
    concepts: Sequence[str],
    out: Path,
    kinds: Collection[str] = ("mask", "overlay"),
    jobs: int = 4,
) -> Iterator[tuple[Path, list[dict] | UserError]]:
    """Segments photos and writes their files, `jobs` requests under way at any time.

    The first photo is asked for alone, so that a wrong server, model or concept is told before anything is
    written. Memory is that of `jobs` photos and their answers.

    Args:
        client: the connection.
        photos: files whose outputs have names of their own (`outputs.check`).
        concepts: names, at least one.
        out: the folder for the outputs; made with the first of them.
        kinds: what to write, of `outputs.KINDS`.
        jobs: requests at a time, at least 1.

    Yields:
        In order, each photo with its rows (`outputs.write`), or with the error that is about it alone.

    Raises:
        ServerError: the server cannot be used.
        UnknownConcept: it does not know a name.
        UserError: a file cannot be written.
    """
    pool = ThreadPoolExecutor(jobs)
    waiting: deque[tuple[Path, Future]] = deque()
    left, room = iter(photos), 1
    try:
        while True:
            while len(waiting) < room and (photo := next(left, None)) is not None:
                waiting.append((photo, pool.submit(_ask, client, photo, concepts)))
            if not waiting:
                return
            photo, answer = waiting.popleft()
            room = jobs
            try:
                pixels, answers = answer.result()
                found = list(_masks(photo, pixels, concepts, answers))
            except (ServerError, UnknownConcept):
                raise
            except UserError as error:
                yield photo, error
                continue
            yield photo, outputs.write(photo, pixels, found, out, kinds)
    finally:
        # Whoever closes the client cancels the requests under way; nobody waits for them here.
        pool.shutdown(wait=False, cancel_futures=True)


def _ask(client: SegmentClient, photo: Path, concepts: Sequence[str]) -> tuple[np.ndarray, list[Answer]]:
    data, pixels = encode_photo(photo)
    try:
        return pixels, client.segment_encoded([data], [concepts])[0]
    except ServerError:
        raise
    except UserError as error:
        raise UserError(f"{photo}: {error}") from None


def _masks(photo: Path, pixels: np.ndarray, concepts: Sequence[str], answers: Sequence[Answer]):
    """(name, mask bool [H, W], score, present) of each concept, as `outputs.write` wants them."""
    for name, answer in zip(concepts, answers, strict=True):
        if not answer.known:
            raise UnknownConcept(f"concept {name!r}: not in the served model's vocabulary")
        if not answer.png:
            raise UserError(f"{photo}: the server could not decode it, or it has too many pixels")
        mask = answer.mask()  # Refused, when it is none
        if mask.shape != pixels.shape[:2]:
            raise UserError(f"{photo}: the server's mask is {mask.shape[1]}x{mask.shape[0]} pixels")
        yield name, mask >= HALF, answer.score, answer.present
