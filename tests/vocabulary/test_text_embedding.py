"""From a text embedding into the PMI space: reading, fitting, and how far the fit is to be trusted."""

import numpy as np
import pytest

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.build import build
from cmask_tf.vocabulary.text_embedding import MIN_WORDS, TOP, fit, read, score, sentence, word_vectors

GLOVE = (
    "the 1 2 3\nhat 4 5 6\nred 0 1 0\n. . 9 9 9\nt-shirt 7 7 7\nHat 8 8 8\nred hat 5 5 5\ndr\xe9ss 1 1 2\n"
)


def linear(words=200, text_dim=12, dim=8, noise=0.1, seed=0):
    """Text vectors and the word vectors that they know of, up to noise."""
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(words, text_dim))
    image = text @ rng.normal(size=(text_dim, dim)) + 0.5
    return text, (image + noise * image.std() * rng.normal(size=image.shape)).astype(np.float32)


def vocabulary_and_text(tmp_path, useful=True):
    """A vocabulary of 60 words and a file whose vectors are a linear map of theirs, or have none to them."""
    rng = np.random.default_rng(1)
    chances = 0.02 + 0.4 * (rng.random((6, 60)) < 0.2)
    seen = rng.random((500, 60)) < chances[rng.integers(0, 6, 500)]
    vocabulary = build([[f"w{w}" for w in np.flatnonzero(row)] for row in seen], dim=6)
    text = vocabulary.vectors.astype(np.float64) @ rng.normal(size=(6, 10))
    text = text if useful else rng.normal(size=text.shape)
    middle = (text[3] + text[4]) / 2
    np.savez(
        tmp_path / "text.npz", names=[*vocabulary.names, "between"], vectors=np.concatenate([text, [middle]])
    )
    return vocabulary, tmp_path / "text.npz"


@pytest.mark.parametrize("header", ["", "7 3\n"])
def test_text_files_are_read_with_and_without_word2vecs_first_line(tmp_path, header):
    (tmp_path / "v.txt").write_text(header + GLOVE, encoding="utf-8")
    found = read(
        tmp_path / "v.txt", ["hat", "t shirt", "red hat", "red t shirt", "dréss", "scarf", "red coat"]
    )
    assert set(found) == {"hat", "t shirt", "red hat", "dréss"}
    assert found["hat"].tolist() == [4, 5, 6] and found["t shirt"].tolist() == [7, 7, 7]
    assert found["red hat"].tolist() == [5, 5, 5]


def test_words_of_several_tokens_are_the_mean_of_all_their_tokens(tmp_path):
    (tmp_path / "v.txt").write_text("old 1 0\nman 3 4\nHouse 0 2\n")
    found = read(tmp_path / "v.txt", ["man, old", "man young", "house"])
    assert {name: vector.tolist() for name, vector in found.items()} == {"man, old": [2, 2], "house": [0, 2]}


def test_a_token_spelled_exactly_goes_before_one_in_other_letters_and_the_first_before_the_rest(tmp_path):
    (tmp_path / "v.txt").write_text("Hat 1 1\nHAT 2 2\nhat 3 3\nhat 4 4\nHats 5 5\nBag 6 6\nBAG 7 7\n")
    found = read(tmp_path / "v.txt", ["hat", "bag"])
    assert found["hat"].tolist() == [3, 3] and found["bag"].tolist() == [6, 6]


@pytest.mark.parametrize("line", ["hat 1 2", "hat 1 2 x", "hat 1 nan 3", "hat\t1\t2\t3"])
def test_a_broken_line_of_a_needed_word_is_an_error_that_names_it(tmp_path, line):
    (tmp_path / "v.txt").write_text(f"the 1 2 3\n{line}\n")
    if "\t" in line:  # no token "hat" is found: it is another word's line
        assert read(tmp_path / "v.txt", ["hat"]) == {}
    else:
        with pytest.raises(UserError, match=r"v\.txt: line 2: expected a token and 3 finite numbers"):
            read(tmp_path / "v.txt", ["hat"])


def test_a_missing_file_is_an_error(tmp_path):
    for name in ("v.txt", "v.npz"):
        with pytest.raises(UserError, match=name):
            read(tmp_path / name, ["hat"])


