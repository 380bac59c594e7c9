"""`mixing.json` grows with the vocabulary, and what it holds stays."""

import numpy as np
import pytest
from segmenter_fixture import CONCEPTS, MIXING, smallest_vocabulary

from cmask_tf.models.neighbour_table import build_mixing, extend_mixing
from cmask_tf.vocabulary.fold_in import count_new, fold_in, pmi_rows
from cmask_tf.vocabulary.new_words import add_words


@pytest.fixture(scope="module")
def grown():
    """Eight words, "gown" that keeps the company of dresses, and "sack" with a bag's vector and no counts."""
    vocabulary = smallest_vocabulary()
    lines = [["gown", "bag", "hair"], ["gown", "red hat"], ["gown", "hair", "red hat"], ["gown", "bag"]] * 10
    counts, _ = count_new(lines, vocabulary, ["gown"])
    vectors = fold_in(vocabulary, pmi_rows(vocabulary, ["gown"], counts))
    vocabulary = add_words(vocabulary, ["gown"], vectors, [{}], counts)
    near_bag = vocabulary.vectors[vocabulary.index("bag")] + np.array([0.02, 0, 0], np.float32)
    return add_words(vocabulary, ["sack"], near_bag[None], [{}])


@pytest.mark.parametrize("neighbours", ["second_order", "pmi"])
def test_new_words_get_the_neighbours_that_a_whole_new_table_would_give_them(grown, neighbours):
    mixing = {**MIXING, "neighbours": neighbours}
    extended = extend_mixing(grown, CONCEPTS, mixing)
    anew = build_mixing(grown, CONCEPTS, neighbours)
    assert {name: extended["p"][name] for name in ("gown", "sack")} == {
        name: anew["p"][name] for name in ("gown", "sack")
    }
    assert {name: p for name, p in extended["p"].items() if name in MIXING["p"]} == MIXING["p"]
    assert extended["theta"] == MIXING["theta"] and set(extended["p"]) == {*MIXING["p"], "gown", "sack"}


def test_a_folded_in_word_and_a_bare_vector_find_substitutes_with_boxes(grown):
    table = extend_mixing(grown, CONCEPTS, MIXING)["p"]
    # The same scenes hold dress, bag, red hat and hair; "gown" was seen with all but the dress.
    assert table["gown"] == "dress"
    assert table["sack"] in ("dress", "bag", "red hat")


def test_without_boxes_there_is_nothing_to_add(grown):
    images = [{**concept, "level": "image"} for concept in CONCEPTS]
    empty = {**MIXING, "p": {}}
    assert extend_mixing(grown, images, empty) == empty
