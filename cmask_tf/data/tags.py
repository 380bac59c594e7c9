"""Photos with tags and nothing else (Stock-18K, paper section 3), from a tag file or from class folders.

The forms of a tag file are those of `vocabulary.tag_files`. Of class folders, the folders that a photo lies
in are its tags: beach/red hat/x.jpg has two. A file is read once, line by line; empty tags and repeats are
dropped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from cmask_tf.data.sources import PHOTOS, Annotations, PhotoFinder
from cmask_tf.data.spool import Spool
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.tag_files import Part, check_name
from cmask_tf.vocabulary.text import spell


class TagLine(NamedTuple):
    """One photo's tags.

    Attributes:
        where: file and line, for errors.
        image: the photo's path as given.
        tags: each once, in the line's order.
    """

    where: str
    image: str
    tags: tuple[str, ...]


def read_tags(tags: Path, images: Path, work: Path, faults: Faults, folded: bool = True) -> Annotations:
    """The photos of a tag file, or of class folders, in the file's order or by name.

    The photo's `source_id` is its path below `images`, without the suffix. A photo without tags is kept; a
    second line for a photo is left out.

    Args:
        tags: JSONL, CSV or TSV, also .gz; or `images` itself, for class folders.
        images: the folder that the lines' paths start from, or any of the folders that they name.
        work: the conversion's folder.
        faults: counts the lines.
        folded: reduce tags to one spelling (`vocabulary.text.fold`); else only the white space around them
            goes.

    Raises:
        UserError: no such file or folder, a file of another form, or too many bad lines.
    """
    spool = Spool(Path(work) / "spool.sqlite")
    if not spool.complete:
        fill_tags(spool, tags, images, faults, folded)
        spool.finish(faults)
    return spool.annotations(faults)


def fill_tags(spool: Spool, tags: Path, images: Path, faults: Faults, folded: bool = True) -> None:
    """Adds photos and tags to a spool; see `read_tags`."""
    finder = checked_finder(tags, images)
    for line in tag_lines(tags, faults, folded):
        try:
            fill_line(spool, line, finder, faults)
        except BadRecord as bad:
            faults.skip(bad)


def checked_finder(tags: Path, images: Path) -> PhotoFinder:
    """Finds the photos that `tags` names.

    Raises:
        UserError: no such folder of photos, or class folders that are not it.
    """
    tags, finder = Path(tags), PhotoFinder(images)
    if tags.is_dir() and not tags.samefile(finder.images):
        raise UserError(f"{tags}: class folders are the folders of photos; expected --images {tags}")
    return finder


def fill_line(spool: Spool, line: TagLine, finder: PhotoFinder, faults: Faults) -> None:
    """Adds a photo and its tags to a spool.

    Raises:
        BadRecord: the photo is not there.
    """
    path = finder.find(line.image, line.where)
    faults.read()
    if spool.has_photo(path) is not None:
        faults.leave_out("second line for a photo", f"{line.where}: {line.image}")
        return
    photo = spool.photo(path, path.relative_to(finder.images).with_suffix("").as_posix())
    for tag in line.tags:
        spool.add_tag(photo, tag)


def tag_lines(tags: Path, faults: Faults, folded: bool = True) -> Iterator[TagLine]:
    """The good lines of a tag file, or the photos of class folders; the bad ones are skipped.

    `faults` counts the bad lines; the good ones are the caller's to count, who looks for the photos.

    Raises:
        UserError: no such file, one of another form, or too many bad lines.
    """
    tags = Path(tags)
    lines = _from_folders(tags, faults) if tags.is_dir() else _from_file(check_name(tags), faults)
    for where, image, given in tqdm(lines, desc=f"reading {tags.name}", unit="photo", delay=2):
        yield tag_line(where, image, given, folded)


def tag_line(where: str, image: str, given: Iterable[str], folded: bool = True) -> TagLine:
    """A line with its tags spelled as `folded` says; empty ones and repeats are dropped."""
    spelled = (spell(tag, folded) for tag in given)
    return TagLine(where, image, tuple(dict.fromkeys(filter(None, spelled))))


def _from_file(path: Path, faults: Faults) -> Iterator[tuple[str, str, list[str]]]:
    for row in Part(path).rows():
        if isinstance(row, BadRecord):
            faults.skip(row)
        else:
            number, image, tags = row
            yield f"{path}:{number}", image, tags


def _from_folders(root: Path, faults: Faults) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for folder, below, names in os.walk(root):
        below.sort()
        for name in sorted(names):
            path = Path(folder, name)
            where = os.fsencode(path).decode("utf-8", "replace")
            if path.suffix.lower() not in PHOTOS:
                faults.leave_out(f"file whose name does not end in {', '.join(PHOTOS)}", where)
                continue
            photo = path.relative_to(root)
            try:
                photo.as_posix().encode()
            except UnicodeEncodeError as error:
                faults.skip(BadRecord("text that is not UTF-8", where, error.reason))
                continue
            yield where, photo.as_posix(), photo.parts[:-1]
