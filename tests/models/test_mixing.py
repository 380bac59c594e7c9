"""Weakly supervised mixing (4.4): which neighbour, which maps, which theta."""

import numpy as np
import pytest
import reference
import scipy.sparse

from cmask_tf.errors import UserError
from cmask_tf.models.mixing import (
    COARSE,
    DIRECT,
    REFINED,
    ConceptTable,
    mix,
    nearest_by_profile,
)
from cmask_tf.models.neighbour_table import build_mixing
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.neighbours import second_order_neighbours, second_order_of_vectors

RNG = np.random.default_rng(4)
NAMES = ["boot", "pump", "bag", "wallet", "hat", "cap", "sky", "shoe"]
# bag and hat have boxes, boot masks; pump, wallet and sky have tags alone; cap and shoe are not trained.
CONCEPTS = [
    {"name": "hat", "level": "box"},
    {"name": "pump", "level": "image"},
    {"name": "boot", "level": "mask"},
    {"name": "sky", "level": "image"},
    {"name": "bag", "level": "box"},
    {"name": "wallet", "level": "image"},
]
BOXED = [0, 2, 4]


def make_vocabulary(seed=0, dim=5):
    rng = np.random.default_rng(seed)
    tags = rng.random((200, len(NAMES))) < rng.uniform(0.2, 0.6, len(NAMES))
    pairs = tags.T.astype(np.int32) @ tags.astype(np.int32)
    counts = np.diag(pairs).astype(np.int64)
    np.fill_diagonal(pairs, 0)
    count = len(NAMES)
    return Vocabulary(
        names=list(NAMES),
        counts=counts,
        idf=-np.log(counts / 200).astype(np.float32),
        kinds=["object"] * count,
        aliases=[[] for _ in NAMES],
        vectors=rng.normal(size=(count, dim)).astype(np.float32) * 2,
        eigenvalues=np.ones(dim, np.float32),
        cooccurrence=scipy.sparse.csr_matrix(pairs),
        meta={"variant": "ppmi", "dimension": dim, "documents": 200},
    )


def test_nearest_concept_equals_brute_force():
    vocabulary = make_vocabulary()
    mixing = build_mixing(vocabulary, CONCEPTS, "pmi")
    assert mixing["neighbours"] == "pmi"
    assert set(mixing["p"]) == {"pump", "wallet", "cap", "sky", "shoe"}
    for q, p in mixing["p"].items():
        query = vocabulary.vectors[NAMES.index(q)]
        assert p == NAMES[reference.pmi_neighbour(vocabulary.vectors, query, BOXED)]


def test_second_order_neighbours_are_the_vocabularys():
    vocabulary = make_vocabulary()
    rows = np.array([i for i in range(len(NAMES)) if i not in BOXED])
    expected = second_order_neighbours(vocabulary, rows, np.array(BOXED))
    mixing = build_mixing(vocabulary, CONCEPTS, "second_order")
    assert [mixing["p"][NAMES[q]] for q in rows] == [NAMES[p] for p in expected]


def test_table_says_for_every_word_which_maps_are_mixed():
    mixing = build_mixing(make_vocabulary(), CONCEPTS, "pmi") | {"theta": {"image": 0.3, "zero": 0.8}}
    thresholds = {"pooled": 0.1, "concepts": {"hat": 0.4}}
    table = ConceptTable.build(make_vocabulary(), CONCEPTS, mixing, thresholds)
    paths = dict(zip(NAMES, table.path, strict=True))
    assert {name for name in NAMES if paths[name] == DIRECT} == {"hat", "boot", "bag"}
    assert {name for name in NAMES if paths[name] == REFINED} == {"pump", "sky", "wallet"}
    assert {name for name in NAMES if paths[name] == COARSE} == {"cap", "shoe"}
    np.testing.assert_array_equal(table.trained, [NAMES.index(c["name"]) for c in CONCEPTS])
    np.testing.assert_array_equal(table.column, [2, 1, 4, 5, 0, -1, 3, -1])
    np.testing.assert_array_equal(table.candidates, BOXED)
    for i, name in enumerate(NAMES):
        p = mixing["p"].get(name)
        assert table.neighbour[i] == (table.column[NAMES.index(p)] if p else -1)
        assert table.theta[i] == np.float32({DIRECT: 1, REFINED: 0.3, COARSE: 0.8}[paths[name]])
        assert table.threshold[i] == np.float32(0.4 if name == "hat" else 0.1)
    assert (table.outside_theta, table.outside_threshold) == (0.8, 0.1)
    assert table.profiles is None


