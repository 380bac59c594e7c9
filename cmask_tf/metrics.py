"""The measures of one (photo, concept) pair where the concept is present (5.2, 5.3).

Where the paper is silent: an empty prediction has precision 0; the pointing game takes the first of
several equal maxima in row-major order; negative attention counts as 0 in the soft IoU. Boundary IoU is not
the paper's; it shows at full resolution what IoU hides on large masks.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

MASK_METRICS = ("precision", "recall", "iou", "boundary_iou")
ATTENTION_METRICS = ("pointing_game", "soft_iou")
METRICS = MASK_METRICS + ATTENTION_METRICS
BAND = 0.02  # of the photo's diagonal


def mask_scores(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Precision, recall and IoU of a binary mask (5.3).

    Args:
        prediction: bool [H, W].
        truth: bool [H, W], not empty.
    """
    hit = np.count_nonzero(prediction & truth)
    predicted, true = np.count_nonzero(prediction), np.count_nonzero(truth)
    return {
        "precision": hit / predicted if predicted else 0.0,
        "recall": hit / true,
        "iou": hit / (predicted + true - hit),
    }


def boundary_iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """IoU of the two masks' inner bands along their boundaries (Cheng et al. 2021, Boundary IoU).

    A mask's band is the part of it within a distance d of what is not the mask; beyond the photo's border
    nothing is. d is 2 % of the photo's diagonal, rounded, 1 pixel at least, and counts steps to any of the
    eight neighbours, as the authors' code does.

    Args:
        prediction: bool [H, W].
        truth: bool [H, W], not empty.
    """
    distance = max(1, round(BAND * math.hypot(*truth.shape)))
    kernel = np.ones((2 * distance + 1,) * 2, np.uint8)
    # Outside both masks there is nothing to erode.
    x, y, width, height = cv2.boundingRect((prediction | truth).view(np.uint8))
    window = slice(y, y + height), slice(x, x + width)
    predicted, true = (_band(mask[window], kernel) for mask in (prediction, truth))
    return np.count_nonzero(predicted & true) / np.count_nonzero(predicted | true)


def _band(mask: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """uint8 [h, w], 1 in the band."""
    filled = mask.view(np.uint8)
    return filled - cv2.erode(filled, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def attention_scores(attention: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Pointing game and soft IoU of an attention map (5.2).

    Args:
        attention: float [H, W], the map at the photo's size, before min-max.
        truth: bool [H, W], not empty.
    """
    return {"pointing_game": pointing_game(attention, truth), "soft_iou": soft_iou(attention, truth)}


def pointing_game(attention: np.ndarray, truth: np.ndarray) -> float:
    """1 when the map's maximum lies in the true mask, else 0."""
    return float(truth.flat[np.argmax(attention)])


def soft_iou(attention: np.ndarray, truth: np.ndarray) -> float:
    """Eqn. 5: the sum of alpha * G over the sum of max(alpha, G), alpha clipped to [0, 1]."""
    alpha = np.clip(attention, 0, 1)
    if alpha.dtype != np.float32:
        alpha = alpha.astype(np.float64)
    # OpenCV adds up in double precision without a copy of the map.
    pixels = np.count_nonzero(truth)
    shared = cv2.mean(alpha, truth.view(np.uint8))[0] * pixels
    # Where G is 1, max(alpha, G) is 1; elsewhere it is alpha.
    return shared / (pixels + cv2.sumElems(alpha)[0] - shared)
