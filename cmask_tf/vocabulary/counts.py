"""Co-occurrence counts of tags, streamed (supplement 2.1: the counts behind p(w) and p(w, w')).

Tags become numbers in files of a temporary folder, a part of the images at a time; when it is known which
tags are frequent enough, their pairs are counted from there (`pairs.py`). The images are never held, and
several processes give the same counts as one.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy.sparse
from tqdm import tqdm

from cmask_tf.errors import UserError
from cmask_tf.faults import Faults
from cmask_tf.vocabulary import pairs, plurals
from cmask_tf.vocabulary.tag_files import Part, parts
from cmask_tf.vocabulary.text import spell
from cmask_tf.vocabulary.workers import cores, results

PART_IMAGES = 100_000  # images in a part of an iterable
ALONE = 32 << 20  # bytes up to which starting processes costs more than it saves


@dataclass
class Counts:
    """How often tags and pairs of tags were seen.

    Attributes:
        names: tags, folded or as written, by descending count, then by name. V of them.
        single: int64 [V], images that have the tag.
        pairs: int32 CSR [V, V], images that have both tags; symmetric, nothing on the diagonal.
        documents: number of images.
        plurals: the rarer of a singular and its plural -> the tag that it was counted as.
    """

    names: list[str]
    single: np.ndarray
    pairs: scipy.sparse.csr_matrix
    documents: int
    plurals: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spelling:
    """Which tags are counted as one.

    Attributes:
        folded: case, Unicode form, hyphens, white space, and singular and plural do not tell tags apart;
            else only the white space around a tag is of no account.
        same: spelling -> the name that it is counted as; folded, or as written.
        apart: names that are no singular and plural of each other, whatever English rules say.
    """

    folded: bool = True
    same: Mapping[str, str] = field(default_factory=dict)
    apart: Collection[str] = ()


def count(tag_lists: Iterable[Sequence[str]], min_count: int = 1, spelling: Spelling | None = None) -> Counts:
    """Counts tags and pairs; a tag counts once in an image, however it is spelled there.

    Memory: 8 bytes for each pair that occurs, 8 V^2 bytes at most (V = 18,000: 2.6 GB), what every distinct
    tag's name takes, and about 300 MB. On disk, in the folder that `tempfile` chooses (TMPDIR): 12 bytes a
    tag of an image and 6 V^2.

    Args:
        tag_lists: the tags of each image; read once.
        min_count: tags in fewer images are left out; their images count.
        spelling: which tags are one; folded when None.

    Raises:
        UserError: so many tags are left that their pairs do not fit in this machine, or no room on disk.
    """
    spelling = spelling or Spelling()
    with tempfile.TemporaryDirectory(prefix="cmask-tags-") as folder:
        numbers = _Numbers(min_count, spelling)
        progress = tqdm(tag_lists, desc="reading tags", unit=" images", delay=2)
        for index, images in enumerate(_batches(progress)):
            numbers.add(write_part(images, spelling, _stem(folder, index)))
        return numbers.counts(Path(folder), 1)


def count_files(
    files: Sequence[Path],
    min_count: int = 1,
    spelling: Spelling | None = None,
    faults: Faults | None = None,
    processes: int | None = None,
) -> Counts:
    """Counts the tags of files (see `tag_files`), in several processes where that pays.

    Memory, `min_count` and `spelling`: as for `count`; each process adds about 300 MB.

    Args:
        files: of tags.
        faults: takes the bad lines; when None, the first is an error.
        processes: the machine's cores when None; the counts do not depend on it.

    Raises:
        UserError: a file cannot be read, what `faults` raises, or as for `count`.
    """
    faults, todo = Faults(strict=True) if faults is None else faults, parts(files)
    size = sum(part.bytes for part in todo)
    spelling, processes = spelling or Spelling(), processes or (1 if size <= ALONE else cores())
    with tempfile.TemporaryDirectory(prefix="cmask-tags-") as folder:
        tasks = [(part, spelling, faults.strict, _stem(folder, i)) for i, part in enumerate(todo)]
        numbers = _Numbers(min_count, spelling)
        with tqdm(total=size, desc="reading tags", unit="B", unit_scale=True, delay=2) as progress:
            done = results(read_part, tasks, processes)
            for part, (found, seen) in zip(todo, done, strict=True):
                faults.add(seen.state())
                numbers.add(found)
                progress.update(part.bytes)
        faults.check()
        return numbers.counts(Path(folder), processes)


@dataclass
class Found:
    """A part's tags, numbered in the order of their first mention, and the images that have each."""

    names: list[str]
    single: np.ndarray
    documents: int


class PartFaults(Faults):
    """Counts a part's faults; whether they are too many is told from all parts together."""

    def check(self) -> None:
        pass


class _Places(dict):
    """Raw spelling -> number of the tag, -1 for an empty one; each spelling is folded once."""

    def __init__(self, spelling: Spelling):
        super().__init__()
        self.names: dict[str, int] = {}
        self.spelling = spelling

    def __missing__(self, tag: str) -> int:
        name = spell(tag, self.spelling.folded)
        name = self.spelling.same.get(name, name)
        self[tag] = self.names.setdefault(name, len(self.names)) if name else -1
        return self[tag]


def read_part(part: Part, spelling: Spelling, strict: bool, stem: str) -> tuple[Found, Faults]:
    """A part's tags under numbers of its own.

    Args:
        part: of a file.
        spelling: as for `count`; plurals are not merged here.
        strict: the first bad line is an error.
        stem: STEM.tags.npy and STEM.lengths.npy are written, as `pairs.Source` describes them.
    """
    faults = PartFaults(strict)
    found = write_part((tags for _, _, tags in part.records(faults)), spelling, stem)
    return found, faults