def test_a_linear_relation_is_found_and_the_printed_error_says_so():
    text, vectors = linear()
    model, result = fit(text, vectors)
    assert result.better_than_chance and result.words == 200
    assert result.cosine > 0.97 and result.found > 0.9 and result.found_floor < 0.2
    np.testing.assert_allclose(model.predict(text[:5]), vectors[:5], atol=1.5)
    assert "chance" not in sentence(result) and f"{result.cosine:.2f}" in sentence(result)


@pytest.mark.parametrize("seed", range(6))
def test_an_unrelated_embedding_is_told_to_be_useless(seed):
    _, vectors = linear(words=100, seed=seed)
    _, result = fit(np.random.default_rng(100 + seed).normal(size=(100, 12)), vectors)
    # The mean word alone makes the cosine positive, of any word's vector alike.
    assert not result.better_than_chance
    assert abs(result.cosine - result.cosine_floor) < 0.1
    assert "no better than chance" in sentence(result)


def test_the_error_is_that_of_words_left_out():
    # With more dimensions than words any map fits what it has seen.
    _, vectors = linear(words=40)
    text = np.random.default_rng(3).normal(size=(40, 200))
    _, result = fit(text, vectors)
    assert not result.better_than_chance


def test_scores_equal_brute_force():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 5))
    guesses = truth + rng.normal(size=(40, 5))
    result = score(guesses, truth)
    g, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (guesses, truth))
    nearest = [max((j for j in range(40) if j != i), key=lambda j: t[i] @ t[j]) for i in range(40)]
    tops = [sorted((j for j in range(40) if j != i), key=lambda j: -(g[i] @ t[j]))[:TOP] for i in range(40)]
    assert result.cosine == pytest.approx(np.mean([g[i] @ t[i] for i in range(40)]))
    others = [g[i] @ t[j] for i in range(40) for j in range(40) if i != j]
    assert result.cosine_floor == pytest.approx(np.mean(others))
    assert result.found == pytest.approx(np.mean([nearest[i] in tops[i] for i in range(40)]))
    floors = [
        np.mean([nearest[j] in tops[i] for j in range(40) if j != i and nearest[j] != i]) for i in range(40)
    ]
    assert result.found_floor == pytest.approx(np.mean(floors))


def test_a_new_word_lands_where_its_text_vector_says(tmp_path):
    vocabulary, file = vocabulary_and_text(tmp_path)
    vectors, result = word_vectors(file, vocabulary, ["between"])
    assert vectors.shape == (1, 6) and vectors.dtype == np.float32 and result.better_than_chance
    expected = (vocabulary.vectors[3] + vocabulary.vectors[4]) / 2
    np.testing.assert_allclose(vectors[0], expected, atol=0.02)


def test_the_map_is_fitted_on_words_of_the_corpus_alone(tmp_path):
    vocabulary, file = vocabulary_and_text(tmp_path)
    vocabulary.meta["added"] = {vocabulary.names[i]: {} for i in range(50, 60)}
    _, result = word_vectors(file, vocabulary, ["between"])
    assert result.words == 50


def test_an_unrelated_file_gives_vectors_and_the_verdict(tmp_path):
    vocabulary, file = vocabulary_and_text(tmp_path, useful=False)
    assert not word_vectors(file, vocabulary, ["between"])[1].better_than_chance


def test_a_word_that_the_file_lacks_and_a_file_that_lacks_the_vocabulary_are_errors(tmp_path):
    vocabulary, file = vocabulary_and_text(tmp_path)
    with pytest.raises(UserError, match=r"word 'sequin': .*text\.npz has neither it nor all of its tokens"):
        word_vectors(file, vocabulary, ["between", "sequin"])
    few = [*vocabulary.names[: MIN_WORDS - 1], "between"]
    np.savez(tmp_path / "few.npz", names=few, vectors=np.eye(len(few)))
    with pytest.raises(
        UserError, match=r"few\.npz: has 19 of the vocabulary's 60 words; expected at least 20"
    ):
        word_vectors(tmp_path / "few.npz", vocabulary, ["between"])
    np.savez(tmp_path / "nan.npz", names=vocabulary.names, vectors=np.full((60, 3), np.nan))
    with pytest.raises(UserError, match=r"nan\.npz: the vector of 'w\d+' holds NaN"):
        word_vectors(tmp_path / "nan.npz", vocabulary, ["w0"])
