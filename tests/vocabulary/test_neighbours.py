"""Nearest concepts (4.4): companions by PMI cosine, substitutes by second order."""

import json

import numpy as np
import pytest
import reference

from cmask_tf.vocabulary import neighbours
from cmask_tf.vocabulary.build import build_files
from cmask_tf.vocabulary.counts import count
from cmask_tf.vocabulary.neighbours import (
    pmi_neighbours,
    second_order,
    second_order_neighbours,
    second_order_of_vectors,
    second_order_rows,
)
from cmask_tf.vocabulary.pmi import pmi_matrix

# Boots and pumps are worn with the same things, and never together.
OUTFITS = [["boots", "skirt"], ["pumps", "skirt"], ["boots", "bag"], ["pumps", "bag"], ["cap", "ball"]] * 4


@pytest.fixture(scope="module")
def random_counts():
    rng = np.random.default_rng(2)
    return count([[f"w{w}" for w in np.flatnonzero(rng.random(20) < 0.3)] for _ in range(300)])


@pytest.fixture(scope="module")
def ccp_vocabulary(ccp):
    return build_files([ccp / "tags" / "all_tags_for_pmi.jsonl"], dim=37)


@pytest.fixture(scope="module")
def ccp_boxed(ccp, ccp_vocabulary):
    levels = json.loads((ccp / "concepts.json").read_text())
    return np.array([ccp_vocabulary.index(n) for n in levels if levels[n]["level"] in ("mask", "box")])


def test_pmi_neighbours_are_the_largest_cosine_and_never_the_word_itself():
    vectors = np.array([[1, 0], [5, 1], [0, 2], [-1, 0.1]], np.float32)
    assert pmi_neighbours(vectors, [0, 2, 3], [0, 1, 2]).tolist() == [1, 1, 2]


def test_pmi_neighbours_equal_brute_force():
    vectors = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    rows, candidates = np.arange(30), np.array([3, 8, 11, 20])
    for q, found in zip(rows, pmi_neighbours(vectors, rows, candidates), strict=True):
        cosines = {p: reference.cosine(vectors[q], vectors[p]) for p in candidates if p != q}
        assert found == max(cosines, key=cosines.get)


def test_second_order_finds_what_keeps_the_same_company():
    counts = count(OUTFITS)
    boots, pumps, skirt = (counts.names.index(name) for name in ("boots", "pumps", "skirt"))
    everything = np.arange(len(counts.names))
    assert second_order_neighbours(counts, [boots, pumps], everything).tolist() == [pumps, boots]
    assert second_order(counts, [boots], [pumps, skirt])[0, 0] > 0.9


@pytest.mark.parametrize("block", [3, 1024])
def test_second_order_equals_the_reference_in_any_block(monkeypatch, random_counts, block):
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", block)
    matrix = pmi_matrix(random_counts, "pmi").astype(np.float64)
    rows, candidates = np.arange(20), np.array([0, 4, 5, 9, 16])
    expected = [reference.second_order_neighbour(matrix, q, candidates) for q in rows]
    assert second_order_neighbours(random_counts, rows, candidates).tolist() == expected


def test_the_pairs_own_entries_do_not_matter(random_counts):
    before = second_order(random_counts, [2], [7])
    changed = count([])
    changed.__dict__.update(random_counts.__dict__, pairs=random_counts.pairs.copy())
    changed.pairs[2, 7] = changed.pairs[7, 2] = 0
    np.testing.assert_allclose(second_order(changed, [2], [7]), before, atol=1e-6)


def test_rows_have_no_own_entry(random_counts):
    rows = second_order_rows(random_counts, [3, 9])
    assert rows.shape == (2, 20) and rows[0, 3] == 0 and rows[1, 9] == 0 and (rows[0] != 0).sum() > 15


def test_a_word_of_every_image_is_similar_to_nothing():
    counts = count([[*tags, "skin"] for tags in OUTFITS])
    assert counts.names[0] == "skin"
    assert (second_order(counts, [0], np.arange(1, 7)) == 0).all()


def test_where_kinds_are_known_a_companion_of_another_kind_does_not_stand_in():
    # A van is in the company of its wheels, always, and of the road; cars keep a similar company.
    traffic = [["van", "wheel", "road"], ["car", "road", "garage"], ["house"], ["wheel", "road"]]
    counts = count(8 * traffic)
    van, car, wheel, road = map(counts.names.index, ("van", "car", "wheel", "road"))
    kinds = dict.fromkeys(counts.names, "object") | {"wheel": "part", "road": "stuff"}

    def found(word, candidates, kinds):
        return second_order_neighbours(counts, [word], np.array(candidates), kinds)[0]

    in_order = [kinds[name] for name in counts.names]
    assert found(van, [car, wheel], None) == wheel
    assert found(van, [car, wheel], in_order) == car
    assert found(van, [car, wheel], ["unknown"] * len(in_order)) == wheel
    assert found(van, [wheel, road], in_order) in (wheel, road)  # better than nothing
    parts = ["part" if name == "van" else kind for name, kind in zip(counts.names, in_order, strict=True)]
    assert found(van, [road, car], parts) == car  # a part lies in its whole


def test_no_candidates_is_an_error(random_counts):
    with pytest.raises(ValueError, match="at least one candidate"):
        second_order_neighbours(random_counts, [0], [])


def test_a_bare_vector_that_rebuilds_its_row_finds_the_neighbour_of_the_name(random_counts):
    # W W^T is M exactly when every eigenvalue is positive: a diagonal as heavy as that makes it so.
    matrix = pmi_matrix(random_counts, "pmi").astype(np.float64)
    np.fill_diagonal(matrix, 50)
    vectors = np.linalg.cholesky(matrix).astype(np.float32)
    rows, candidates = np.arange(20), np.array([0, 4, 5, 9, 16])
    by_vector = second_order_of_vectors(7 * vectors[rows], vectors, random_counts, candidates)
    np.testing.assert_allclose(by_vector, second_order(random_counts, rows, candidates), atol=2e-4)


def test_on_ccp_second_order_finds_substitutes(ccp_vocabulary, ccp_boxed):
    asked = ["pumps", "leggings", "wallet", "cape"]
    rows = [ccp_vocabulary.index(name) for name in asked]
    found = second_order_neighbours(ccp_vocabulary, rows, ccp_boxed)
    assert [ccp_vocabulary.names[i] for i in found] == ["boots", "stockings", "bag", "coat"]


def test_on_ccp_bare_vectors_find_most_substitutes_where_their_cosine_finds_few(ccp_vocabulary, ccp_boxed):
    rows = np.setdiff1d(np.arange(len(ccp_vocabulary)), ccp_boxed)
    by_name = second_order_neighbours(ccp_vocabulary, rows, ccp_boxed)
    similarity = second_order_of_vectors(
        ccp_vocabulary.vectors[rows], ccp_vocabulary.vectors, ccp_vocabulary, ccp_boxed
    )
    by_vector = ccp_boxed[similarity.argmax(axis=1)]
    by_cosine = pmi_neighbours(ccp_vocabulary.vectors, rows, ccp_boxed)
    assert np.mean(by_vector == by_name) > 0.5
    assert np.mean(by_cosine == by_name) < 0.3
