"""One column of the refinement network, learnt from few photos: a logistic regression on frozen hidden maps.

The loss is Stage 2's of an annotated concept (4.2): cross entropy with G, and soft Dice if the config has it.
What a handful of photos cannot tell is taken from elsewhere: the column is pulled towards the one that the
concept borrowed until now (p(q) of 4.4), or towards zero. No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)  # of the pull, the strongest first
_STEPS = 40  # of L-BFGS, from the solution of the pull before
_SMOOTH = 1.0  # of Dice, as in `losses`


@dataclass(frozen=True)
class Examples:
    """Photos at one scale, or several. At the paper's size a photo takes 5 MB, and its mirror image as much.

    Attributes:
        hidden: for each scale float32 [N, P, F], the hidden maps of N photos at P places.
        targets: for each scale float32 [N, P], G: 0 to 1, the share of a place that the concept covers; 0
            everywhere in a photo without it.
    """

    hidden: list[np.ndarray]
    targets: list[np.ndarray]

    def some(self, chosen: Sequence[int] | np.ndarray) -> Examples:
        """Those of some photos."""
        return Examples([h[chosen] for h in self.hidden], [t[chosen] for t in self.targets])


@dataclass(frozen=True)
class Anchor:
    """What a column is pulled towards.

    Attributes:
        name: of the concept whose column it is; None stands for zero.
        weights: float32 [F].
        bias: of the same column; not pulled, but started from, where `name` is None.
    """

    name: str | None
    weights: np.ndarray
    bias: float

    @classmethod
    def zero(cls, examples: Examples) -> Anchor:
        """No weights, and the bias that fits best without them."""
        share = np.mean([t.mean() for t in examples.targets])
        share = np.clip(share, 1e-4, 1 - 1e-4)
        return cls(
            None, np.zeros(examples.hidden[0].shape[2], np.float32), float(np.log(share / (1 - share)))
        )


def loss(
    column: np.ndarray, examples: Examples, anchor: Anchor, strength: float, dice_weight: float
) -> tuple[float, np.ndarray]:
    """Cross entropy, Dice and pull, and their gradient.

    The mean over scales of: the cross entropy, a mean over photos and places; `dice_weight` times soft Dice,
    a mean over the photos that show the concept. To it comes strength / 2 times the squared distance to the
    anchor, each weight's in units of the maps: s |w - w0|^2 + (b - b0)^2 with s the mean square of the
    hidden maps. The bias is free where the anchor is zero.

    Args:
        column: float64 [F + 1], weights and bias.

    Returns:
        The loss, and its gradient float64 [F + 1].
    """
    away = column - np.append(anchor.weights, anchor.bias)
    pull = strength * np.append(np.full(len(column) - 1, _mean_square(examples)), anchor.name is not None)
    total, gradient = 0.5 * pull @ away**2, pull * away
    for hidden, target in zip(examples.hidden, examples.targets, strict=True):
        # Not by `@`: these products wait for memory, and BLAS' threads, on a busy machine, for each other.
        logits = np.einsum("npf,f->np", hidden, column[:-1].astype(hidden.dtype)) + column[-1]
        value, slope = _fit(logits, target, dice_weight)
        total += value / len(examples.hidden)
        slope /= len(examples.hidden)
        of_weights = np.einsum("np,npf->f", slope.astype(hidden.dtype), hidden)
        gradient += np.append(of_weights, slope.sum())
    return total, gradient


def path(examples: Examples, anchor: Anchor, dice_weight: float) -> np.ndarray:
    """The best column for each of `STRENGTHS`, each found from the one before.

    Returns:
        float32 [len(STRENGTHS), F + 1], weights and bias.
    """
    column, found = np.append(anchor.weights, anchor.bias).astype(np.float64), []
    for strength in STRENGTHS:
        arguments = examples, anchor, strength, dice_weight
        column = minimize(loss, column, arguments, "L-BFGS-B", jac=True, options={"maxiter": _STEPS}).x
        found.append(column)
    return np.array(found, np.float32)


def candidates(anchors: Sequence[Anchor]) -> list[tuple[Anchor, float]]:
    """What cross validation chooses from, in the order of `columns`: anchors and the strength of their pull.

    A concept's column itself, infinitely strong, is among them: nothing is learnt where nothing helps.
    """
    found = [(anchor, np.inf) for anchor in anchors if anchor.name is not None]
    return found + [(anchor, strength) for anchor in anchors for strength in STRENGTHS]


def columns(examples: Examples, anchors: Sequence[Anchor], dice_weight: float) -> np.ndarray:
    """The column of every candidate: float32 [C, F + 1], weights and bias."""
    kept = [np.append(a.weights, a.bias)[np.newaxis] for a in anchors if a.name is not None]
    return np.concatenate([*kept, *(path(examples, a, dice_weight) for a in anchors)]).astype(np.float32)


def folds(shows: np.ndarray, count: int) -> np.ndarray:
    """Deals photos out in turn, those with the concept and those without it apart.

    Args:
        shows: bool [N].
        count: of folds.

    Returns:
        int64 [N], the fold of each photo.
    """
    dealt = np.empty(len(shows), np.int64)
    for kind in (True, False):
        photos = np.flatnonzero(shows == kind)
        dealt[photos] = np.arange(len(photos)) % count
    return dealt


def _mean_square(examples: Examples) -> float:
    return float(np.mean([np.vdot(h, h) / h.size for h in examples.hidden]))


def _fit(logits: np.ndarray, target: np.ndarray, dice_weight: float) -> tuple[float, np.ndarray]:
    """Cross entropy and Dice of one scale, and their gradient by the logits, all [N, P]."""
    chance = expit(logits)
    entropy = np.mean(np.logaddexp(0, logits) - target * logits)
    slope = (chance - target) / target.size
    shows = target.any(axis=1)
    if not dice_weight or not shows.any():
        return entropy, slope
    shared, sizes = (chance * target).sum(1), chance.sum(1) + target.sum(1) + _SMOOTH
    overlap = (2 * shared + _SMOOTH) / sizes
    share = dice_weight * shows / shows.sum()
    slope += share[:, None] * (overlap[:, None] - 2 * target) / sizes[:, None] * chance * (1 - chance)
    return entropy + share @ (1 - overlap), slope
