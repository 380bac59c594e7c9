"""Presence over all (photo, concept) pairs (supplement 5)."""

import numpy as np
import pytest
import reference
from sklearn import metrics as sklearn

from cmask_tf.evaluation.examples import Pair
from cmask_tf.evaluation.presence import Presence

# Four photos, two concepts: the first in three photos, the second in one.
TRUTH = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], bool)
FREQUENCY = (300.0, 20.0)


@pytest.fixture
def measure(tmp_path):
    def run(scores, areas=0.0, truth=TRUTH, frequency=FREQUENCY):
        scores, areas = (np.broadcast_to(np.asarray(v, float), truth.shape) for v in (scores, areas))
        names = [f"concept {k}" for k in range(truth.shape[1])]
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        presence = Presence(names, len(truth), folder)
        for p, k in np.ndindex(truth.shape):
            score = float(scores[p, k])
            pair = Pair(names[k], bool(truth[p, k]), {}, float(areas[p, k]), score, score >= 0.5)
            presence.add(p, pair)
        return presence.figures(dict(zip(names, frequency, strict=True)))

    return run


def test_a_perfect_score_has_perfect_figures(measure):
    found = measure(TRUTH)
    for key in ("auc_macro", "auc_pooled", "ap", "mcc", "precision", "recall"):
        assert found[key] == 1.0, key
    assert found["reliability"]["ece"] == 0.0


def test_a_score_that_never_sees_the_photo_is_exposed_by_the_mean_per_concept(measure):
    found = measure(np.array(FREQUENCY) / 300)
    assert found["auc_macro"] == 0.5
    assert found["auc_pooled"] == found["auc_pooled_photo_blind"]
    # Present cells have 300 three times and 20 once, absent ones 300 once and 20 three times: of the 16
    # pairs of a present and an absent cell 9 are won and 3 + 3 tied.
    assert found["auc_pooled"] == pytest.approx((9 + 1.5 + 1.5) / 16)


def test_precision_recall_and_correlation_are_of_the_decision_over_all_pairs(measure):
    found = measure([[0.9, 0.6], [0.9, 0.1], [0.2, 0.7], [0.1, 0.1]])  # found: 3 right, 1 wrong; 1 missed
    assert (found["precision"], found["recall"]) == (3 / 4, 3 / 4)
    assert found["mcc"] == pytest.approx((3 * 3 - 1 * 1) / np.sqrt(4 * 4 * 4 * 4))
    first, second = found["by_concept"].values()
    assert (first["precision"], first["recall"]) == (1.0, 2 / 3)
    assert (second["precision"], second["recall"], second["auc"]) == (1 / 2, 1.0, 1.0)


def test_false_area_is_of_absent_concepts_and_once_with_and_once_without_the_score(measure):
    areas = np.array([[0.9, 0.4], [0.9, 0.2], [0.9, 0.9], [0.1, 0.1]])  # absent: .4, .2, .1, .1
    scores = [[0.9, 0.6], [0.9, 0.1], [0.2, 0.7], [0.1, 0.1]]  # of these the .4 is shown
    found = measure(scores, areas)
    assert found["false_area"] == pytest.approx(0.2)
    assert found["false_area_shown"] == pytest.approx(0.1)


def test_concepts_that_are_always_or_never_there_have_no_curve(measure):
    found = measure(np.ones((2, 2)), truth=np.array([[1, 0], [1, 0]], bool))
    assert found["auc_macro"] is None
    assert found["ap"] is None
    assert found["concepts"] == 0


def test_with_nothing_absent_there_is_no_false_area(measure):
    found = measure(np.ones((4, 2)), truth=np.ones((4, 2), bool))
    assert found["false_area"] is None
    assert found["auc_pooled"] is None
    assert found["auc_pooled_photo_blind"] is None


def test_a_system_without_scores_and_decisions_has_false_area_alone(tmp_path):
    presence = Presence(["dress"], 2, tmp_path)
    presence.add(0, Pair("dress", True, {}, 0.5))
    presence.add(1, Pair("dress", False, {}, 0.25))
    found = presence.figures()
    assert found["false_area"] == 0.25
    unknown = ("auc_macro", "auc_pooled", "auc_pooled_photo_blind", "ap", "mcc", "precision", "recall")
    for key in (*unknown, "false_area_shown"):
        assert found[key] is None, key
    assert found["reliability"]["ece"] is None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [4, 1000])  # many equal scores, and few
def test_the_figures_agree_with_scikit_learn_and_with_their_definitions(measure, seed, steps, monkeypatch):
    monkeypatch.setattr("cmask_tf.evaluation.curves._CHUNK", 7)  # more chunks than one
    rng = np.random.default_rng(seed)
    truth = rng.random((40, 3)) < (0.2, 0.5, 0.7)
    scores = rng.integers(0, steps + 1, truth.shape) / steps
    frequency = rng.integers(0, 3, 3).astype(float)
    found = measure(scores, truth=truth, frequency=frequency)
    columns = list(zip(truth.T, scores.T, strict=True))
    pooled, said = (truth.ravel(), scores.ravel()), scores.ravel() >= 0.5
    blind = np.broadcast_to(frequency, truth.shape).ravel()
    expected = {
        "auc_macro": np.mean([sklearn.roc_auc_score(*column) for column in columns]),
        "auc_pooled": sklearn.roc_auc_score(*pooled),
        "auc_pooled_photo_blind": sklearn.roc_auc_score(pooled[0], blind),
        "ap": np.mean([sklearn.average_precision_score(*column) for column in columns]),
        "mcc": sklearn.matthews_corrcoef(pooled[0], said),
        "precision": sklearn.precision_score(pooled[0], said),
        "recall": sklearn.recall_score(pooled[0], said),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-12)
    twins = {
        "auc_macro": np.mean([reference.roc_auc(*column) for column in columns]),
        "auc_pooled": reference.roc_auc(*pooled),
        "ap": np.mean([reference.average_precision(*column) for column in columns]),
    }
    assert {key: found[key] for key in twins} == pytest.approx(twins, abs=1e-12)
    error = reference.expected_calibration_error(*pooled)
    assert found["reliability"]["ece"] == pytest.approx(error, abs=1e-12)


def test_reliability_by_hand(measure):
    found = measure([[0.95, 0.15], [0.95, 0.15], [0.55, 0.15], [0.55, 0.15]])["reliability"]
    rows = {row["low"]: row for row in found["bins"] if row["pairs"]}
    assert {low: (row["pairs"], row["present"]) for low, row in rows.items()} == {
        0.1: (4, 0.25),
        0.5: (2, 0.5),
        0.9: (2, 1.0),
    }
    assert rows[0.9]["score"] == pytest.approx(0.95)
    assert found["ece"] == pytest.approx((4 * 0.1 + 2 * 0.05 + 2 * 0.05) / 8)


def test_a_score_of_one_belongs_to_the_last_bin(measure):
    assert measure(np.ones((4, 2)))["reliability"]["bins"][-1]["pairs"] == 8
