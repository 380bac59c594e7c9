"""A zip of photos and words in, a zip of masks and a table out.

The zip is a stranger's: what it says of itself is not believed. Nothing is unpacked by its names, and what a
member becomes is counted while it is read.
"""

from __future__ import annotations

import csv
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cmask_tf import outputs
from cmask_tf.errors import UserError
from cmask_tf.web.downloads import pack
from cmask_tf.web.engines import MOST_WORDS, Engine, WrongQuestion
from cmask_tf.web.visit import Thresholds, open_visit

MOST_PHOTOS = 200
MOST_MEMBER_BYTES = 64 << 20
MOST_BYTES = 1 << 30  # of all members, unpacked
MOST_TABLE_BYTES = 4 << 20  # of the zip's own list of members: tens of thousands of them
COLUMNS = ("photo", "word", "score", "present", "area", "mask")
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES, _COMMENT_BYTES, _LOCATOR_BYTES = 22, 65_535, 20


@dataclass
class Progress:
    """How far a batch is.

    Attributes:
        done: photos that were looked at.
        total: photos in the zip.
        rows: lines of the table.
        bad: one line for every member that was left out.
        result: the zip, once it is whole.
    """

    total: int
    done: int = 0
    rows: int = 0
    bad: list[str] = field(default_factory=list)
    result: Path | None = None


def run(
    engine: Engine, path: Path, words: Sequence[str], thresholds: Thresholds, out: Path
) -> Iterator[Progress]:
    """Segments the photos of a zip; writes `NAME.masks.zip` with the masks and `masks.csv`.

    Args:
        engine: the model or a server.
        path: the zip.
        words: names of the vocabulary, at least one.
        thresholds: what counts.
        out: a folder for the result and for the work before it.

    Yields:
        The same `Progress`, after every photo and at the end.

    Raises:
        UserError: no words or too many, no zip, too large a one, no photo in it, or no server.
    """
    if not 1 <= len(words) <= MOST_WORDS:
        raise UserError(f"{len(words)} words; expected 1 to {MOST_WORDS}")
    outputs.check([Path("photo")], words, Path())
    members = _members(path)
    progress, budget = Progress(len(members)), MOST_BYTES
    with tempfile.TemporaryDirectory(dir=out) as folder:
        work = Path(folder)
        (work / "masks").mkdir()
        rows, stems = [], set()
        with zipfile.ZipFile(path) as archive:
            for member in members:
                stem = _stem(member.filename, stems)
                photo = work / stem
                try:
                    budget -= _unpack(archive, member, photo, min(MOST_MEMBER_BYTES, budget))
                    rows += _segment(engine, photo, member.filename, words, thresholds, work / "masks")
                except WrongQuestion:
                    raise
                except UserError as error:
                    progress.bad.append(f"{member.filename}: {str(error).removeprefix(f'{photo.name}: ')}")
                photo.unlink(missing_ok=True)
                progress.done, progress.rows = progress.done + 1, len(rows)
                yield progress
        table = work / "masks" / "masks.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        result = out / f"{path.stem}.masks.zip"
        pack(sorted((work / "masks").iterdir()), result)
    progress.result = result
    yield progress


def _segment(
    engine: Engine, photo: Path, member: str, words: Sequence[str], thresholds: Thresholds, out: Path
) -> list[dict]:
    """Writes one photo's masks; the rows of the table."""
    visit = open_visit(engine, photo)
    visit.ask(engine, words)
    rows = []
    for name in words:
        found = visit.found(name)
        mask = found.probability(visit.photo.height, visit.photo.width) >= thresholds.mask
        present = found.score >= thresholds.presence
        file = outputs.mask_path(photo, name, out)
        if present:
            outputs.write(photo, visit.photo.preview, [(name, mask, found.score, True)], out, kinds=("mask",))
        values = (member, name, f"{found.score:.4f}", int(present), int(mask.sum()) if present else 0)
        rows.append(dict(zip(COLUMNS, (*values, file.name if present else ""), strict=True)))
    return rows


def _members(path: Path) -> list[zipfile.ZipInfo]:
    """The members that may be photos, in the zip's order."""
    _check_table(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if _may_be_a_photo(member)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path.name}: a damaged zip ({error})") from None
    if not members:
        raise UserError(f"{path.name}: no photos in this zip")
    if len(members) > MOST_PHOTOS:
        raise UserError(f"{path.name}: {len(members)} files; expected at most {MOST_PHOTOS} photos in a zip")
    return members


def _check_table(path: Path) -> None:
    """Refuses a zip whose list of members would fill the memory, before it is read."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END_BYTES - _COMMENT_BYTES - _LOCATOR_BYTES))
        tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + _END_BYTES:
        raise UserError(f"{path.name}: not a zip; expected a zip of photos")
    [table_bytes] = struct.unpack_from("<L", tail, end + 12)
    if table_bytes > MOST_TABLE_BYTES or tail[max(0, end - _LOCATOR_BYTES) :].startswith(_END_64):
        raise UserError(f"{path.name}: too large a zip; expected at most {MOST_PHOTOS} photos in it")


def _may_be_a_photo(member: zipfile.ZipInfo) -> bool:
    """Not a folder, and not what a Mac or Windows puts beside the files."""
    parts = PurePosixPath(member.filename).parts
    named = [part for part in parts if part != ".."]
    hidden = any(part.startswith((".", "__MACOSX")) for part in named) or named[-1:] == ["Thumbs.db"]
    return bool(named) and not member.is_dir() and not hidden


def _stem(name: str, taken: set[str]) -> str:
    """A name for a member's files: its own, with its folders in front, and no other member's."""
    plain = re.sub(r"[^\w-]+", "-", str(PurePosixPath(name).with_suffix(""))).strip("-")[-100:] or "photo"
    stem, number = plain, 1
    while stem in taken:
        number += 1
        stem = f"{plain}-{number}"
    taken.add(stem)
    return stem


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, most: int) -> int:
    """Writes one member to a file of at most so many bytes; how many there were."""
    if member.flag_bits & 1:
        raise UserError("encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError("packed in another way than a zip's usual one (deflate)")
    written = 0
    try:
        with archive.open(member) as source, path.open("wb") as target:
            while chunk := source.read(1 << 20):
                written += len(chunk)
                if written > most:
                    raise UserError(
                        f"too large; expected at most {MOST_MEMBER_BYTES >> 20} MB a photo and "
                        f"{MOST_BYTES >> 20} MB in all"
                    )
                target.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"damaged in the zip ({' '.join(str(error).split()) or 'cut off'})") from None
    return written
