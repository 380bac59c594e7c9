"""Verification (supplement 5): attention-weighted pooling, head, cosine, calibration."""

import numpy as np
import reference

from cmask_tf import config
from cmask_tf.models.embedding import build_head
from cmask_tf.models.verification import (
    build_verification,
    build_words,
    calibrate,
    pool,
    raw_score,
    tables,
    threshold_table,
    weights,
    with_places,
)

RNG = np.random.default_rng(5)
ROWS = np.arange(3, dtype=np.int32)
HEAD = build_head(6, config.Embedding(hidden=(8, 8), output_activation="linear"), 4)


def embed(pooled):
    return HEAD(np.asarray(pooled, np.float32)[None, None, None], training=False).numpy()[0, 0, 0]


def inputs(count=3):
    features = RNG.uniform(0, 2, (count, 4, 5, 6)).astype(np.float32)
    vectors = RNG.normal(size=(count, 4)).astype(np.float32)
    return features, vectors


def test_weights_sum_to_one_also_where_attention_is_zero():
    attention = RNG.uniform(0, 1, (3, 4, 5)).astype(np.float32)
    attention[1] = 0
    out = weights(attention).numpy()
    np.testing.assert_allclose(out.sum(axis=(1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(out[0], attention[0] / attention[0].sum(), rtol=1e-5)
    np.testing.assert_allclose(out[1], 1 / 20, rtol=1e-6)


def test_score_equals_the_supplements_steps():
    features, vectors = inputs()
    attention = RNG.uniform(0, 1, (3, 4, 5)).astype(np.float32)
    got = raw_score(HEAD, features, attention, vectors, ROWS[: len(vectors)]).numpy()
    for k in range(3):
        expected = reference.verification(attention[k], features[k], embed, vectors[k])
        np.testing.assert_allclose(got[k], expected, atol=1e-5)


def test_uniform_attention_gives_the_plain_gap_score():
    features, vectors = inputs()
    got = raw_score(
        HEAD, features, np.full((3, 4, 5), 0.4, np.float32), vectors, ROWS[: len(vectors)]
    ).numpy()
    plain = [reference.cosine(embed(f.mean(axis=(0, 1))), v) for f, v in zip(features, vectors, strict=True)]
    np.testing.assert_allclose(got, plain, atol=1e-5)


def test_attention_on_one_place_scores_that_place():
    features, vectors = inputs(1)
    attention = np.zeros((1, 4, 5), np.float32)
    attention[0, 2, 3] = 0.01
    got = raw_score(HEAD, features, attention, vectors, ROWS[: len(vectors)]).numpy()[0]
    np.testing.assert_allclose(got, reference.cosine(embed(features[0, 2, 3]), vectors[0]), atol=1e-5)


def test_a_score_is_a_half_at_its_concepts_threshold_and_rises():
    for threshold in (-0.5, 0.0, 0.2, 0.9):
        cosines = np.append(np.linspace(-1, 1, 101), threshold).astype(np.float32)
        got = calibrate(cosines, np.full(102, threshold, np.float32), 7.0).numpy()
        assert got[-1] == 0.5
        assert (np.diff(got[:-1]) > 0).all()
        assert 0 < got.min() and got.max() < 1


def test_a_score_by_hand():
    got = calibrate(np.array([0.3, 0.1], np.float32), np.array([0.2, 0.2], np.float32), 10.0).numpy()
    np.testing.assert_allclose(got, [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))], rtol=1e-5)


def test_pooling_weighs_every_place_of_every_photo_by_its_own_attention():
    attention = RNG.uniform(0, 1, (2, 3, 4, 5)).astype(np.float32)
    features = RNG.normal(size=(2, 4, 5, 6)).astype(np.float32)
    expected = np.empty((2, 3, 6))
    for photo in range(2):
        for concept in range(3):
            share = attention[photo, concept] / attention[photo, concept].sum()
            expected[photo, concept] = (share[..., None] * features[photo]).sum(axis=(0, 1))
    np.testing.assert_allclose(pool(attention, features), expected, atol=1e-5)


def test_the_network_of_its_own_reads_every_place_by_itself():
    network = build_verification(6, 8)
    pooled = RNG.normal(size=(2, 3, 1, 6)).astype(np.float32)
    together = network(pooled, training=False).numpy()
    assert together.shape == (2, 3, 1, 8)
    alone = network(pooled[1:, 2:], training=False).numpy()
    np.testing.assert_allclose(alone[0, 0, 0], together[1, 2, 0], atol=1e-6)


def words_network(concepts=3):
    network = build_words(4, 8, concepts)
    network.get_layer("own").set_weights([RNG.normal(size=(concepts, 8)).astype(np.float32)])
    return network


def ask(network, vectors, places, **options):
    vectors = np.asarray(vectors, np.float32)
    return network({"vector": vectors, "place": np.asarray(places, np.int32)}, **options).numpy()


def test_a_trained_concept_is_sought_by_its_word_and_a_row_of_its_own_and_another_word_by_itself():
    network = words_network()
    matrix, bias, own = tables(network)
    vectors = RNG.normal(size=(3, 4))
    got = ask(network, vectors, [2, -1, 0], training=False)
    expected = vectors @ matrix + bias + np.stack([own[2], np.zeros(8), own[0]])
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_in_training_a_concept_is_now_and_then_taken_for_a_word_that_was_never_trained():
    network = words_network()
    vectors = np.repeat(RNG.normal(size=(1, 4)), 2000, axis=0)
    without = ask(network, vectors, np.full(2000, -1))
    row = ask(network, vectors, np.full(2000, 1), training=True) - without
    left_out = np.abs(row).max(axis=1) < 1e-6
    assert 0.2 < left_out.mean() < 0.3
    np.testing.assert_allclose(row.mean(axis=0), tables(network)[2][1], atol=0.1)


def test_with_more_concepts_all_others_are_sought_as_before():
    network = words_network()
    larger = with_places(network, 5)
    vectors = RNG.normal(size=(5, 4))
    before = ask(network, vectors, [0, 1, 2, -1, -1])
    np.testing.assert_array_equal(ask(larger, vectors, [0, 1, 2, 3, -1]), before)
    assert len(tables(larger)[2]) == 5


def test_a_concept_without_a_threshold_of_its_own_has_the_pooled_one():
    trained = np.array([True, True])
    table, pooled = threshold_table(["hat", "bag"], trained, {"pooled": 0.1, "concepts": {"bag": 0.3}})
    np.testing.assert_array_equal(table, np.array([0.1, 0.3], np.float32))
    assert pooled == 0.1
    table, pooled = threshold_table(["hat", "bag"], trained, None)
    assert (table.tolist(), pooled) == ([0.0, 0.0], 0.0)


def test_a_word_that_was_never_trained_has_the_threshold_of_words_outside():
    found = {"pooled": 0.1, "outside": 0.5, "concepts": {"bag": 0.3}}
    table, outside = threshold_table(["hat", "bag", "cape"], np.array([True, True, False]), found)
    np.testing.assert_array_equal(table, np.array([0.1, 0.3, 0.5], np.float32))
    assert outside == 0.5
