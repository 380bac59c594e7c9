"""Counting pairs of tags by an inverted index.

The images lie in matrices, one image a row, those of about as many tags in one. For every tag the images that
have it are looked up and all their tags are counted: a row of the table at a time, with the row's counter in
the cache. Each pair is counted from both sides: to count one side only would mean to gather tags one by one,
where whole images are copied. docs/vocabulary.md has the time beside that of the sparse product X^T X.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
from tqdm import tqdm

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.workers import results

TASK_TAGS = 8_000_000  # mentions of tags that one task looks up
GATHER = 1 << 17  # pairs counted at a time: what stays in a core's cache
_UNSIGNED = {np.dtype(np.uint16): np.uint16, np.dtype(np.int32): np.uint32}


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

    Memory: 8 V^2 bytes at most, 8 for each pair that occurs; each process about 300 MB.

    Args:
        sources: all images.
        words: V.
        folder: for the files that this writes.

    Raises:
        UserError: no room on the folder's disk.

    Returns:
        int32 CSR [V, V], symmetric, nothing on the diagonal, indices sorted.
    """
    if words < 2:
        return scipy.sparse.csr_matrix((words, words), dtype=np.int32)
    mentions = sum(source.mentions for source in sources)
    size = _kind(words)().itemsize
    # The images in parts and joined, up to twice as large when filled up; and the table.
    _check_room(folder, 4 * mentions * size + (4 + size) * words * words)
    tasks = [(source, words) for source in sources]
    found = list(tqdm(results(_align_part, tasks, processes), "aligning tags", len(tasks), delay=2))
    files = [_joined(sources, found, width, words, folder) for width in sorted(set().union(*found))]
    tasks = [(first, last, words, files, folder) for first, last in _ranges(files, words)]
    counted = results(_count_rows, tasks, processes)
    lengths = list(tqdm(counted, "counting pairs", len(tasks), delay=2))
    return _table([task[0] for task in tasks], lengths, words, folder)


def _kind(words: int) -> type:
    """What holds a row's number, and `words`, which fills images up."""
    return np.uint16 if words < 2**16 else np.int32


def _check_room(folder: Path, need: int) -> None:
    # A mapped file that finds the disk full ends the process.
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{folder}: temporary files take {need / 1e9:.1f} GB, {free / 1e9:.1f} are free; see TMPDIR"
        )


def presence(source: Source, words: int) -> scipy.sparse.csr_matrix:
    """int8 [images, words]: 1 where the image has the tag; indices sorted."""
    rows, lengths = _known(source)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    images = scipy.sparse.csr_matrix((np.ones(len(rows), np.int8), rows, ends), (len(lengths), words))
    images.sort_indices()
    return images


