"""The measures of one (photo, concept) pair where the concept is present (5.2, 5.3).

Where the paper is silent: an empty prediction has precision 0; the pointing game takes the first of
several equal maxima in row-major order; negative attention counts as 0 in the soft IoU.
"""

from __future__ import annotations

import numpy as np

MASK_METRICS = ("precision", "recall", "iou")
ATTENTION_METRICS = ("pointing_game", "soft_iou")
METRICS = MASK_METRICS + ATTENTION_METRICS


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
    alpha = np.clip(attention, 0, 1).astype(np.float64)
    return float(alpha[truth].sum() / np.maximum(alpha, truth).sum())
