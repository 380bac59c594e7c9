"""Supplement 2.1: the PMI matrix and its eigenvectors."""

import math

import numpy as np
import pytest
import reference
import scipy.sparse

from cmask_tf.errors import UserError
from cmask_tf.vocabulary import pmi
from cmask_tf.vocabulary.counts import count
from cmask_tf.vocabulary.pmi import fill_null_vectors, log_ratios, pmi_matrix, word_vectors

# a, b, c, d are in 4, 3, 3, 3 of 8 images; ab together in 2, ac in 1, cd in 2.
FOUR_TAGS = ["ab", "ab", "ac", "a", "b", "cd", "d", "dc"]


@pytest.fixture
def random_counts():
    rng = np.random.default_rng(1)
    images = [[f"w{w}" for w in np.flatnonzero(rng.random(30) < rng.uniform(0.1, 0.4))] for _ in range(400)]
    return count(images)


def test_ppmi_of_four_tags_by_hand():
    matrix = pmi_matrix(count(FOUR_TAGS), "ppmi")
    ab, cd = math.log(2 * 8 / (4 * 3)), math.log(2 * 8 / (3 * 3))
    a, other = math.log(8 / 4), math.log(8 / 3)
    expected = [[a, ab, 0, 0], [ab, other, 0, 0], [0, 0, other, cd], [0, 0, cd, other]]
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-6)
    assert matrix.dtype == np.float32


def test_smoothed_pmi_of_four_tags_by_hand():
    # Half an image more for what was seen and for what chance expects: 1.5 for pairs with a, else 1.125.
    matrix = pmi_matrix(count(FOUR_TAGS), "pmi", smoothing=0.5)
    ab, ac, ad = math.log(2.5 / 2), math.log(1.5 / 2), math.log(0.5 / 2)
    bc, cd = math.log(0.5 / 1.625), math.log(2.5 / 1.625)
    a, other = math.log(2), math.log(8 / 3)
    expected = [[a, ab, ac, ad], [ab, other, bc, bc], [ac, bc, other, cd], [ad, bc, cd, other]]
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("block", [1, 3, 1024])
def test_the_matrix_equals_the_papers_sum_whatever_the_block(monkeypatch, block):
    monkeypatch.setattr(pmi, "BLOCK_ROWS", block)
    expected = reference.pmi(FOUR_TAGS, "abcd", k=0.5)
    np.testing.assert_allclose(pmi_matrix(count(FOUR_TAGS), "pmi"), expected, atol=1e-6)
    positive = np.maximum(reference.pmi(FOUR_TAGS, "abcd"), 0)
    np.testing.assert_allclose(pmi_matrix(count(FOUR_TAGS), "ppmi"), positive, atol=1e-6)


def test_log_ratios_are_rows_of_the_matrix_with_no_own_entry(random_counts):
    rows = np.array([4, 0])
    expected = pmi_matrix(random_counts, "pmi")[rows]
    expected[[0, 1], rows] = 0
    np.testing.assert_array_equal(log_ratios(random_counts, rows), expected)


def test_pmi_without_smoothing_and_unknown_variants_are_errors(random_counts):
    with pytest.raises(UserError, match="log 0"):
        pmi_matrix(random_counts, "pmi", smoothing=0)
    with pytest.raises(UserError, match="'npmi': expected one of pmi, ppmi"):
        pmi_matrix(random_counts, "npmi")


@pytest.mark.parametrize("full", [2048, 0])  # 0: the path for large vocabularies
def test_word_vectors_equal_the_papers_up_to_sign(monkeypatch, random_counts, full):
    monkeypatch.setattr(pmi, "_FULL", full)
    matrix = pmi_matrix(random_counts, "pmi")
    vectors, eigenvalues = word_vectors(matrix, 8)
    expected = reference.word_vectors(matrix.astype(np.float64), 8)
    signs = np.sign(np.sum(vectors * expected, axis=0))
    np.testing.assert_allclose(vectors * signs, expected, atol=1e-4)
    assert (np.diff(eigenvalues) <= 0).all() and (eigenvalues > 0).all()
    assert vectors.dtype == eigenvalues.dtype == np.float32