def _known(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a part's tags that have one, int32, and how many each image has of them."""
    rows = source.places[np.load(source.stem + ".tags.npy")]
    known, lengths = rows >= 0, np.load(source.stem + ".lengths.npy")
    ends = np.concatenate([[0], np.cumsum(known)])[np.cumsum(lengths)]
    return rows[known], np.diff(ends, prepend=0)


def _align_part(source: Source, words: int) -> dict[int, int]:
    """Writes a part's images of two tags or more as matrices, by width; gives width -> images.

    Images with fewer tags than their matrix is wide are filled up with `words`.
    """
    rows, lengths = _known(source)
    starts, found = np.cumsum(lengths) - lengths, {}
    widths = np.array([_width(n) for n in range(int(lengths.max(initial=0)) + 1)])[lengths]
    for width in np.unique(widths[lengths >= 2]).tolist():
        images = np.flatnonzero((widths == width) & (lengths >= 2))
        matrix = np.full((len(images), width), words, _kind(words))
        filled = np.arange(width) < lengths[images, None]
        matrix[filled] = rows[(starts[images, None] + np.arange(width))[filled]]
        np.save(f"{source.stem}.{width}", matrix)
        found[width] = len(images)
    return found


def _width(length: int) -> int:
    """`length` rounded up: four steps to each power of two, so that few matrices hold all images."""
    step = max(1 << max(length.bit_length() - 3, 0), 2)
    return -(-length // step) * step


def _joined(sources: list[Source], found: list[dict[int, int]], width: int, words: int, folder: Path) -> str:
    """Puts all parts' matrices of a width into one file."""
    total = sum(images.get(width, 0) for images in found)
    name, at = str(folder / f"width{width}"), 0
    matrix = np.lib.format.open_memmap(name, "w+", _kind(words), (total, width))
    for source, images in zip(sources, found, strict=True):
        if width in images:
            part = Path(f"{source.stem}.{width}.npy")
            matrix[at : at + images[width]] = np.load(part)
            at += images[width]
            part.unlink()
    return name


def _ranges(files: list[str], words: int) -> list[tuple[int, int]]:
    """Rows [first, last) of about `TASK_TAGS` mentions."""
    single = np.zeros(words + 1, np.int64)
    for name in files:
        flat = np.load(name, mmap_mode="r").reshape(-1)
        for start in range(0, len(flat), TASK_TAGS):
            single += np.bincount(flat[start : start + TASK_TAGS], minlength=words + 1)
    edges = np.flatnonzero(np.diff(np.cumsum(single[:-1]) // TASK_TAGS)) + 1
    return [(int(a), int(b)) for a, b in zip([0, *edges], [*edges, words], strict=True)]


def _count_rows(first: int, last: int, words: int, files: list[str], folder: Path) -> np.ndarray:
    """Writes what rows [first, last) have beside zeros, row after row; gives how much that is of each."""
    # Plain views: indexing a memmap costs more than what is read.
    matrices = [np.asarray(np.load(name, mmap_mode="r")) for name in files]
    places = [_images_of(matrix, first, last) for matrix in matrices]
    # As wide as an index: `np.add.at` is ten times slower else.
    counts, lengths = np.empty(words + 1, np.intp), np.empty(last - first, np.int64)
    with open(folder / f"columns{first}", "wb") as columns, open(folder / f"values{first}", "wb") as values:
        for row in range(first, last):
            counts[:] = 0
            for matrix, images in zip(matrices, places, strict=True):
                _add_tags(counts, matrix, images[row - first])
            counts[[row, words]] = 0
            found = counts.nonzero()[0]
            found.astype(_kind(words)).tofile(columns)
            counts[found].astype(np.int32).tofile(values)
            lengths[row - first] = len(found)
    return lengths


def _images_of(matrix: np.ndarray, first: int, last: int) -> list[np.ndarray]:
    """For each row from first to last the images in `matrix` that have it, ascending."""
    flat, width, images, rows = matrix.reshape(-1), matrix.shape[1], [], []
    for start in range(0, len(flat), TASK_TAGS):
        block = flat[start : start + TASK_TAGS]
        # Below first the difference wraps around to something large.
        found = np.flatnonzero((block - block.dtype.type(first)).view(_UNSIGNED[block.dtype]) < last - first)
        rows.append(block[found])
        images.append(((found + start) // width).astype(np.int32))
    rows, images = np.concatenate(rows), np.concatenate(images)
    images = images[np.argsort(rows, kind="stable")]  # a radix sort, for 16 bits
    return np.split(images, np.cumsum(np.bincount(rows - first, minlength=last - first))[:-1])


def _add_tags(counts: np.ndarray, matrix: np.ndarray, images: np.ndarray) -> None:
    """Counts all tags of some images."""
    step = max(GATHER // matrix.shape[1], 1)
    for start in range(0, len(images), step):
        tags = matrix.take(images[start : start + step], axis=0)
        np.add.at(counts, tags.reshape(-1).astype(np.intp), 1)


def _table(firsts: list[int], lengths: list[np.ndarray], words: int, folder: Path) -> scipy.sparse.csr_matrix:
    """CSR of the files of `_count_rows`, which are removed."""
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    indices, values = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
    for first, rows in zip(firsts, lengths, strict=True):
        mine = slice(starts[first], starts[first + len(rows)])
        indices[mine] = np.fromfile(folder / f"columns{first}", _kind(words))
        with open(folder / f"values{first}", "rb") as file:
            file.readinto(memoryview(values[mine]))
        for name in ("columns", "values"):
            (folder / f"{name}{first}").unlink()
    return scipy.sparse.csr_matrix((values, indices, starts), (words, words))
