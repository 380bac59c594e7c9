"""Presence over all (photo, concept) pairs (supplement 5)."""

import numpy as np
import pytest

from cmask_tf.evaluation.presence import presence

# Four photos, two concepts: the first in three photos, the second in one.
TRUTH = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], bool)
FREQUENCY = np.array([300.0, 20.0])
NO_AREA = np.zeros(TRUTH.shape)


def measure(scores, areas=NO_AREA, truth=TRUTH):
    scores = np.broadcast_to(np.asarray(scores, float), truth.shape)
    return presence(scores, scores >= 0.5, truth, areas, FREQUENCY)


def test_a_perfect_score_has_perfect_figures():
    found = measure(TRUTH)
    for key in ("auc_macro", "auc_pooled", "ap", "mcc", "precision", "recall"):
        assert found[key] == 1.0, key


def test_a_score_that_never_sees_the_photo_is_exposed_by_the_mean_per_concept():
    found = measure(FREQUENCY / 300)
    assert found["auc_macro"] == 0.5
    assert found["auc_pooled"] == found["auc_pooled_photo_blind"]
    # Present cells have 300 three times and 20 once, absent ones 300 once and 20 three times: of the 16
    # pairs of a present and an absent cell 9 are won and 3 + 3 tied.
    assert found["auc_pooled"] == pytest.approx((9 + 1.5 + 1.5) / 16)


def test_precision_recall_and_correlation_are_of_the_decision_over_all_pairs():
    scores = [[0.9, 0.6], [0.9, 0.1], [0.2, 0.7], [0.1, 0.1]]  # found: 3 right, 1 wrong; 1 missed
    found = measure(scores)
    assert (found["precision"], found["recall"]) == (3 / 4, 3 / 4)
    assert found["mcc"] == pytest.approx((3 * 3 - 1 * 1) / np.sqrt(4 * 4 * 4 * 4))


def test_false_area_is_of_absent_concepts_and_once_with_and_once_without_the_score():
    areas = np.array([[0.9, 0.4], [0.9, 0.2], [0.9, 0.9], [0.1, 0.1]])  # absent: .4, .2, .1, .1
    scores = [[0.9, 0.6], [0.9, 0.1], [0.2, 0.7], [0.1, 0.1]]  # of these the .4 is shown
    found = measure(scores, areas)
    assert found["false_area"] == pytest.approx(0.2)
    assert found["false_area_shown"] == pytest.approx(0.1)


def test_concepts_that_are_always_or_never_there_have_no_curve():
    truth = np.array([[1, 0], [1, 0]], bool)
    found = presence(np.ones((2, 2)), np.ones((2, 2), bool), truth, np.zeros((2, 2)), FREQUENCY)
    assert found["auc_macro"] is None
    assert found["ap"] is None
    assert found["concepts"] == 0


def test_with_nothing_absent_there_is_no_false_area():
    found = measure(np.ones((4, 2)), truth=np.ones((4, 2), bool))
    assert found["false_area"] is None
    assert found["auc_pooled"] is None
