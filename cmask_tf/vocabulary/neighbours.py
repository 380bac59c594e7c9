"""Nearest concepts: the neighbour p(q) of weakly supervised mixing (4.4).

The paper takes the nearest neighbour "in the embedding space": `pmi_neighbours`. Those are companions
(pumps and a jacket are tagged together, and lie apart in the photo). `second_order_neighbours` finds
substitutes (pumps and boots keep the same company): the cosine of two concepts' rows of log-ratio
co-occurrence, the pair's own two entries left out of both rows. Things that are always together keep the
same company too (van and wheel); where the kinds of words are known, only the kinds that may stand for a
word's own compete.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cmask_tf.vocabulary.counts import Counts
from cmask_tf.vocabulary.pmi import BLOCK_ROWS, log_ratios

# What may stand for a word of a kind; a part also lies in its whole. Words of other kinds take anything.
STAND_INS = {"object": ("object",), "stuff": ("stuff",), "part": ("part", "object")}


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows over their lengths; a null row stays null. float32 [N, D] -> float32 [N, D]."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def pmi_neighbours(vectors: np.ndarray, rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The candidate with the largest cosine of word vectors, for each of `rows`, never itself.

    Args:
        vectors: float32 [V, D].
        rows: int [R] vocabulary indices.
        candidates: int [C] vocabulary indices.

    Returns:
        int64 [R] vocabulary indices, each one of `candidates`.
    """
    directions = unit(vectors)
    return _best(directions[rows] @ directions[candidates].T, rows, candidates)


def second_order_neighbours(
    counts: Counts, rows: np.ndarray, candidates: np.ndarray, kinds: Sequence[str] | None = None
) -> np.ndarray:
    """The candidate with the largest second-order similarity, for each of `rows`, never itself.

    Args:
        counts: co-occurrence counts of V words, or a Vocabulary.
        rows: int [R] vocabulary indices.
        candidates: int [C] vocabulary indices.
        kinds: of the V words; a candidate whose kind is not among `STAND_INS` of a row's kind competes only
            when no other is there. None, or "unknown": every candidate competes.

    Returns:
        int64 [R] vocabulary indices, each one of `candidates`.
    """
    similarity = second_order(counts, rows, candidates)
    if kinds is not None:
        similarity -= 2.0 * ~_may_stand_in(kinds, rows, candidates)  # below any cosine
    return _best(similarity, rows, candidates)


