"""Words that join a vocabulary: nothing old changes, and all that finds neighbours works."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse
from segmenter_fixture import smallest_vocabulary

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.neighbours import second_order, second_order_of_vectors
from cmask_tf.vocabulary.new_words import NewCounts, add_words, corpus_rows, new_names, read_vectors

DRESS_LIKE = np.array([0.9, -0.4, 0.3], np.float32)


@pytest.fixture(scope="module")
def clothes():
    return smallest_vocabulary()


def counted(single, pairs) -> NewCounts:
    return NewCounts(np.array(single, np.int64), scipy.sparse.csr_matrix(np.array(pairs, np.int32)))


def test_old_words_keep_their_places_and_all_that_is_known_of_them(clothes):
    grown = add_words(clothes, ["gown"], DRESS_LIKE[None], [{"by": "vectors"}])
    assert grown.names == [*clothes.names, "gown"] and len(clothes.names) == 8
    for part in ("counts", "idf", "vectors"):
        np.testing.assert_array_equal(getattr(grown, part)[:8], getattr(clothes, part))
    np.testing.assert_array_equal(grown.cooccurrence[:8, :8].toarray(), clothes.cooccurrence.toarray())
    assert grown.cooccurrence[8].nnz == 0
    assert (grown.kinds[:8], grown.kinds[8], grown.aliases[:8]) == (clothes.kinds, "unknown", clothes.aliases)
    assert grown.documents == clothes.documents and grown.counts[8] == 0 and np.isfinite(grown.idf).all()
    assert grown.meta["added"] == {"gown": {"by": "vectors"}} and "added" not in clothes.meta


def test_counted_words_bring_their_co_occurrence(clothes):
    pairs = [[5, 0, 1, 0, 0, 0, 0, 0, 0, 2], [0, 3, 0, 0, 0, 0, 0, 0, 2, 0]]
    vectors = np.array([DRESS_LIKE, -DRESS_LIKE])
    grown = add_words(clothes, ["gown", "apron"], vectors, [{}, {}], counted([6, 4], pairs))
    matrix = grown.cooccurrence.toarray()
    np.testing.assert_array_equal(matrix[8:], pairs)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert grown.counts[8:].tolist() == [6, 4] and grown.cooccurrence.dtype == np.int32
    assert grown.idf[8] == pytest.approx(np.log(300 / 6))


def test_a_saved_vocabulary_with_new_words_loads_equal(clothes, tmp_path):
    grown = add_words(clothes, ["gown"], DRESS_LIKE[None], [{"by": "vectors"}])
    grown.save(tmp_path / "v")
    loaded = Vocabulary.load(tmp_path / "v")
    assert (loaded.names, loaded.aliases, loaded.kinds, loaded.meta) == (
        grown.names,
        grown.aliases,
        grown.kinds,
        grown.meta,
    )
    np.testing.assert_array_equal(loaded.vectors, grown.vectors)
    np.testing.assert_array_equal(loaded.counts, grown.counts)
    assert loaded.index("Gowns") == 8 and loaded.nearest("gown", k=1) == grown.nearest("gown", k=1)


def test_spellings_are_those_that_would_be_worked_out_anew(clothes):
    grown = add_words(clothes, ["glasses", "red hat stand"], np.eye(2, 3), [{}, {}])
    anew = dataclasses.replace(grown, inflected=None)
    assert grown.spellings() == anew.spellings()
    twice = add_words(grown, ["glass"], np.array([[0.1, -1, 2.0]]), [{}])
    assert twice.spellings()["glass"] == 10 and twice.spellings()["glasses"] == 8


def test_an_equal_vector_makes_an_alias_and_it_is_said(clothes):
    vectors = np.stack([2.5 * clothes.vectors[3], DRESS_LIKE, 0.1 * DRESS_LIKE + 1e-5, -DRESS_LIKE])
    names, pairs = ["x", "gown", "robe", "apron"], np.zeros((4, 12), np.int32)
    pairs[1, 0], pairs[1, 11], pairs[3, 9] = 7, 4, 4
    grown = add_words(clothes, names, vectors, [{}] * 4, counted([1, 7, 9, 5], pairs))
    same = clothes.names[3]
    assert grown.names == [*clothes.names, "gown", "apron"]
    assert "x" in grown.aliases[3] and grown.aliases[8:] == [["robe"], []]
    assert grown.index("X") == 3 and grown.index("robes") == 8 and grown.counts[8:].tolist() == [7, 5]
    assert grown.cooccurrence[8].toarray().tolist() == [[7, 0, 0, 0, 0, 0, 0, 0, 0, 4]]
    notes = grown.meta["notes"][len(clothes.meta["notes"]) :]
    assert notes == [
        f"equal vectors, now an alias of {same!r}: x",
        "equal vectors, now an alias of 'gown': robe",
    ]
    assert grown.meta["added"]["robe"] == {"alias_of": "gown"} and "x" not in clothes.aliases[3]


def test_second_order_takes_a_counted_word_by_its_row_and_a_bare_one_by_its_vector(clothes):
    hat = clothes.index("red hat")
    row = clothes.cooccurrence[hat].toarray()[0]
    bare = clothes.vectors[hat] + np.array([0.03, 0, 0], np.float32)
    grown = add_words(
        clothes, ["bonnet"], np.array([[0.1, 5, -1]]), [{}], counted([clothes.counts[hat]], [[*row, 0]])
    )
    others = np.array([i for i in range(8) if i != hat])
    # The bonnet keeps the hat's company; its vector says otherwise, and is not asked.
    assert second_order(grown, [8], [hat])[0, 0] > 0.99
    assert grown.substitutes("bonnet", k=1)[0][0] == "red hat"
    assert dict(grown.nearest("bonnet", k=9))["red hat"] < 0.5
    before = grown
    grown = add_words(grown, ["beret"], bare[None], [{}])
    for candidates in (np.arange(9), others):
        rebuilt = second_order_of_vectors(bare[None], before.vectors, before, candidates)
        np.testing.assert_allclose(second_order(grown, [9], candidates), rebuilt, atol=1e-5)
    assert grown.substitutes("beret", k=1)[0][1] > 0.5


def test_bare_words_change_no_ones_second_order_neighbours(clothes):
    grown = add_words(clothes, ["gown"], DRESS_LIKE[None], [{}])
    old = np.arange(8)
    np.testing.assert_allclose(second_order(grown, old, old), second_order(clothes, old, old), atol=1e-6)


def test_added_and_null_words_are_no_rows_of_the_decomposition(clothes):
    grown = add_words(clothes, ["gown"], DRESS_LIKE[None], [{}])
    grown.meta["null"] = [clothes.names[2]]
    assert corpus_rows(grown).tolist() == [0, 1, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("word", ["dress", "DRESS ", "purse", "Red_Hat"])
def test_a_word_that_is_there_already_by_any_own_spelling_is_an_error(clothes, word):
    with pytest.raises(UserError, match="in the vocabulary already, as "):
        new_names(clothes, ["gown", word])


def test_names_are_folded_and_given_once_and_a_guessed_plural_is_free(clothes):
    assert new_names(clothes, ["Dresses", "gown", "GOWN"]) == ["dresses", "gown"]
    for words in ([], [" - "]):
        with pytest.raises(UserError, match="no word|empty name"):
            new_names(clothes, words)


@pytest.mark.parametrize(
    "vectors, message",
    [
        ([[1.0, np.nan, 2.0]], "word 'gown': its vector holds NaN or infinity"),
        ([[1.0, 1e300, 2.0]], "word 'gown': its vector holds NaN or infinity"),
        ([[0.0, 0.0, 0.0]], "word 'gown': a null vector"),
        ([[1.0, 2.0]], r"expected floating point \[1, 3\] .* not float64 \[1, 2\]"),
        ([[1, 2, 3]], "not int64"),
    ],
)
def test_a_vector_that_is_none_is_an_error_that_names_the_word(clothes, vectors, message):
    with pytest.raises(UserError, match=message):
        add_words(clothes, ["gown"], np.array(vectors), [{}])


def test_vectors_are_read_with_their_names(tmp_path):
    np.savez(tmp_path / "v.npz", names=["gown", "日本"], vectors=np.eye(2, 3))
    names, vectors = read_vectors(tmp_path / "v.npz")
    assert names == ["gown", "日本"] and vectors.shape == (2, 3)


@pytest.mark.parametrize(
    "arrays",
    [
        {"vectors": np.eye(2)},
        {"names": np.array(["a", "b"], object), "vectors": np.eye(2)},
        {"names": ["a"], "vectors": np.eye(2)},
        {"names": ["a", "b"], "vectors": np.eye(2, dtype=int)},
        {"names": [["a", "b"]], "vectors": np.eye(2)},
    ],
)
def test_a_file_of_another_form_is_an_error_that_names_it(tmp_path, arrays):
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(UserError, match=r"v\.npz: .*expected an \.npz file with names"):
        read_vectors(tmp_path / "v.npz")


def test_a_file_that_is_missing_or_no_npz_is_an_error(tmp_path):
    np.save(tmp_path / "one.npy", np.eye(2))
    (tmp_path / "text.npz").write_text("hat 1 2 3")
    (tmp_path / "empty.npz").touch()
    for name in ("missing.npz", "one.npy", "text.npz", "empty.npz"):
        with pytest.raises(UserError, match=rf"{name}: .*expected an \.npz file"):
            read_vectors(tmp_path / name)
