"""Counting pairs of tags by an inverted index.

The images' tags lie in one file, sorted in each image. For every tag the images that have it are looked
up and the tags that follow it there are counted (`bincount`): the upper triangle, a row at a time, with a
row's counter in the cache. docs/vocabulary.md has the time beside that of the sparse product X^T X.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from tqdm import tqdm

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.workers import results

TASK_TAGS = 8_000_000  # mentions of tags that one task looks up
GATHER = 1 << 17  # pairs counted at a time: what stays in a core's cache
BLOCK = 1024


@dataclass(frozen=True)
class Source:
    """A part of the images: the files STEM.tags.npy and STEM.lengths.npy of int32.

    Attributes:
        stem: where the two files lie.
        places: int32, a tag's number in the files -> its row among the V, or -1.
        mentions: tags in the file that have a row.
    """

    stem: str
    places: np.ndarray
    mentions: int


def count_pairs(sources: list[Source], words: int, folder: Path, processes: int) -> scipy.sparse.csr_matrix:
    """How many images have both tags.

    Memory: 12 V^2 bytes at most: 8 for each pair that occurs, and pages of a 4 V^2 file, which the system
    may drop; each process about 200 MB.

    Args:
        sources: all images.
        words: V.
        folder: for the files that this writes.

    Raises:
        UserError: no room on the folder's disk.

    Returns:
        int32 CSR [V, V], symmetric, nothing on the diagonal, indices sorted.
    """
    mentions = sum(source.mentions for source in sources)
    if words < 2 or mentions == 0:
        return scipy.sparse.csr_matrix((words, words), dtype=np.int32)
    kind = np.uint16 if words <= 2**16 else np.int32
    shapes = {"tags": (kind, (mentions,)), "after": (kind, (mentions,)), "table": (np.int32, (words, words))}
    _check_room(folder, sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in shapes.values()))
    files = [str(folder / name) for name in shapes]
    for name, (dtype, shape) in zip(files, shapes.values(), strict=True):
        np.lib.format.open_memmap(name, "w+", dtype, shape)
    starts = np.cumsum([0] + [source.mentions for source in sources])
    tasks = [(source, words, int(at), *files[:2]) for source, at in zip(sources, starts, strict=False)]
    single = sum(tqdm(results(_sort_part, tasks, processes), "sorting tags", len(tasks), delay=2))
    ranges = _ranges(single)
    tasks = [(first, last, *files) for first, last in ranges]
    for _ in tqdm(results(_count_rows, tasks, processes), "counting pairs", len(tasks), delay=2):
        pass
    return _symmetric(np.asarray(np.load(files[2], mmap_mode="r+")))


def _check_room(folder: Path, need: int) -> None:
    # A mapped file that finds the disk full ends the process.
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{folder}: temporary files take {need / 1e9:.1f} GB, {free / 1e9:.1f} are free; see TMPDIR"
        )


def presence(source: Source, words: int) -> scipy.sparse.csr_matrix:
    """int8 [images, words]: 1 where the image has the tag; indices sorted."""
    places = source.places[np.load(source.stem + ".tags.npy")]
    kept = places >= 0
    ends = np.concatenate([[0], np.cumsum(kept)])[np.cumsum(np.load(source.stem + ".lengths.npy"))]
    places, ends = places[kept], np.concatenate([[0], ends])
    images = scipy.sparse.csr_matrix((np.ones(len(places), np.int8), places, ends), (len(ends) - 1, words))
    images.sort_indices()
    return images


def _sort_part(source: Source, words: int, at: int, tags_file: str, after_file: str) -> np.ndarray:
    """Writes a part's tags, by row, and how many follow each in its image; gives the images of each tag."""
    images = presence(source, words)
    places, ends = images.indices, images.indptr
    mine = slice(at, at + len(places))
    np.load(tags_file, mmap_mode="r+")[mine] = places
    np.load(after_file, mmap_mode="r+")[mine] = np.repeat(ends[1:], np.diff(ends)) - np.arange(
        1, len(places) + 1
    )
    return np.bincount(places, minlength=words)


def _ranges(single: np.ndarray) -> list[tuple[int, int]]:
    """Rows [first, last) of about `TASK_TAGS` mentions."""
    edges = np.flatnonzero(np.diff(np.cumsum(single) // TASK_TAGS)) + 1
    return [(int(a), int(b)) for a, b in zip([0, *edges], [*edges, len(single)], strict=True)]


def _count_rows(first: int, last: int, tags_file: str, after_file: str, table_file: str) -> None:
    """Fills rows [first, last) of the upper triangle."""
    # Plain views: indexing a memmap costs more than what is read.
    tags, after = (np.asarray(np.load(name, mmap_mode="r")) for name in (tags_file, after_file))
    table = np.asarray(np.load(table_file, mmap_mode="r+"))
    for row, places in zip(range(first, last), _mentions(tags, first, last), strict=True):
        follow = after[places].astype(np.int64)
        places, follow = places[follow > 0], follow[follow > 0]
        table[row] = _followers(tags, places, follow, table.shape[1])


def _mentions(tags: np.ndarray, first: int, last: int) -> Iterator[np.ndarray]:
    """For each row from first to last the places in `tags` that have it, ascending."""
    found = []
    for start in range(0, len(tags), TASK_TAGS):
        block = tags[start : start + TASK_TAGS]
        found.append(np.flatnonzero((block >= first) & (block < last)) + start)
    places = np.concatenate(found)
    rows = tags[places]
    places = places[np.argsort(rows, kind="stable")]  # a radix sort, for 16 bits
    ends = np.cumsum(np.bincount(rows - first, minlength=last - first))
    yield from np.split(places, ends[:-1])


def _followers(tags: np.ndarray, places: np.ndarray, follow: np.ndarray, words: int) -> np.ndarray:
    """How often each row occurs in tags[p + 1 : p + 1 + f] over all places p with their f."""
    counts = np.zeros(words, np.int32)
    step = max(GATHER // int(follow.max(initial=1)), 1)
    for start in range(0, len(places), step):
        first, many = places[start : start + step] + 1, follow[start : start + step]
        ends = np.cumsum(many)
        index = np.repeat(first - (ends - many), many)
        index += np.arange(ends[-1])
        counts += np.bincount(tags.take(index), minlength=words)
    return counts


def _symmetric(table: np.ndarray) -> scipy.sparse.csr_matrix:
    """CSR of the upper triangle and its mirror image, which is written into `table` in blocks."""
    words, blocks = len(table), range(0, len(table), BLOCK)
    present = np.zeros(words, np.int64)
    for i in blocks:
        rows = slice(i, i + BLOCK)
        for j in range(i, words, BLOCK):
            table[j : j + BLOCK, rows] += table[rows, j : j + BLOCK].T
        present[rows] = np.count_nonzero(table[rows], axis=1)
    starts = np.concatenate([[0], np.cumsum(present)])
    indices, values = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
    for row, start, end in zip(table, starts, starts[1:], strict=False):
        indices[start:end] = row.nonzero()[0]
        row.take(indices[start:end], out=values[start:end], mode="clip")
    return scipy.sparse.csr_matrix((values, indices, starts), (words, words))