def write_part(images: Iterable[Sequence[str]], spelling: Spelling, stem: str) -> Found:
    """As `read_part`, of images at hand."""
    places, columns, lengths = _Places(spelling), array("i"), array("i")
    place_of = places.__getitem__
    for tags in images:
        row = set(map(place_of, tags))
        row.discard(-1)
        columns.extend(row)
        lengths.append(len(row))
    _save(stem, *(np.array(values, np.int32) for values in (columns, lengths)))
    single = np.bincount(np.array(columns, np.int64), minlength=len(places.names))
    return Found(list(places.names), single, len(lengths))


def _save(stem: str, tags: np.ndarray, lengths: np.ndarray) -> None:
    try:
        np.save(stem + ".tags", tags)
        np.save(stem + ".lengths", lengths)
    except OSError as error:
        folder = os.path.dirname(stem)
        raise UserError(
            f"{folder}: no temporary files there ({error.strerror}); TMPDIR names a place"
        ) from None


def _drop_repeats(stem: str, words: np.ndarray) -> np.ndarray:
    """Leaves a word once in an image, in a part whose tags `words` gives the words of; images of each tag."""
    tags, lengths = (np.load(f"{stem}.{kind}.npy") for kind in ("tags", "lengths"))
    image = np.repeat(np.arange(len(lengths)), lengths)
    shared = (np.bincount(words) > 1)[words]
    mentions = np.flatnonzero(shared[tags])
    keys = image[mentions] * (int(words.max()) + 1) + words[tags[mentions]]
    kept = np.ones(len(tags), bool)
    kept[mentions] = False
    kept[mentions[np.unique(keys, return_index=True)[1]]] = True
    if not kept.all():
        _save(stem, tags[kept], np.bincount(image[kept], minlength=len(lengths)).astype(np.int32))
    return np.bincount(tags[kept], minlength=len(words))


class _Numbers:
    """All parts' tags under numbers of their own, and how many images have each."""

    def __init__(self, min_count: int, spelling: Spelling):
        self.min_count, self.spelling = min_count, spelling
        self.documents = 0
        self.names: dict[str, int] = {}
        self.single = array("q")
        self.parts: list[np.ndarray] = []
        self.found: list[np.ndarray] = []

    def add(self, found: Found) -> None:
        """One part more."""
        numbers = [self.names.setdefault(name, len(self.names)) for name in found.names]
        self.single.extend([0] * (len(self.names) - len(self.single)))
        np.frombuffer(self.single, np.int64)[numbers] += found.single
        self.documents += found.documents
        self.parts.append(np.array(numbers, np.int32))
        self.found.append(found.single)

    def counts(self, folder: Path, processes: int) -> Counts:
        """The counts of what is frequent enough, pairs from the files of the parts."""
        owners = self._merge_plurals(folder, processes) if self.spelling.folded else {}
        names, single = list(self.names), np.array(self.single, np.int64)
        order = [int(i) for i in np.flatnonzero(single >= max(self.min_count, 1))]
        order.sort(key=lambda i: (-single[i], names[i]))
        check_memory(single[order])
        place = np.full(len(names), -1, np.int32)
        place[order] = np.arange(len(order))
        sources = [
            pairs.Source(_stem(folder, i), place[numbers], int(found[place[numbers] >= 0].sum()))
            for i, (numbers, found) in enumerate(zip(self.parts, self.found, strict=True))
        ]
        table = pairs.count_pairs(sources, len(order), folder, processes)
        kept = {names[i] for i in order}
        merged = {name: owner for name, owner in owners.items() if owner in kept}
        return Counts([names[i] for i in order], single[order], table, self.documents, merged)

    def _merge_plurals(self, folder: Path, processes: int) -> dict[str, str]:
        """Gives singular and plural the number of the more frequent; the other is left with no image."""
        owners = plurals.owners(list(self.names), self.single, self.min_count, self.spelling.apart)
        if not owners:
            return {}
        words = np.arange(len(self.names), dtype=np.int32)
        for name, owner in owners.items():
            words[self.names[name]] = self.names[owner]
        self.parts = [words[numbers] for numbers in self.parts]
        both = [i for i, numbers in enumerate(self.parts) if len(np.unique(numbers)) < len(numbers)]
        tasks = [(_stem(folder, i), self.parts[i]) for i in both]
        for i, found in zip(both, results(_drop_repeats, tasks, processes), strict=True):
            self.found[i] = found
        single = np.zeros(len(words), np.int64)
        for numbers, found in zip(self.parts, self.found, strict=True):
            np.add.at(single, numbers, found)
        self.single = array("q", single.tobytes())
        return owners


def _stem(folder: str | Path, index: int) -> str:
    return os.path.join(folder, f"part{index}")


def _batches(images: Iterable[Sequence[str]]) -> Iterator[Iterable[Sequence[str]]]:
    images = iter(images)
    for first in images:
        yield itertools.chain([first], itertools.islice(images, PART_IMAGES - 1))


def check_memory(single: np.ndarray) -> None:
    """`single`: images of each tag, descending.

    Raises:
        UserError: so many tags that their pairs do not fit in this machine.
    """
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    need, fits = 12 * len(single) ** 2, int((room / 12) ** 0.5)
    if need > room:
        raise UserError(
            f"{len(single):,} tags: pairs and PMI matrix take up to {need / 1e9:.1f} GB of this machine's "
            f"{room / 1e9:.1f}; a minimum count of {int(single[fits]) + 1} leaves {fits:,} or fewer"
        )