@pytest.mark.parametrize("variant", ["pmi", "ppmi"])
def test_the_kept_positive_eigenpairs_rebuild_their_part_of_the_matrix(random_counts, variant):
    matrix = pmi_matrix(random_counts, variant).astype(np.float64)
    values, columns = np.linalg.eigh(matrix)
    kept = values > 1e-3
    vectors, eigenvalues = word_vectors(matrix, int(kept.sum()))
    part = (columns[:, kept] * values[kept]) @ columns[:, kept].T
    np.testing.assert_allclose(vectors @ vectors.T, part, atol=1e-5)
    np.testing.assert_allclose(matrix @ vectors, vectors * eigenvalues, atol=1e-4)


@pytest.mark.parametrize("full", [2048, 0])
def test_too_many_dimensions_name_the_number_available(monkeypatch, full):
    monkeypatch.setattr(pmi, "_FULL", full)
    matrix = np.diag([3.0, -1.0, 2.0, 0.0]).astype(np.float32)
    assert word_vectors(matrix, 2)[1].tolist() == [3, 2]
    for dim in (3, 4, 50):
        with pytest.raises(UserError, match=rf"{dim} dimensions were asked for: 2 are available"):
            word_vectors(matrix, dim)
    with pytest.raises(UserError, match="at least 1"):
        word_vectors(matrix, 0)


@pytest.mark.parametrize("full", [2048, 0])
def test_or_fewer_takes_all_dimensions_that_there_are(monkeypatch, full):
    monkeypatch.setattr(pmi, "_FULL", full)
    matrix = np.diag([3.0, -1.0, 2.0, 0.0]).astype(np.float32)
    vectors, eigenvalues = word_vectors(matrix, 50, or_fewer=True)
    assert eigenvalues.tolist() == [3, 2] and vectors.shape == (4, 2)
    assert word_vectors(matrix, 1, or_fewer=True)[1].tolist() == [3]
    with pytest.raises(UserError, match="0 are available"):
        word_vectors(-np.eye(3, dtype=np.float32), 2, or_fewer=True)


def test_the_matrix_is_not_changed(random_counts):
    matrix = pmi_matrix(random_counts)
    before = matrix.copy()
    word_vectors(matrix, 3)
    np.testing.assert_array_equal(matrix, before)


def test_a_tag_on_every_image_has_pmi_0_and_gets_a_vector_from_its_company():
    counts = count([tags + "s" for tags in FOUR_TAGS])
    matrix = pmi_matrix(counts, "ppmi")
    assert counts.names[0] == "s" and (matrix[0] == 0).all() and not np.signbit(matrix[0, 0])
    vectors, _ = word_vectors(matrix, 3)
    filled, null = fill_null_vectors(vectors, counts.pairs)
    company = np.array([4, 3, 3, 3]) @ vectors[1:]
    assert null.tolist() == [0]
    np.testing.assert_array_equal(filled[1:], vectors[1:])
    assert np.dot(filled[0], company) / np.linalg.norm(filled[0]) / np.linalg.norm(company) > 1 - 1e-6
    longest = np.linalg.norm(vectors, axis=1).max()
    np.testing.assert_allclose(np.linalg.norm(filled[0]), 0.01 * longest, rtol=1e-5)


def test_null_words_without_company_get_different_directions():
    vectors = np.vstack([np.eye(4, 64), np.zeros((2, 64))]).astype(np.float32)
    filled, null = fill_null_vectors(vectors, scipy.sparse.csr_matrix((6, 6), dtype=np.int32))
    a, b = filled[null]
    np.testing.assert_allclose([np.linalg.norm(a), np.linalg.norm(b)], 0.01, rtol=1e-5)
    assert abs(a @ b) < 0.5 * 0.01**2
