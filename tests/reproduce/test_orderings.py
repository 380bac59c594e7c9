"""The paper's orderings: what is said of them for differences of every kind."""

import pytest
from reproduction_fixture import all_systems, of_maps, of_masks

from cmask_tf.reproduce.orderings import (
    CLAIMS,
    FAILS,
    HOLDS,
    NOT_MEASURED,
    WITHIN,
    Claim,
    judge,
    orderings,
)


@pytest.mark.parametrize(
    ("differences", "outcome"),
    [
        ([0.02, 0.03, 0.04], HOLDS),  # mean 0.03, spread 0.01
        ([-0.02, -0.03, -0.04], FAILS),
        ([0.05, -0.01, 0.02], WITHIN),  # mean 0.02, spread 0.03
        ([-0.05, 0.01, -0.02], WITHIN),
        ([0.01], HOLDS),
        ([-0.01], FAILS),
        ([0.0], FAILS),
        ([], NOT_MEASURED),
    ],
)
def test_the_mean_difference_is_judged_against_the_spread_of_the_differences(differences, outcome):
    assert judge(differences) == outcome


def test_at_least_as_good_holds_without_any_difference():
    assert judge([0.0, 0.0], or_equal=True) == HOLDS
    assert judge([0.0], or_equal=True) == HOLDS
    assert judge([-0.02, -0.03, -0.04], or_equal=True) == FAILS
    assert judge([0.05, -0.01, -0.02], or_equal=True) == WITHIN


def test_differences_are_taken_within_a_seed():
    """Both systems vary by 0.3 from seed to seed, their difference by nothing."""
    scores = {
        seed: {"Ours": of_masks(0.2 + 0.3 * seed), "Ours-noNeg": of_masks(0.1 + 0.3 * seed)}
        for seed in (0, 1)
    }
    (one,) = orderings(scores, [Claim("Ours", "Ours-noNeg", "iou", ("mask",))])
    assert one.outcome == HOLDS
    assert one.differences == pytest.approx((0.1, 0.1))
    assert (one.better, one.worse) == pytest.approx((0.35, 0.25))
    assert one.spread == pytest.approx(0)


def test_a_seed_that_lacks_one_of_both_does_not_count():
    scores = {0: all_systems(), 1: {"Ours": of_masks(0.9)}}
    (one,) = orderings(scores, [Claim("Ours", "Ours-noNeg", "iou", ("mask",))])
    assert one.differences == pytest.approx((0.1,))
    assert ["one seed" in note for note in one.notes] == [True]


def test_the_papers_orderings_are_all_there():
    said = {(c.better, c.worse, c.or_equal) for c in CLAIMS}
    assert said == {
        ("Refined", "Original-Finetuned", False),
        ("Original-Finetuned", "Original", False),
        ("Refined", "Refined-noNeg", True),
        ("Ours", "Ours-noNeg", True),
        ("Ours", "Ours-singleAtt", False),
        ("Ours", "Saliency-DSS", False),
    }
    assert {c.levels for c in CLAIMS if c.worse == "Saliency-DSS"} == {("box",), ("image",), ("zero",)}
    assert {one.outcome for one in orderings({0: all_systems(), 1: all_systems()})} == {HOLDS}


def test_an_ordering_that_does_not_hold_is_stated():
    scores = {0: all_systems() | {"Refined": of_maps(0.1, 0.1)}}
    refined = [one for one in orderings(scores) if one.claim.better == "Refined"]
    assert [one.outcome for one in refined] == [FAILS] * 4
    reasons = [[note for note in one.notes if note.startswith("Why")] for one in refined]
    assert [len(found) for found in reasons] == [0, 0, 1, 1]  # of the last two a reason is known
    assert "darkens" in reasons[2][0]


def test_an_ordering_that_holds_needs_no_reason():
    assert not [n for one in orderings({0: all_systems()}) for n in one.notes if n.startswith("Why")]


def test_a_baseline_that_is_not_trained_is_said():
    scores = {0: all_systems() | {"Saliency-DSS": of_masks(0.01, 0.01, 0.01, 0.01)}}
    told = [one.notes[-1] for one in orderings(scores) if one.claim.worse == "Saliency-DSS"]
    assert len(told) == 3 and all("not trained" in note for note in told)


def test_nothing_scored_is_not_measured():
    assert {one.outcome for one in orderings({0: {}})} == {NOT_MEASURED}
