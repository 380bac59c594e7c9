"""What each of the paper's figures shows, row by row, before anything is drawn.

The photos are chosen by `examples`' rule. Captions say which; the numbers below panels are those of the
systems' own examples.csv.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cmask_tf.evaluation.attention_systems import FOLDERS
from cmask_tf.evaluation.figures.cells import Cell
from cmask_tf.evaluation.figures.examples import (
    EXTREMES,
    QUARTILES,
    SPREAD,
    Examples,
    Pair,
    at_shares,
    spread_concepts,
    worst,
)
from cmask_tf.evaluation.figures.grid import SIDE

OURS = "Ours"
# The systems of the paper's columns, from left to right (supplement, Fig. 6; Fig. 5 and 7 to 12).
_MASK_LEVEL = ("FCIS", OURS, "Saliency-DSS", "Mask-R-CNN-star")
_BASELINES = (OURS, "Saliency-DSS", "Mask-R-CNN-star")
_SMALL_SIDE = 96
_NAMES = {0.1: "10 %", 0.25: "25 %", 0.5: "50 %", 0.75: "75 %", 0.9: "90 %"}
_THERE = {True: "there", False: "absent", None: "not annotated"}
_MASKS = "A mask is shown by the photo's pixels in it, with its IoU"

Entry = tuple[Cell, str | None]  # the text below; None: the number that belongs to the cell


@dataclass(frozen=True)
class Column:
    """A column of a plan. `system`: of whose answers it consists, or nobody's."""

    name: str
    cell: Callable[[Pair], Cell]
    system: str = ""


@dataclass(frozen=True)
class Plan:
    """A figure that can be drawn once its cells are there.

    Attributes:
        file: of the PNG.
        paper: the figure of the paper that it stands for.
        columns: names, and the system of each or "".
        rows: (label, entries) of each.
        nothing: what is said when there are no rows.
        side: px of the longer side of a panel.
    """

    file: str
    paper: str
    title: str
    caption: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[tuple[str, ...], tuple[Entry, ...]], ...]
    nothing: str
    side: int = SIDE

    def cells(self) -> list[Cell]:
        return [cell for _, entries in self.rows for cell, _ in entries]


def make_plans(examples: Examples, pseudo_truth: bool, detectors: Sequence[str] = ()) -> list[Plan]:
    """All figures that consist of test photos, in the paper's order.

    Args:
        examples: of our system.
        pseudo_truth: whether the true masks were themselves made from boxes.
        detectors: systems beside our own, the closed set and saliency.
    """
    return [
        _attention(examples),
        _kinds_of_masks(examples, detectors),
        _pseudo(examples, pseudo_truth),
        *_scores(examples),
        *_levels(examples, detectors),
        _words(examples),
        _failures(examples),
    ]


def _photo() -> Column:
    return Column("photo", lambda pair: Cell("photo", pair.photo))


def _truth() -> Column:
    return Column("truth", lambda pair: Cell("truth", pair.photo, pair.concept))


def _of(system: str, shows: str = "mask", name: str = "") -> Column:
    return Column(name or system, lambda pair: Cell(shows, pair.photo, pair.concept, system), system)


def _systems(named: Sequence[str], detectors: Sequence[str]) -> list[Column]:
    """The paper's columns, then the closed set and what other detectors there are."""
    others = [name for name in ("Closed-set", *detectors) if name not in named]
    return [_of(name) for name in (*named, *others)]


def _of_pairs(columns: Sequence[Column], pairs: Iterable[tuple[tuple[str, ...], Pair]], **texts) -> Plan:
    rows = tuple(
        ((pair.concept, *more), tuple((column.cell(pair), None) for column in columns))
        for more, pair in pairs
    )
    return Plan(columns=tuple((column.name, column.system) for column in columns), rows=rows, **texts)


def _shares(pairs: Iterable[Pair], shares: Sequence[float], more: str = "") -> list:
    """Labels and pairs at shares of a ranking."""
    return [((*([more] if more else []), _NAMES[share]), pair) for share, pair in at_shares(pairs, shares)]


def _in_words(shares: Sequence[float]) -> str:
    names = [_NAMES[share].removesuffix(" %") for share in shares]
    return f"ranked by our IoU, those at {', '.join(names[:-1])} and {names[-1]} %"


def _with(examples: Examples, levels: Iterable[str] = (), kinds: Iterable[str] = ()) -> list[Pair]:
    return [
        pair
        for pair in examples.pairs
        if (not levels or pair.level in levels) and (not kinds or pair.kind in kinds)
    ]


def _attention(examples: Examples) -> Plan:
    pairs = _with(examples, ("mask", "box"))
    return _of_pairs(
        [_photo(), *(_of(kind, "attention") for kind in FOLDERS)],
        _shares(pairs, SPREAD),
        file="fig-4-attention.png",
        paper="Fig. 4",
        title="Attention maps of the stages",
        caption=f"Of the {len(pairs)} pairs of test photo and mask- or box-level concept, "
        f"{_in_words(SPREAD)}. Each map is stretched from its lowest (blue) to its highest value (red); "
        "white: the true mask. Below: soft IoU (Eqn. 5).",
        nothing="No test photo shows a mask- or box-level concept.",
    )


def _kinds_of_masks(examples: Examples, detectors: Sequence[str]) -> Plan:
    levels, rows = ("mask", "box", "image"), []
    for kind in ("object", "part", "stuff"):
        rows += _shares(_with(examples, levels, (kind,)), QUARTILES, kind)
    return _of_pairs(
        [_photo(), _truth(), *_systems(_BASELINES, detectors)],
        rows,
        file="fig-5-masks.png",
        paper="Fig. 5",
        title="Masks of objects, parts and stuff",
        caption=f"Of each kind's pairs of test photo and concept (levels mask, box and image), "
        f"{_in_words(QUARTILES)}. {_MASKS}.",
        nothing="No test concept is an object, a part or stuff.",
    )


