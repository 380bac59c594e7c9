"""Fold-in: a new tag's vector from the photos that carry it, with no eigenvectors computed again.

With M = U S U^T and W = U S^(1/2) (supplement 2.1), row m of M belongs to the vector w = m W S^-1. A new
tag has no column in M, but its row is M's formula with its co-occurrence with the known tags.

Which corpus the probabilities come from. The lines given are new images, and were chosen because they carry
the tag: they tell p(w'|w), which tags go with it, and neither how common the tag is nor how common others
are. PMI needs no more: p(w, w') / (p(w) p(w')) = p(w'|w) / p(w'), with p(w'|w) = n(w, w') / n(w) from the
new lines and p(w') = n(w') / N from the corpus, and the corpus' smoothing. Lines without the tag are not
read into it, and the corpus' own counts and N stay: a tag that was in the corpus gets its own row again. It
is assumed that the new photos are tagged as fully as the corpus is: twice as many tags a photo add log 2 to
the whole row.

Words that share one vector are one row of the vocabulary, but were each a column of M: the column counts as
often.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.new_words import NewCounts, corpus_rows, extended_counts
from cmask_tf.vocabulary.pmi import log_ratios
from cmask_tf.vocabulary.text import fold


def count_new(
    tag_lists: Iterable[Sequence[str]], vocabulary: Vocabulary, names: Sequence[str]
) -> tuple[NewCounts, np.ndarray]:
    """Counts new words against a vocabulary. Tags are read as the corpus' were: folded, with aliases.

    Memory: 4 K (V + K) bytes.

    Args:
        tag_lists: the tags of each image, read once; images without a new word count for nothing.
        vocabulary: V words.
        names: K folded names that it does not have.

    Returns:
        The counts, and int64 [K] how many tags of the vocabulary the images of each new word have in all.

    Raises:
        UserError: no line carries a word, or none of its lines has a known tag.
    """
    words = len(vocabulary)
    ids = vocabulary.own_spellings | {name: words + i for i, name in enumerate(names)}
    both = np.zeros((len(names), words + len(names)), np.int32)
    for tags in tag_lists:
        present = {ids[tag] for tag in map(fold, tags) if tag in ids}
        for new in present:
            if new >= words:
                both[new - words, list(present)] += 1
    own = words + np.arange(len(names))
    single = both[np.arange(len(names)), own].astype(np.int64)
    both[np.arange(len(names)), own] = 0
    company = both[:, :words].sum(axis=1, dtype=np.int64)
    for name, images, tags in zip(names, single, company, strict=True):
        if not images:
            raise UserError(f"word {name!r}: no line carries it")
        if not tags:
            raise UserError(f"word {name!r}: none of its {images} lines has a tag of the vocabulary")
    return NewCounts(single, scipy.sparse.csr_matrix(both)), company


def pmi_rows(vocabulary: Vocabulary, names: Sequence[str], counts: NewCounts) -> np.ndarray:
    """The new words' rows of M, with the corpus' variant and smoothing: float32 [K, V].

    Raises:
        UserError: `meta` does not name the variant.
    """
    joined = extended_counts(vocabulary, names, counts)
    rows = len(vocabulary) + np.arange(len(names))
    meta = vocabulary.meta
    return log_ratios(joined, rows, meta.get("variant"), meta.get("smoothing"))[:, : len(vocabulary)]


def fold_in(vocabulary: Vocabulary, rows: np.ndarray) -> np.ndarray:
    """w = m W S^-1. Memory: 8 B D bytes (B = 18,000 words, D = 4,096: 0.6 GB).

    Args:
        vocabulary: V words; only those of its corpus are read.
        rows: float32 [K, V], rows of M (`pmi_rows`).

    Returns:
        float32 [K, D].
    """
    basis = corpus_rows(vocabulary)
    merged = vocabulary.meta.get("merged", {})
    columns = np.array([1 + len(merged.get(vocabulary.names[i], [])) for i in basis], np.float64)
    vectors = vocabulary.vectors[basis].astype(np.float64)
    folded = (rows[:, basis] * columns) @ vectors / vocabulary.eigenvalues.astype(np.float64)
    return folded.astype(np.float32)
