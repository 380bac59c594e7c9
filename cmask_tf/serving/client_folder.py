"""Many photos through one `SegmentClient`: some at a time, in order, a bad one not in the others' way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cmask_tf import outputs
from cmask_tf.errors import UserError
from cmask_tf.photo_files import ahead
from cmask_tf.serving.client import Answer, SegmentClient, ServerError, encode_photo

HALF = 128  # the smallest 8-bit probability that is at least 0.5, rounded


class UnknownConcept(UserError):
    """A name that is not in the served model's vocabulary."""


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
    for photo, answer in ahead(partial(_ask, client, concepts), photos, jobs, first_alone=True):
        try:
            if isinstance(answer, UserError):
                raise answer
            found = list(_masks(photo, answer[0], concepts, answer[1]))
        except (ServerError, UnknownConcept):
            raise
        except UserError as error:
            yield photo, error
            continue
        yield photo, outputs.write(photo, answer[0], found, out, kinds)


def _ask(client: SegmentClient, concepts: Sequence[str], photo: Path) -> tuple[np.ndarray, list[Answer]]:
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
