"""The measures of one photo and concept (5.2, 5.3, Eqn. 5; boundary IoU: Cheng et al. 2021)."""

import numpy as np
import pytest
import reference
from pycocotools import mask as rle

from cmask_tf.metrics import attention_scores, boundary_iou, mask_scores, pointing_game, soft_iou

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


def coded(mask):
    return rle.encode(np.asfortranarray(mask.astype(np.uint8)))


@pytest.mark.parametrize("seed", range(8))
def test_masks_agree_with_pycocotools(seed):
    rng = np.random.default_rng(seed)
    prediction, truth = rng.random((2, 31, 23)) < rng.random((2, 1, 1))
    truth[3, 4] = True
    p, t = coded(prediction), coded(truth)
    both = float(rle.area(rle.merge([p, t], intersect=True)))
    found = mask_scores(prediction, truth)
    assert found["precision"] == both / max(int(rle.area(p)), 1)
    assert found["recall"] == both / int(rle.area(t))
    assert found["iou"] == pytest.approx(float(rle.iou([p], [t], [0])[0, 0]), abs=1e-15)


def test_a_boundary_by_hand():
    """In 30 x 40 pixels the distance is 1: the bands are the frames of the squares."""
    truth, prediction = np.zeros((2, 30, 40), bool)
    truth[10:15, 10:15] = True  # a frame of 16 pixels around 9
    prediction[10:15, 11:16] = True
    # The frames of two squares of 5, one column apart: 4 pixels of the top rows, 4 of the bottom ones; the
    # sides lie beside each other.
    assert boundary_iou(prediction, truth) == 8 / (16 + 16 - 8)
    assert mask_scores(prediction, truth)["iou"] == 20 / 30


def test_the_photos_border_is_a_boundary():
    truth = np.ones((30, 40), bool)
    prediction = np.ones((30, 40), bool)
    prediction[:, 0] = False  # of 136 pixels of the frame 30 are gone, and 28 behind them are new
    assert boundary_iou(prediction, truth) == (136 - 30) / (136 + 28)


def test_masks_may_lie_in_either_order_in_memory():
    rng = np.random.default_rng(0)
    attention = rng.random((20, 30)).astype(np.float32)
    prediction, truth = attention > 0.4, rng.random((20, 30)) > 0.5
    other = np.asfortranarray(truth)  # as pycocotools decodes it
    assert mask_scores(prediction, other) == mask_scores(prediction, truth)
    assert boundary_iou(prediction, other) == boundary_iou(prediction, truth)
    assert attention_scores(attention, other) == attention_scores(attention, truth)


def test_boundaries_of_equal_masks_are_equal_and_of_an_empty_one_nothing():
    assert boundary_iou(TRUTH, TRUTH) == 1.0
    assert boundary_iou(np.zeros_like(TRUTH), TRUTH) == 0.0


@pytest.mark.parametrize("shape", [(24, 31), (90, 120)])  # distances of 1 and 3 pixels
@pytest.mark.parametrize("seed", range(3))
def test_boundaries_agree_with_the_slow_reference(shape, seed):
    rng = np.random.default_rng(seed)
    prediction, truth = np.zeros((2, *shape), bool)
    for mask in (prediction, truth):
        for _ in range(4):
            y, x = rng.integers(0, shape[0] - 4), rng.integers(0, shape[1] - 4)
            mask[y : y + rng.integers(3, shape[0]), x : x + rng.integers(3, shape[1])] ^= True
        mask |= rng.random(shape) < 0.003
    expected = reference.boundary_iou(prediction, truth)
    assert 0 < expected < 1
    assert boundary_iou(prediction, truth) == pytest.approx(expected, abs=1e-15)
