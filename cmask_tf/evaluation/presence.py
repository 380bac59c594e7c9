"""Is the concept in the photo at all? Measured over every (photo, concept) pair (supplement 5).

A score that never sees the photo, a concept's training frequency, already has a high pooled ROC AUC.
So the AUC is taken per concept and then the mean (photo-blind: 0.5), and the pooled one stands beside
its photo-blind value.
"""

from __future__ import annotations

import numpy as np


def presence(
    scores: np.ndarray, found: np.ndarray, truth: np.ndarray, areas: np.ndarray, frequency: np.ndarray
) -> dict[str, float | None]:
    """Presence figures over all pairs of P photos and K concepts.

    Args:
        scores: float [P, K], calibrated.
        found: bool [P, K], the decision at the stored thresholds.
        truth: bool [P, K].
        areas: float [P, K], the share of the photo that the mask covers, whatever the score.
        frequency: float [K], how often each concept occurs in training.

    Returns:
        `auc_macro` and `ap`: ROC AUC and average precision per concept, then the mean over the concepts
        that are present in some photos and absent in others (None without any). `auc_pooled`: over all
        pairs at once, `auc_pooled_photo_blind`: the same for `frequency`. `mcc`, `precision`, `recall`:
        of `found`, over all pairs. `false_area`: mean share of the photo that masks of absent concepts
        cover; `false_area_shown`: the same, when a mask is shown only if its concept was found.
    """
    from sklearn import metrics  # half a second that importing this package need not pay

    pooled = 0 < truth.sum() < truth.size
    mixed = [k for k in range(truth.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
    absent = ~truth
    blind = np.broadcast_to(frequency, truth.shape)

    def macro(function) -> float | None:
        return _mean([function(truth[:, k], scores[:, k]) for k in mixed])

    def pooled_auc(values) -> float | None:
        return float(metrics.roc_auc_score(truth.ravel(), values.ravel())) if pooled else None

    return {
        "auc_macro": macro(metrics.roc_auc_score),
        "auc_pooled": pooled_auc(scores),
        "auc_pooled_photo_blind": pooled_auc(blind),
        "ap": macro(metrics.average_precision_score),
        "mcc": float(metrics.matthews_corrcoef(truth.ravel(), found.ravel())) if pooled else 0.0,
        "precision": float(metrics.precision_score(truth.ravel(), found.ravel(), zero_division=0)),
        "recall": float(metrics.recall_score(truth.ravel(), found.ravel(), zero_division=0)),
        "false_area": _mean(areas[absent]),
        "false_area_shown": _mean((areas * found)[absent]),
        "pairs": int(truth.size),
        "pairs_present": int(truth.sum()),
        "concepts": len(mixed),
    }


def _mean(values) -> float | None:
    return float(np.mean(values)) if len(values) else None