def test_without_boxes_every_word_keeps_its_own_map():
    concepts = [{"name": "hat", "level": "image"}]
    mixing = build_mixing(make_vocabulary(), concepts, "second_order")
    assert mixing["p"] == {}
    table = ConceptTable.build(make_vocabulary(), concepts, mixing)
    assert (table.theta == 1).all()
    assert table.outside_theta == 1


def test_mistakes_in_the_readable_files_are_named():
    vocabulary = make_vocabulary()
    mixing = build_mixing(vocabulary, CONCEPTS, "pmi")
    with pytest.raises(UserError, match="mixing.json: p: 'cap': expected a concept with boxes .* not 'sky'"):
        ConceptTable.build(vocabulary, CONCEPTS, mixing | {"p": mixing["p"] | {"cap": "sky"}})
    missing = {q: p for q, p in mixing["p"].items() if q != "sky"}
    with pytest.raises(UserError, match="mixing.json: p: no neighbour for 'sky'"):
        ConceptTable.build(vocabulary, CONCEPTS, mixing | {"p": missing})
    with pytest.raises(UserError, match="concepts.json: 'Hat' is the same word as another"):
        build_mixing(vocabulary, [*CONCEPTS, {"name": "Hat", "level": "box"}], "pmi")


@pytest.mark.parametrize("seed", range(5))
def test_second_order_in_the_graph_equals_the_vocabularys(seed):
    vocabulary = make_vocabulary(seed)
    mixing = build_mixing(vocabulary, CONCEPTS, "second_order")
    table = ConceptTable.build(vocabulary, CONCEPTS, mixing)
    queries = np.random.default_rng(seed).normal(size=(20, vocabulary.dim)).astype(np.float32)
    similarity = second_order_of_vectors(queries, vocabulary.vectors, vocabulary, np.array(BOXED))
    rows = queries @ vocabulary.vectors.T
    lengths = np.linalg.norm(vocabulary.vectors, axis=1)
    got = nearest_by_profile(rows, (rows / lengths).argmax(axis=1).astype(np.int32), table.profiles, BOXED)
    np.testing.assert_array_equal(got, similarity.argmax(axis=1))


def maps():
    return (RNG.uniform(low, 1, (3, 4, 5)).astype(np.float32) for low in (0.2, 0.1, -1))


def test_concepts_with_boxes_use_their_refined_map_untouched():
    q, p, coarse = maps()
    out = mix(np.full(3, DIRECT), np.ones(3, np.float32), q, p, coarse).numpy()
    np.testing.assert_array_equal(out, q)


@pytest.mark.parametrize("path", [REFINED, COARSE])
def test_mixing_equals_the_equation_and_theta_0_and_1_give_the_pure_maps(path):
    q, p, coarse = maps()
    own = q if path == REFINED else np.maximum(coarse, 0)
    theta = np.array([0.0, 1.0, 0.3], np.float32)
    out = mix(np.full(3, path), theta, q, p, coarse).numpy()
    np.testing.assert_allclose(out[0], reference.stretch(p[0]), atol=1e-6)
    np.testing.assert_allclose(out[1], reference.stretch(own[1]), atol=1e-6)
    np.testing.assert_allclose(out[2], reference.mixing(0.3, own[2], p[2]), atol=1e-6)