def _pseudo(examples: Examples, pseudo_truth: bool) -> Plan:
    box = Column("photo and box", lambda pair: Cell("box", pair.photo, pair.concept))
    made = Column("made from the box", lambda pair: Cell("pseudo", pair.photo, pair.concept))
    what = "The true masks of these data were made from boxes; shown with the box around each."
    if not pseudo_truth:
        what = (
            "The true masks of these data are exact and used for all figures; beside them, what GrabCut "
            "makes of the box around them, with its IoU."
        )
    pairs = _with(examples, ("box",))
    return _of_pairs(
        [box, _truth()] if pseudo_truth else [box, made, _truth()],
        _shares(pairs, SPREAD),
        file="supp-1-pseudo.png",
        paper="supplement, Fig. 1",
        title="Pseudo ground truth from boxes",
        caption=f"{what} Of the {len(pairs)} pairs of test photo and box-level concept, {_in_words(SPREAD)}.",
        nothing="No test photo shows a box-level concept.",
    )


def _scores(examples: Examples) -> list[Plan]:
    return [
        _extremes(examples, level, count, number)
        for level, count, number in (("box", 5, 3), ("image", 4, 4), ("zero", 3, 5))
    ]


def _extremes(examples: Examples, level: str, count: int, number: int) -> Plan:
    enough = [
        pair for pair in _with(examples, (level,)) if len(examples.highest.get(pair.concept, ())) == EXTREMES
    ]
    rows = []
    for name in spread_concepts(enough, count):
        scored = [*examples.highest[name], *examples.lowest[name]]
        notes = (f"{one.score:.2f} {_THERE[one.there]}" for one in scored)
        cells = (Cell("photo", one.photo) for one in scored)
        rows.append(((name,), tuple(zip(cells, notes, strict=True))))
    names = [f"highest {n}" for n in range(1, EXTREMES + 1)] + [f"lowest {n}" for n in range(EXTREMES, 0, -1)]
    return Plan(
        file=f"supp-{number}-scores-{level}.png",
        paper=f"supplement, Fig. {number}",
        title=f"Highest and lowest scores, {level} level",
        caption=f"The {EXTREMES} test photos with the highest and with the lowest scores for {len(rows)} "
        f"{level}-level concepts, evenly spaced in the ranking by mean IoU. Below: the score (0.5 is the "
        "concept's threshold) and whether the concept is there.",
        columns=tuple((name, "") for name in names),
        rows=tuple(rows),
        nothing=f"No {level}-level concept has scores in the test photos.",
        side=_SMALL_SIDE,
    )


def _levels(examples: Examples, detectors: Sequence[str]) -> list[Plan]:
    """Supplement, Fig. 6 to 12; the four pages of the box level are one picture, by kinds."""
    plans = []
    for level, number in (("mask", "6"), ("box", "7 to 10"), ("image", "11"), ("zero", "12")):
        pairs, by_kind = _with(examples, (level,)), level == "box"
        columns = _systems(_MASK_LEVEL if level == "mask" else _BASELINES, detectors)
        rows = _shares(pairs, SPREAD)
        said = f"{len(pairs)} pairs of test photo and {level}-level concept"
        if by_kind:
            kinds = list(dict.fromkeys(pair.kind for pair in sorted(pairs, key=lambda pair: pair.kind)))
            rows = [row for k in kinds for row in _shares(_with(examples, (level,), (k,)), QUARTILES, k)]
        plans.append(
            _of_pairs(
                [_photo(), _truth(), *columns],
                rows,
                file=f"supp-{number.replace(' to ', '-')}-{level}.png",
                paper=f"supplement, Fig. {number}",
                title=f"Masks, {level} level",
                caption=f"Of {'each kind of ' if by_kind else ''}the {said}, "
                f"{_in_words(QUARTILES if by_kind else SPREAD)}. {_MASKS}.",
                nothing=f"No test photo shows a {level}-level concept.",
            )
        )
    return plans


def _words(examples: Examples) -> Plan:
    attributes, actions = _with(examples, kinds=("attribute",)), _with(examples, kinds=("action",))
    rows = _shares(attributes, QUARTILES, "attribute") + _shares(actions, (0.5,), "action")
    missing = [name for name, pairs in (("attribute", attributes), ("action", actions)) if not pairs]
    none = "".join(f" None of the test concepts is an {name}." for name in missing)
    return _of_pairs(
        [_photo(), _truth(), _of(OURS)],
        rows,
        file="supp-13-attributes.png",
        paper="supplement, Fig. 13",
        title="Attributes and actions",
        caption=f"Pairs of test photo and attribute, {_in_words(QUARTILES)}; of the actions the median. "
        f"{_MASKS}.{none}",
        nothing=f"There is nothing to show.{none}",
    )


def _failures(examples: Examples) -> Plan:
    rows = [
        ((level,), pair)
        for level in ("mask", "box", "image", "zero")
        for pair in worst(_with(examples, (level,)), 2)
    ]
    return _of_pairs(
        [_photo(), _truth(), _of(OURS, "attention", "our attention"), _of(OURS, name="our mask")],
        rows,
        file="supp-14-failures.png",
        paper="supplement, Fig. 14",
        title="The worst cases",
        caption="Of each level the two pairs of test photo and concept with the lowest IoU; among equal "
        "ones, those with the largest mask. Attention is stretched from its lowest (blue) to its highest "
        "value (red); white: the true mask. Below: soft IoU and IoU.",
        nothing="No test photo shows a concept.",
    )
