"""Fold-in (supplement 2.1): a new tag's vector from its row of M alone."""

import math

import numpy as np
import pytest
import reference

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.build import build
from cmask_tf.vocabulary.fold_in import count_new, fold_in, pmi_rows
from cmask_tf.vocabulary.new_words import add_words
from cmask_tf.vocabulary.pmi import pmi_matrix
from cmask_tf.vocabulary.tag_files import tag_lines

FOUR_TAGS = ["ab", "ab", "ac", "a", "b", "cd", "d", "dc"]


def ccp_tags(ccp):
    return [tags for _, _, tags in tag_lines(ccp / "tags" / "all_tags_for_pmi.jsonl")]


def random_lines(words=400, images=3000, scenes=30, seed=0) -> list[list[str]]:
    """Tags of images of a few scenes; each scene has words of its own beside some of all."""
    rng = np.random.default_rng(seed)
    chances = 0.002 + 0.2 * (rng.random((scenes, words)) < 0.1)
    seen = rng.random((images, words)) < chances[rng.integers(0, scenes, images)]
    return [[f"w{w}" for w in np.flatnonzero(row)] for row in seen]


def folded(vocabulary, lines, names):
    counts, _ = count_new(lines, vocabulary, names)
    vectors = fold_in(vocabulary, pmi_rows(vocabulary, names, counts))
    return add_words(vocabulary, names, vectors, [{} for _ in names], counts)


def assert_its_own_vectors(vocabulary, words):
    vectors = fold_in(vocabulary, pmi_matrix(vocabulary, vocabulary.meta["variant"])[words])
    expected = vocabulary.vectors[words]
    errors = np.linalg.norm(vectors - expected, axis=1) / np.linalg.norm(expected, axis=1).max()
    assert errors.max() < 2e-6
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("variant", ["pmi", "ppmi"])
def test_a_tag_of_the_corpus_gets_its_eigenvector_solution_back(variant):
    vocabulary = build(random_lines(), dim=100, variant=variant)
    assert len(vocabulary) == 400
    assert_its_own_vectors(vocabulary, np.arange(400))


@pytest.mark.parametrize("variant", ["pmi", "ppmi"])
def test_on_ccp_every_tag_gets_its_own_vector_back(ccp, variant):
    vocabulary = build(ccp_tags(ccp), dim=37, variant=variant)
    others = [i for i, name in enumerate(vocabulary.names) if name not in vocabulary.meta["null"]]
    assert len(others) == 49
    assert_its_own_vectors(vocabulary, others)


def test_words_that_share_a_vector_count_as_the_columns_that_they_were():
    lines = [[*tags, "twin"] if "w0" in tags else tags for tags in random_lines()]
    vocabulary = build(lines, dim=100, variant="ppmi")
    assert vocabulary.meta["merged"] == {"twin": ["w0"]}
    others = [i for i, name in enumerate(vocabulary.names) if name != "twin"]
    assert_its_own_vectors(vocabulary, others)


def test_the_row_of_a_new_tag_by_hand():
    vocabulary = build(FOUR_TAGS, dim=2, variant="pmi")
    counts, company = count_new(["xa", "xab", "ab", "X", "dd"], vocabulary, ["x"])
    # In 3 lines, 2 with a and 1 with b; the corpus has a in 4 and b, c, d in 3 of 8 images.
    assert counts.single.tolist() == [3] and company.tolist() == [3]
    a, b, none = (
        math.log(2.5 / (3 * 4 / 8 + 0.5)),
        math.log(1.5 / (9 / 8 + 0.5)),
        math.log(0.5 / (9 / 8 + 0.5)),
    )
    np.testing.assert_allclose(pmi_rows(vocabulary, ["x"], counts), [[a, b, none, none]], atol=1e-6)


def test_variant_and_smoothing_are_the_corpus_own():
    vocabulary = build(FOUR_TAGS, dim=2)
    counts, _ = count_new(["xab", "xa", "x"], vocabulary, ["x"])
    vocabulary.meta |= {"variant": "ppmi", "smoothing": 0.0}
    a = math.log((2 / 3) / (4 / 8))
    np.testing.assert_allclose(pmi_rows(vocabulary, ["x"], counts), [[a, 0, 0, 0]], atol=1e-6)
    vocabulary.meta |= {"variant": "pmi", "smoothing": 2.0}
    a = math.log(4 / (3 * 4 / 8 + 2))
    assert pmi_rows(vocabulary, ["x"], counts)[0, 0] == pytest.approx(a, abs=1e-6)


