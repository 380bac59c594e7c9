"""Verification (supplement 5): attention-weighted pooling, head, cosine, calibration."""

import numpy as np
import reference

from cmask_tf import config
from cmask_tf.models.embedding import build_head
from cmask_tf.models.verification import calibrate, raw_score, threshold_table, weights

RNG = np.random.default_rng(5)
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
    got = raw_score(HEAD, features, attention, vectors).numpy()
    for k in range(3):
        expected = reference.verification(attention[k], features[k], embed, vectors[k])
        np.testing.assert_allclose(got[k], expected, atol=1e-5)


def test_uniform_attention_gives_the_plain_gap_score():
    features, vectors = inputs()
    got = raw_score(HEAD, features, np.full((3, 4, 5), 0.4, np.float32), vectors).numpy()
    plain = [reference.cosine(embed(f.mean(axis=(0, 1))), v) for f, v in zip(features, vectors, strict=True)]
    np.testing.assert_allclose(got, plain, atol=1e-5)


def test_attention_on_one_place_scores_that_place():
    features, vectors = inputs(1)
    attention = np.zeros((1, 4, 5), np.float32)
    attention[0, 2, 3] = 0.01
    got = raw_score(HEAD, features, attention, vectors).numpy()[0]
    np.testing.assert_allclose(got, reference.cosine(embed(features[0, 2, 3]), vectors[0]), atol=1e-5)


def test_calibration_is_0_at_minus_1_half_at_the_threshold_and_1_at_1():
    for threshold in (-0.5, 0.0, 0.2, 0.9):
        fixed = np.array([-1, threshold, 1], np.float32)
        got = calibrate(fixed, np.full(3, threshold, np.float32)).numpy()
        np.testing.assert_array_equal(got, np.array([0, 0.5, 1], np.float32))
        rising = calibrate(np.linspace(-1, 1, 101, dtype=np.float32), np.full(101, threshold, np.float32))
        assert (np.diff(rising) > 0).all()


def test_calibration_between_the_fixed_points_by_hand():
    got = calibrate(np.array([-0.4, 0.6], np.float32), np.array([0.2, 0.2], np.float32)).numpy()
    np.testing.assert_allclose(got, [0.25, 0.75], rtol=1e-6)


def test_calibration_at_the_ends_of_the_range_stays_finite():
    got = calibrate(np.array([-1, 1, 0], np.float32), np.array([-1, 1, 1], np.float32)).numpy()
    np.testing.assert_allclose(got, [0.5, 0.5, 0.25])


def test_a_concept_without_a_threshold_of_its_own_has_the_pooled_one():
    table, pooled = threshold_table(["hat", "bag"], {"pooled": 0.1, "concepts": {"bag": 0.3}})
    np.testing.assert_array_equal(table, np.array([0.1, 0.3], np.float32))
    assert pooled == 0.1
    table, pooled = threshold_table(["hat", "bag"], None)
    assert (table.tolist(), pooled) == ([0.0, 0.0], 0.0)
