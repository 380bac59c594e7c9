"""Co-occurrence counts of tags, streamed (supplement 2.1: the counts behind p(w) and p(w, w')).

Images are counted in blocks of bounded size: a block's sparse image-by-tag matrix X gives X^T X, which
is added to the running total. The images themselves are never held.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from cmask_tf.vocabulary.text import fold

BLOCK_TAGS = 4_000_000  # tags in a block of images


@dataclass
class Counts:
    """How often tags and pairs of tags were seen.

    Attributes:
        names: folded tags, by descending count, then by name. V of them.
        single: int64 [V], images that have the tag.
        pairs: int32 CSR [V, V], images that have both tags; symmetric, nothing on the diagonal.
        documents: number of images.
    """

    names: list[str]
    single: np.ndarray
    pairs: scipy.sparse.csr_matrix
    documents: int


def count(tag_lists: Iterable[Sequence[str]], min_count: int = 1) -> Counts:
    """Counts tags and pairs; a tag counts once in an image, however it is spelled there.

    Memory: 8 bytes for each pair that occurs, twice that at the end (V = 18,000 with every pair seen:
    5.2 GB; with a tenth of them 0.5 GB), and about 100 MB for a block.

    Args:
        tag_lists: the tags of each image; read once.
        min_count: tags in fewer images are left out.
    """
    ids: dict[str, int] = {}
    known: dict[str, int] = {}  # raw spelling -> id, so that each spelling is folded once
    total = scipy.sparse.csr_matrix((0, 0), dtype=np.int32)
    columns, ends, documents = array("i"), array("q", [0]), 0
    for tags in tag_lists:
        documents += 1
        for tag in tags:
            if tag not in known:
                folded = fold(tag)
                known[tag] = ids.setdefault(folded, len(ids)) if folded else -1
        columns.extend({known[tag] for tag in tags} - {-1})
        ends.append(len(columns))
        if len(columns) >= BLOCK_TAGS:
            total = _add_block(total, columns, ends, len(ids))
            columns, ends = array("i"), array("q", [0])
    total = _add_block(total, columns, ends, len(ids))
    return _sorted_counts(list(ids), total, documents, min_count)


def _add_block(total: scipy.sparse.csr_matrix, columns: array, ends: array, tags: int):
    """The upper triangle of X^T X, diagonal included, added to `total` grown to [tags, tags]."""
    indices = np.frombuffer(columns, np.int32) if len(columns) else np.zeros(0, np.int32)
    values = np.ones(len(indices), np.int32)
    images = scipy.sparse.csr_matrix((values, indices, np.frombuffer(ends, np.int64)), (len(ends) - 1, tags))
    total.resize((tags, tags))
    return total + scipy.sparse.triu(images.T @ images, format="csr")


def _sorted_counts(
    names: list[str], upper: scipy.sparse.csr_matrix, documents: int, min_count: int
) -> Counts:
    single = upper.diagonal().astype(np.int64)
    order = [i for i in range(len(names)) if single[i] >= min_count]
    order.sort(key=lambda i: (-single[i], names[i]))
    pairs = scipy.sparse.triu(upper, k=1, format="csr")
    pairs = (pairs + pairs.T).tocsr()[order][:, order]
    pairs.sort_indices()
    return Counts([names[i] for i in order], single[order], pairs, documents)
