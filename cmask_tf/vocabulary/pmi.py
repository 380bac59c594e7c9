"""Word vectors from pointwise mutual information (supplement 2.1).

M_ij = log p(w_i, w_j) / (p(w_i) p(w_j)), M = U S U^T, W = U S^(1/2), the first D columns.

Where it differs from the paper: a pair that never co-occurs has PMI log 0. `pmi` adds `smoothing`
images to what was seen and to what chance expects, log (n_ij + k) / (n_i n_j / N + k), so that a pair
nothing is known of has 0; `ppmi` cuts at 0. The diagonal is -log p(w_i), and only positive eigenvalues
are used (S^(1/2) exists for them alone).

The default is `pmi` with half an image: docs/vocabulary.md compares the variants on held-out images, and
the ways to the eigenvectors by time and error.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.linalg.lapack
import scipy.sparse
from tqdm import tqdm

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.counts import Counts

VARIANTS = ("pmi", "ppmi")
DEFAULT = "pmi"
SMOOTHING = {"pmi": 0.5, "ppmi": 0.0}  # images added to a pair's observed and expected counts
BLOCK_ROWS = 1024
_FULL = 2048  # words up to which the whole spectrum is computed, in float64


def pmi_matrix(counts: Counts, variant: str = DEFAULT, smoothing: float | None = None) -> np.ndarray:
    """The matrix M of supplement 2.1.

    Memory: 4 V^2 bytes (V = 18,000: 1.3 GB), filled in blocks of rows.

    Args:
        counts: co-occurrence counts of V words.
        variant: "pmi" or "ppmi".
        smoothing: images added to observed and expected counts; `SMOOTHING[variant]` when None.

    Returns:
        float32 [V, V], symmetric. A word of every image has a row of zeros: `fill_null_vectors`
        gives it a vector.

    Raises:
        UserError: an unknown variant, or `pmi` without smoothing.
    """
    words = len(counts.names)
    matrix = np.empty((words, words), np.float32)
    for start in tqdm(range(0, words, BLOCK_ROWS), desc="PMI matrix", unit=" blocks of rows", delay=2):
        rows = np.arange(start, min(start + BLOCK_ROWS, words))
        matrix[rows] = log_ratios(counts, rows, variant, smoothing)
    # p(w, w) = p(w), so M_ii = log p / p^2; never smoothed. The sum keeps log 1 from being -0.
    np.fill_diagonal(matrix, np.log(counts.documents / counts.single))
    return matrix


def log_ratios(
    counts: Counts, rows: np.ndarray, variant: str = "pmi", smoothing: float | None = None
) -> np.ndarray:
    """Rows of log-ratio co-occurrence: `pmi_matrix`'s rows, with 0 on the diagonal.

    Args:
        rows: int [R] indices of words.

    Returns:
        float32 [R, V]; memory about 12 R V bytes while it runs.
    """
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    extra = np.float32(SMOOTHING[variant] if smoothing is None else smoothing)
    if variant == "pmi" and extra <= 0:
        raise UserError("variant 'pmi' needs smoothing above 0: log 0 for pairs that never co-occur")
    single = counts.single.astype(np.float32)
    expected = single[rows, None] * (single[None, :] / np.float32(counts.documents)) + extra
    ratios = counts.pairs[rows].toarray().astype(np.float32) + extra
    ratios /= expected
    with np.errstate(divide="ignore"):
        np.log(ratios, out=ratios)
    if variant == "ppmi":
        np.maximum(ratios, 0, out=ratios)
    ratios[np.arange(len(rows)), rows] = 0
    return ratios


def word_vectors(
    matrix: np.ndarray, dim: int, overwrite: bool = False, or_fewer: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """W = U S^(1/2), the first `dim` columns, of a symmetric matrix.

    Memory: 8 V^2 bytes (SciPy's wrapper clears a matrix for all vectors of the tridiagonal problem) and
    4 V dim, and a copy of the matrix unless it may be overwritten (V = 18,000, dim = 4,096: 4.2 GB with
    the matrix itself). Up to 2,048 words everything is float64; above, the reduction to a tridiagonal
    matrix and the way back are float32.

    Args:
        matrix: float32 [V, V].
        dim: D, at most the number of positive eigenvalues.
        overwrite: the matrix is not needed any more.
        or_fewer: when there are fewer positive eigenvalues, dim is their number.

    Returns:
        vectors float32 [V, dim] and eigenvalues float32 [dim], descending. The largest component of
        each column is positive, so that the same counts give the same vectors.

    Raises:
        UserError: more dimensions than positive eigenvalues; the message names how many there are.
    """
    if dim < 1:
        raise UserError(f"{dim} dimensions were asked for: expected at least 1")
    if len(matrix) <= _FULL:
        values, columns = scipy.linalg.eigh(matrix.astype(np.float64))
        dim = _available(values, dim, or_fewer)
        values, columns = values[-dim:], columns[:, -dim:]
    else:
        values, columns = _top_eigenpairs(matrix if overwrite else matrix.copy(), dim, or_fewer)
    columns *= np.sqrt(values).astype(columns.dtype)
    peaks = columns[np.abs(columns).argmax(axis=0), np.arange(len(values))]
    columns *= np.sign(peaks)
    return np.ascontiguousarray(columns[:, ::-1], np.float32), values[::-1].astype(np.float32)


def _top_eigenpairs(matrix: np.ndarray, dim: int, or_fewer: bool) -> tuple[np.ndarray, np.ndarray]:
    """The `dim` largest eigenvalues float64, ascending, and their vectors float32 [V, dim].

    LAPACK's own routes take the tridiagonal matrix to bisection and inverse iteration, which makes vectors
    of close eigenvalues orthogonal one by one; here it is solved by relatively robust representations in
    float64 (in float32 they fail on spectra as flat as PMI's).
    """
    words, lapack = len(matrix), scipy.linalg.lapack
    with tqdm(total=3, desc=f"eigenvectors of {words} x {words}", delay=2) as progress:
        # Symmetric: the transpose is the same matrix in the order that LAPACK overwrites in place.
        size = int(lapack.ssytrd_lwork(words, lower=1)[0])
        reflectors, diagonal, beside, scales, info = lapack.ssytrd(
            matrix.T, lower=1, lwork=size, overwrite_a=1
        )
        diagonal, beside = diagonal.astype(np.float64), beside.astype(np.float64)
        progress.update()
        spectrum = scipy.linalg.eigvalsh_tridiagonal(diagonal, beside, lapack_driver="sterf")
        dim = _available(spectrum, dim, or_fewer)
        values, tridiagonal = scipy.linalg.eigh_tridiagonal(
            diagonal, beside, select="i", select_range=(words - dim, words - 1), lapack_driver="stemr"
        )
        columns = np.empty((words, dim), np.float32, order="F")
        columns[:-1], columns[-1] = tridiagonal[1:], tridiagonal[0]
        del tridiagonal
        progress.update()
        _reflect(reflectors, scales, columns)
        progress.update()
    return values, np.roll(columns, 1, axis=0)


def _reflect(reflectors: np.ndarray, scales: np.ndarray, columns: np.ndarray) -> None:
    """Multiplies by the Q of `ssytrd`, in place; `columns` has its first row last, which Q leaves alone.

    The reflectors begin a row below the diagonal, and LAPACK's wrapper would copy such a slice. The same
    memory read from its second element on is a matrix of full columns whose last row is not theirs: zeros.
    """
    words, lapack = len(reflectors), scipy.linalg.lapack
    reflectors[0, 1:] = 0
    shifted = reflectors.T.reshape(-1)[1 : 1 + words * (words - 1)].reshape(words - 1, words).T
    for start in range(0, columns.shape[1], BLOCK_ROWS):
        part = columns[:, start : start + BLOCK_ROWS]
        lapack.sormqr("L", "N", shifted, scales, part, 64 * part.shape[1], overwrite_c=1)


def _available(values: np.ndarray, dim: int, or_fewer: bool) -> int:
    """How many of `dim` dimensions there are; `values`: all eigenvalues, ascending."""
    # What is below float32's resolution of the largest eigenvalue is zero, not positive.
    positive = int(np.sum(values > 1e-6 * max(values[-1], 0)))
    if positive < dim and not (or_fewer and positive):
        raise UserError(f"{dim} dimensions were asked for: {positive} are available (positive eigenvalues)")
    return min(dim, positive)


def fill_null_vectors(vectors: np.ndarray, pairs: scipy.sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Gives every null row a small vector: no null vector leaves the builder.

    A word of every image has PMI 0 with all others; a word that is never seen with the frequent ones
    lives in dimensions that were cut off. Such a word gets the mean direction of the words it is seen
    with; when there are none, a fixed random direction, near orthogonal to all (as its own dimension
    would be). The length is a hundredth of the longest vector's.

    Args:
        vectors: float32 [V, D].
        pairs: co-occurrence counts [V, V].

    Returns:
        The vectors, and int [N] indices of the rows that were null.
    """
    norms = np.linalg.norm(vectors, axis=1)
    null = np.flatnonzero(norms <= 1e-4 * norms.max())
    known = vectors.copy()
    known[null] = 0
    company = pairs[null].astype(np.float32) @ known
    lengths = np.linalg.norm(company, axis=1, keepdims=True)
    random = np.random.default_rng(0).standard_normal(company.shape).astype(np.float32)
    direction = np.where(lengths > 0, company, random)
    known[null] = 0.01 * norms.max() * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return known, null
