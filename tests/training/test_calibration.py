"""What is chosen on validation: thresholds against exhaustive search (supp. 5), means by level."""

import numpy as np
import pytest

from cmask_tf.training.calibration import best_f1_threshold, best_slope
from cmask_tf.training.validation import Means, upsample


def f1(scores, present, threshold):
    found = scores >= threshold
    return 2 * np.sum(found & present) / (found.sum() + present.sum())


@pytest.mark.parametrize("seed", range(20))
def test_no_other_threshold_has_a_better_f1(seed):
    rng = np.random.default_rng(seed)
    present = rng.random(30) < 0.3
    present[0] = True
    scores = np.round(rng.normal(size=30) + present, 1)  # ties are common
    best = max(f1(scores, present, t) for t in scores)
    assert f1(scores, present, best_f1_threshold(scores, present)) == pytest.approx(best)


def test_the_threshold_lies_half_way_to_the_next_lower_score():
    scores, present = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False])
    assert best_f1_threshold(scores, present) == pytest.approx(0.5)


def test_nothing_present_gives_zero():
    assert best_f1_threshold(np.array([0.3, 0.4]), np.array([False, False])) == 0.0


def test_the_slope_of_scores_is_the_most_likely_one():
    rng = np.random.default_rng(3)
    distance = rng.normal(scale=0.3, size=20_000)
    present = rng.random(20_000) < 1 / (1 + np.exp(-8 * distance))
    assert best_slope(distance, present) == pytest.approx(8, rel=0.05)


def test_the_slope_stays_finite_where_nothing_is_mistaken():
    assert best_slope(np.array([-0.1, 0.1]), np.array([False, True])) == pytest.approx(100, rel=0.01)


def test_means_are_over_photos_then_over_the_concepts_of_a_level():
    means = Means(["mask", "mask", "box"])
    for concept, value in [(0, 1.0), (0, 0.0), (1, 1.0), (2, 0.25)]:
        means.add(concept, {"iou": value})
    assert means.by_level() == {"val_iou_mask": 0.75, "val_iou_box": 0.25}


def test_upsampling_keeps_the_place_of_the_maximum():
    small = np.zeros((4, 6), np.float32)
    small[2, 1] = 1
    big = upsample(small, (40, 60))
    row, column = np.unravel_index(np.argmax(big), big.shape)
    assert big.shape == (40, 60) and row // 10 == 2 and column // 10 == 1