def test_the_corpus_own_lines_give_a_tag_the_row_that_it_had_in_the_papers_matrix():
    lines = random_lines(words=30)
    without = build([[tag for tag in tags if tag != "w3"] for tags in lines], dim=5)
    counts, _ = count_new(lines, without, ["w3"])
    order = ["w3", *without.names]
    expected = reference.pmi(lines, order, k=0.5)[0, 1:]
    np.testing.assert_allclose(pmi_rows(without, ["w3"], counts)[0], expected, atol=1e-5)


def test_new_photos_without_the_tag_and_more_photos_of_the_same_sort_change_little_or_nothing():
    vocabulary = build(random_lines(words=30), dim=5)
    lines = [["new", "w1", "w2"], ["new", "w2", "w5"], ["new", "w5"]]
    (one, _), (two, _) = (count_new(ls, vocabulary, ["new"]) for ls in (lines, lines + [["w1", "w9"]] * 50))
    np.testing.assert_array_equal(pmi_rows(vocabulary, ["new"], one), pmi_rows(vocabulary, ["new"], two))
    # p(w'|w) over p(w'): how many photos carry the tag matters through the smoothing alone.
    hundred, _ = count_new(lines * 100, vocabulary, ["new"])
    vocabulary.meta["smoothing"] = 1e-9
    few, many = (pmi_rows(vocabulary, ["new"], counts) for counts in (one, hundred))
    seen = [vocabulary.names.index(w) for w in ("w1", "w2", "w5")]
    np.testing.assert_allclose(few[0, seen], many[0, seen], atol=1e-5)


def test_tags_are_read_as_the_corpus_were_spelled_any_way_once_a_photo_and_by_alias():
    vocabulary = build([["red hat", "bag"], ["bag"], ["red hat", "coat"]], dim=2, aliases={"bag": ["purse"]})
    lines = [["Cape", "Red_Hat", "red-hat", "purse", "bag"], ["CAPE", "cape", "unheard of"]]
    counts, company = count_new(lines, vocabulary, ["cape"])
    assert counts.single.tolist() == [2] and company.tolist() == [2]
    row = counts.pairs.toarray()[0]
    assert {name: row[i] for i, name in enumerate(vocabulary.names)} == {"bag": 1, "red hat": 1, "coat": 0}


def test_several_new_words_know_of_each_other():
    vocabulary = build(FOUR_TAGS, dim=2)
    counts, _ = count_new(["xya", "xb", "xya"], vocabulary, ["x", "y"])
    assert counts.single.tolist() == [3, 2]
    np.testing.assert_array_equal(counts.pairs.toarray(), [[2, 1, 0, 0, 0, 2], [2, 0, 0, 0, 2, 0]])


def test_a_word_that_no_line_carries_or_that_comes_alone_is_an_error():
    vocabulary = build(FOUR_TAGS, dim=2)
    with pytest.raises(UserError, match="word 'x': no line carries it"):
        count_new(["ab", "y"], vocabulary, ["x"])
    with pytest.raises(UserError, match="word 'x': none of its 2 lines has a tag of the vocabulary"):
        count_new(["xy", "x", "ab"], vocabulary, ["x"])


def test_a_word_is_folded_in_alike_before_and_after_others():
    vocabulary = build(random_lines(words=60), dim=8)
    lines = [["x", "w1", "w2"], ["y", "w2", "w7"], ["x", "w4"]]
    alone = folded(vocabulary, lines, ["y"])
    after = folded(folded(vocabulary, lines, ["x"]), lines, ["y"])
    np.testing.assert_array_equal(alone.vectors[-1], after.vectors[-1])


def test_a_word_that_the_corpus_never_had_finds_its_substitute():
    outfits = [
        ["boots", "skirt"],
        ["pumps", "skirt"],
        ["boots", "bag"],
        ["pumps", "bag"],
        ["cap", "ball"],
    ] * 20
    corpus = [tags for tags in outfits if "pumps" not in tags] + [["skirt", "coat"], ["ball", "bat"]] * 10
    grown = folded(build(corpus, dim=3), [tags for tags in outfits if "pumps" in tags][:4], ["pumps"])
    assert grown.substitutes("pumps", k=1)[0][0] == "boots"


def test_on_ccp_left_out_words_find_their_substitutes(ccp):
    lines = ccp_tags(ccp)
    for word, substitute in {
        "pumps": "boots",
        "leggings": "stockings",
        "cape": "coat",
        "heels": "boots",
    }.items():
        without = build([tags for tags in lines if word not in tags], dim=32)
        grown = folded(without, lines, [word])
        assert substitute in [name for name, _ in grown.substitutes(word, k=3)]