def _may_stand_in(kinds: Sequence[str], rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """bool [R, C]."""
    kinds = np.asarray(kinds)
    own, theirs = kinds[rows][:, None], kinds[candidates][None, :]
    allowed = ~np.isin(own, list(STAND_INS)) | (theirs == "unknown")
    for kind, others in STAND_INS.items():
        allowed = allowed | ((own == kind) & np.isin(theirs, others))
    return allowed


def second_order_rows(counts: Counts, rows: np.ndarray) -> np.ndarray:
    """Rows of log-ratio co-occurrence (always the smoothed, signed ones), 0 at each row's own entry.

    A word that was added to a Vocabulary with nothing but a vector has no counts: its row is rebuilt, as
    `second_order_of_vectors` does.

    Args:
        counts: co-occurrence counts of V words, or a Vocabulary.
        rows: int [R] vocabulary indices.

    Returns:
        float32 [R, V].
    """
    rows = np.asarray(rows, np.int64)
    ratios = log_ratios(counts, rows, "pmi")
    bare = np.flatnonzero(counts.single[rows] == 0)
    if len(bare):
        rebuilt = unit(counts.vectors[rows[bare]]) @ counts.vectors.T
        rebuilt[np.arange(len(bare)), _own_entries(counts, rows[bare])] = 0
        # In every other row the columns of words without counts are 0.
        ratios[bare] = np.where(counts.single == 0, 0, rebuilt)
    return ratios


def _own_entries(counts: Counts, rows: np.ndarray) -> np.ndarray:
    """The entry that is left out of each row: its own; of a word without counts, the nearest word's."""
    own, bare = rows.copy(), np.flatnonzero(counts.single[rows] == 0)
    if len(bare):
        known = np.flatnonzero(counts.single)
        cosines = unit(counts.vectors[rows[bare]]) @ unit(counts.vectors[known]).T
        own[bare] = known[cosines.argmax(axis=1)]
    return own


def second_order(counts: Counts, rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Second-order similarity, in [-1, 1]. Memory: three dense blocks of 1,024 rows of V, and R x C.

    Args:
        counts: co-occurrence counts of V words, or a Vocabulary.
        rows: int [R] vocabulary indices.
        candidates: int [C] vocabulary indices.

    Returns:
        float32 [R, C]; 0 where a row is null (a word of every image).
    """
    rows, candidates = np.asarray(rows, np.int64), np.asarray(candidates, np.int64)
    own = _own_entries(counts, rows)
    return _by_blocks(counts, lambda part: second_order_rows(counts, rows[part]), own, candidates)


def second_order_of_vectors(
    queries: np.ndarray, vectors: np.ndarray, counts: Counts, candidates: np.ndarray
) -> np.ndarray:
    """Second-order similarity of bare vectors: their PMI rows are rebuilt as W w first.

    A word's own entry (its -log p) would drown the others. It is not known which that is, so the
    entry of the word nearest to the vector is left out.

    Args:
        queries: float32 [K, D] word vectors, not null.
        vectors: float32 [V, D], the vocabulary's W.
        counts: its co-occurrence counts, or the Vocabulary itself.
        candidates: int [C] vocabulary indices.

    Returns:
        float32 [K, C].
    """
    queries = unit(queries)
    own = (queries @ unit(vectors).T).argmax(axis=1)

    def rebuilt(part: slice) -> np.ndarray:
        block = queries[part] @ vectors.T
        block[np.arange(len(block)), own[part]] = 0
        return block

    return _by_blocks(counts, rebuilt, own, np.asarray(candidates, np.int64))


def _by_blocks(counts: Counts, row_block, own: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Cosines of rows (`row_block(slice)`, own entry zero) with the candidates' rows, [R, C]."""
    similarity = np.empty((len(own), len(candidates)), np.float32)
    for start in range(0, len(candidates), BLOCK_ROWS):
        columns = slice(start, start + BLOCK_ROWS)
        others = second_order_rows(counts, candidates[columns])
        for first in range(0, len(own), BLOCK_ROWS):
            part = slice(first, first + BLOCK_ROWS)
            similarity[part, columns] = _cosines(row_block(part), own[part], others, candidates[columns])
    return similarity


def _cosines(rows: np.ndarray, own: np.ndarray, others: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Cosines that leave out entries `own[i]` and `candidates[j]` of both vectors, [R, C].

    Each vector's own entry is zero, so the product needs no correction, and either length loses one.
    """
    left = np.sum(rows**2, axis=1)[:, None] - rows[:, candidates] ** 2
    right = np.sum(others**2, axis=1)[None, :] - others[:, own].T ** 2
    # A length that only rounding keeps from zero is zero.
    floor = 1e-6 * max(1.0, float(left.max(initial=0)))
    defined = (left > floor) & (right > floor)
    return np.where(defined, rows @ others.T / np.sqrt(np.where(defined, left * right, 1)), 0)


def _best(similarity: np.ndarray, rows: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    rows, candidates = np.asarray(rows, np.int64), np.asarray(candidates, np.int64)
    if len(candidates) == 0 or (len(candidates) == 1 and candidates[0] in rows):
        raise ValueError("neighbours need at least one candidate beside the concept itself")
    similarity = np.where(rows[:, None] == candidates[None, :], -np.inf, similarity)
    return candidates[similarity.argmax(axis=1)]
