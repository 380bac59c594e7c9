"""Which system the paper finds better, and whether it is so here: stated with its numbers, whatever they are.

A difference is taken within each seed. The ordering holds when the mean difference is above the standard
deviation of the seeds' differences, does not hold when it is as far below 0, and lies within the seeds'
spread in between. One seed has no spread: the sign decides, and it is said.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cmask_tf.reproduce.tables import OIVG, Scores, level_value, untrained

# What is behind an ordering that is not found, by the system that ought to be the worse one: as far as the
# measurements on ConceptWorld tell (docs/training.md, docs/reproduce.md).
REASONS = {
    "Original": "Original-Finetuned is not above Original: Eqn. 2 asks nothing of the coarse maps, which are "
    "inputs of a layer that learns from scratch, and they lose most of their likeness to Stage 1's.",
    "Refined-noNeg": "Refined is not above Refined-noNeg: the spatial discrimination loss darkens a map "
    "where other concepts lie close, which costs overlap (soft IoU) sooner than the maximum's place.",
    "Ours-noNeg": "Ours is not above Ours-noNeg: Stage 3 stretches each map to [0, 1], which makes up for "
    "maps that the loss has darkened or left bright.",
    "Ours-singleAtt": "Ours is not above Ours-singleAtt: a second, finer map makes masks smaller, which "
    "raises precision and lowers recall; where the attention itself is weak, recall is what IoU hangs on.",
    "Saliency-DSS": "Ours is not above Saliency-DSS: what stands out in a photo is much of the answer for "
    "attributes and for objects in front, where ours has no boxes to learn from; it is none for stuff.",
}
HOLDS, FAILS, WITHIN = "holds", "does not hold", "within the seeds' spread"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Claim:
    """`better` is above `worse` in a measure over some levels; `or_equal`: at least as good."""

    better: str
    worse: str
    measure: str
    levels: tuple[str, ...]
    or_equal: bool = False


@dataclass(frozen=True)
class Ordering:
    """A claim and what became of it.

    Attributes:
        claim: what the paper finds.
        outcome: HOLDS, FAILS, WITHIN or NOT_MEASURED.
        differences: better minus worse, one a seed that has both.
        better, worse: their means over those seeds.
        notes: what else has to be known.
    """

    claim: Claim
    outcome: str
    differences: tuple[float, ...]
    better: float | None
    worse: float | None
    notes: tuple[str, ...] = ()

    @property
    def spread(self) -> float | None:
        """The standard deviation of the differences; None of fewer than two."""
        return statistics.stdev(self.differences) if len(self.differences) > 1 else None


def _claims() -> tuple[Claim, ...]:
    maps = [
        Claim(better, worse, measure, OIVG, or_equal)
        for better, worse, or_equal in (
            ("Refined", "Original-Finetuned", False),
            ("Original-Finetuned", "Original", False),
            ("Refined", "Refined-noNeg", True),
        )
        for measure in ("pointing_game", "soft_iou")
    ]
    masks = [
        Claim("Ours", worse, "iou", (level,), or_equal)
        for worse, levels, or_equal in (
            ("Ours-noNeg", ("mask", "box", "image"), True),
            ("Ours-singleAtt", ("mask", "box", "image"), False),
            ("Saliency-DSS", ("box", "image", "zero"), False),
        )
        for level in levels
    ]
    return (*maps, *masks)


CLAIMS = _claims()


def orderings(scores: Scores, claims: Sequence[Claim] = CLAIMS) -> list[Ordering]:
    """What became of each claim."""
    below = untrained(scores)
    return [_ordering(scores, claim, below.get(claim.worse)) for claim in claims]


def judge(differences: Sequence[float], or_equal: bool = False) -> str:
    """HOLDS, FAILS or WITHIN; NOT_MEASURED without differences.

    Args:
        differences: better minus worse, one a seed.
        or_equal: no difference at all is enough.
    """
    if not differences:
        return NOT_MEASURED
    mean = statistics.fmean(differences)
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    if mean > spread or (or_equal and mean == spread == 0):
        return HOLDS
    if mean < -spread or mean == spread == 0:
        return FAILS
    return WITHIN


def _ordering(scores: Scores, claim: Claim, untrained_note: str | None) -> Ordering:
    get = level_value(claim.measure, *claim.levels)
    pairs = [
        (get(of_seed[claim.better]), get(of_seed[claim.worse]))
        for _, of_seed in sorted(scores.items())
        if claim.better in of_seed and claim.worse in of_seed
    ]
    pairs = [(one, other) for one, other in pairs if one is not None and other is not None]
    differences = tuple(one - other for one, other in pairs)
    means = [statistics.fmean(column) for column in zip(*pairs, strict=True)] or [None, None]
    notes: tuple[str, ...] = ("With one seed the spread is unknown, and the sign of the difference decides.",)
    notes = (notes if len(pairs) == 1 else ()) + ((untrained_note,) if untrained_note else ())
    outcome = judge(differences, claim.or_equal)
    if outcome in (FAILS, WITHIN) and claim.worse in REASONS:
        notes += ("Why, as far as known: " + REASONS[claim.worse],)
    return Ordering(claim, outcome, differences, *means, notes)
