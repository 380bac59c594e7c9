"""Precision, recall, IoU, pointing game and soft IoU of one photo and concept (5.2, 5.3, Eqn. 5)."""

import numpy as np
import pytest
import reference

from cmask_tf.metrics import attention_scores, mask_scores, pointing_game, soft_iou

TRUTH = np.array([[0, 1, 1], [0, 1, 0]], bool)


def test_a_hand_counted_mask():
    prediction = np.array([[1, 1, 1], [1, 0, 0]], bool)  # 2 of its 4 pixels are right, of 3 true ones
    assert mask_scores(prediction, TRUTH) == {"precision": 2 / 4, "recall": 2 / 3, "iou": 2 / 5}


def test_an_empty_prediction_scores_zero():
    assert mask_scores(np.zeros_like(TRUTH), TRUTH) == {"precision": 0.0, "recall": 0.0, "iou": 0.0}


def test_the_truth_itself_scores_one():
    assert set(mask_scores(TRUTH, TRUTH).values()) == {1.0}


@pytest.mark.parametrize("seed", range(5))
def test_masks_and_maps_agree_with_the_reference(seed):
    rng = np.random.default_rng(seed)
    prediction, truth = rng.random((2, 7, 9)) < 0.4
    attention = rng.random((7, 9)).astype(np.float32)
    scores = tuple(mask_scores(prediction, truth).values())
    assert scores == pytest.approx(reference.precision_recall_iou(prediction, truth), abs=1e-12)
    assert attention_scores(attention, truth) == pytest.approx(
        {
            "pointing_game": float(reference.pointing_hit(attention, truth)),
            "soft_iou": reference.soft_iou(attention, truth),
        },
        abs=1e-12,
    )


def test_the_pointing_game_takes_the_first_of_equal_maxima_in_row_major_order():
    tie = np.array([[0.2, 0.9, 0.1], [0.9, 0.1, 0.9]])
    assert pointing_game(tie, TRUTH) == 1.0  # (0, 1), although (1, 0) and (1, 2) are as high
    assert pointing_game(np.ones((2, 3)), TRUTH) == 0.0  # a constant map points at the first pixel


def test_soft_iou_by_hand():
    attention = np.array([[0.5, 0.5, 1.0], [0.0, 0.0, 0.5]])
    # alpha * G: .5 + 1 + 0; max(alpha, G): .5 + 1 + 1 + 0 + 1 + .5
    assert soft_iou(attention, TRUTH) == pytest.approx(1.5 / 4.0, abs=1e-12)


def test_soft_iou_of_binary_masks_is_iou():
    prediction = np.array([[1, 1, 1], [1, 0, 0]], bool)
    assert soft_iou(prediction, TRUTH) == mask_scores(prediction, TRUTH)["iou"]


def test_negative_attention_counts_as_zero_in_soft_iou():
    attention = np.array([[-1.0, 0.5, 0.5], [-0.2, 0.0, 0.0]])
    assert soft_iou(attention, TRUTH) == soft_iou(np.maximum(attention, 0), TRUTH)
