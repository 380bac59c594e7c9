"""Drawers of small things: on a table, in the hand, in the air. Each returns its pieces, back to front."""

from __future__ import annotations

import numpy as np

from cmask_tf.data.world.shapes import Piece, box, ellipse, polygon, stroke, turned

Generator = np.random.Generator


def cup(rng: Generator) -> list[Piece]:
    """A tea cup on its saucer: wide above, round below."""
    bowl = np.concatenate([polygon((-0.5, -0.9), (0.5, -0.9)), ellipse(0, -0.9, 0.5, 0.78, 8, 172, 14)])
    handle = stroke(ellipse(0.48, -0.62, 0.25, 0.2, -100, 110, 14), 0.09)
    return [
        Piece(handle, "shade", "handle"),
        Piece(ellipse(0, -0.08, 0.62, 0.08), "light"),
        Piece(bowl, "main"),
        Piece(ellipse(0, -0.9, 0.5, 0.09), "shade"),
    ]


def mug(rng: Generator) -> list[Piece]:
    """A straight cylinder with a big handle."""
    half = rng.uniform(0.3, 0.36)
    handle = stroke(ellipse(half, -0.5, 0.26, 0.28, -95, 95, 14), 0.1)
    return [
        Piece(handle, "shade", "handle"),
        Piece(
            np.concatenate([box(-half, -0.93, half, -0.05)[:2], ellipse(0, -0.06, half, 0.06, 0, 180, 10)]),
            "main",
        ),
        Piece(ellipse(0, -0.93, half, 0.07), "shade"),
    ]


def vase(rng: Generator) -> list[Piece]:
    """A belly, a neck, a lip."""
    belly, neck = rng.uniform(0.3, 0.4), rng.uniform(0.1, 0.16)
    heights = np.linspace(0, 1, 18)
    widths = neck + (belly - neck) * np.sin(np.pi * np.clip(heights * 1.45, 0, 1)) + 0.1 * (heights > 0.93)
    widths = np.maximum(widths, np.where(heights < 0.1, belly * 0.6, 0))
    right = np.stack([widths, -heights], axis=1)
    left = np.stack([-widths, -heights], axis=1)[::-1]
    return [Piece(np.concatenate([right, left]).astype(np.float32), "main")]


def umbrella(rng: Generator) -> list[Piece]:
    """A scalloped dome on a stick with a crook."""
    dome = ellipse(0, -0.5, 0.55, 0.48, 180, 360, 22)
    scallops = [ellipse(x, -0.5, 0.55 / 4, 0.07, 0, -180, 8) for x in (0.4125, 0.1375, -0.1375, -0.4125)]
    stick = stroke([(0, -1.0), (0, -0.3), (0, -0.1)], 0.05)
    crook = stroke(ellipse(-0.08, -0.1, 0.08, 0.08, 0, 170, 10), 0.05)
    cover = np.concatenate([dome, *scallops])
    return [Piece(stick, "wood", "handle"), Piece(crook, "wood", "handle"), Piece(cover, "main")]


def ball(rng: Generator) -> list[Piece]:
    """A circle with a highlight."""
    return [
        Piece(ellipse(0, -0.5, 0.5, 0.5, steps=40), "main"),
        Piece(ellipse(-0.18, -0.7, 0.1, 0.07), "light"),
    ]


def balloon(rng: Generator) -> list[Piece]:
    """A hot-air balloon: envelope, ropes, basket."""
    top = ellipse(0, -0.62, 0.38, 0.38, 160, 380, 24)
    ropes = [Piece(stroke([(s * 0.1, -0.3), (s * 0.07, -0.14)], 0.025), "dark") for s in (-1, 1)]
    envelope = np.concatenate([top, polygon((0.11, -0.28), (-0.11, -0.28))])
    return [*ropes, Piece(envelope, "main"), Piece(box(-0.1, -0.16, 0.1, 0), "wicker", "basket")]


def kite(rng: Generator) -> list[Piece]:
    """A diamond with a tail of bows."""
    sway = rng.uniform(0.1, 0.22)
    line = [(sway * np.sin(t * 5), -0.36 + 0.36 * t) for t in np.linspace(0, 1, 12)]
    bows = []
    for x, y in line[4::4]:
        bows.append(Piece(polygon((x - 0.09, y - 0.05), (x, y), (x - 0.09, y + 0.05)), "second", "tail"))
        bows.append(Piece(polygon((x + 0.09, y - 0.05), (x, y), (x + 0.09, y + 0.05)), "second", "tail"))
    diamond = polygon((0, -1), (0.3, -0.72), (0, -0.32), (-0.3, -0.72))
    return [Piece(stroke(line, 0.035), "second", "tail"), *bows, Piece(diamond, "main")]


def lamp(rng: Generator) -> list[Piece]:
    """A shade on a thin stand with a foot."""
    top = rng.uniform(0.1, 0.18)
    return [
        Piece(box(-0.03, -0.66, 0.03, -0.05), "metal"),
        Piece(ellipse(0, -0.02, 0.2, 0.06, 180, 360), "metal"),
        Piece(polygon((-top, -1), (top, -1), (0.34, -0.6), (-0.34, -0.6)), "main"),
    ]


def clock(rng: Generator) -> list[Piece]:
    """A rim, a white face, two hands."""
    hands = [stroke([(0, -0.5), (0, -0.5 - reach)], 0.06) for reach in (0.22, 0.32)]
    turns = rng.uniform(0, 360, 2)
    return [
        Piece(ellipse(0, -0.5, 0.5, 0.5, steps=36), "main"),
        Piece(ellipse(0, -0.5, 0.39, 0.39, steps=32), "light"),
        *[Piece(turned(hand, turn, 0, -0.5), "dark") for hand, turn in zip(hands, turns, strict=True)],
    ]


def table(rng: Generator) -> list[Piece]:
    """A top on two or four legs."""
    half = rng.uniform(0.75, 1.0)
    legs = [Piece(box(x - 0.05, -0.85, x + 0.05, 0), "second", "leg") for x in (-half + 0.1, half - 0.1)]
    if rng.random() < 0.5:
        legs += [
            Piece(box(x - 0.04, -0.85, x + 0.04, -0.1), "dark", "leg") for x in (-half + 0.3, half - 0.3)
        ]
    return [*reversed(legs), Piece(box(-half, -1, half, -0.82), "main")]


def chair(rng: Generator) -> list[Piece]:
    """Seen from the side a little: a high back, a seat, legs."""
    legs = [Piece(box(x - 0.04, -0.45, x + 0.04, 0), "second", "leg") for x in (-0.27, 0.29)]
    legs += [Piece(box(x - 0.035, -0.45, x + 0.035, -0.1), "dark", "leg") for x in (-0.12, 0.16)]
    back = polygon((-0.36, -1), (-0.2, -1), (-0.2, -0.42), (-0.32, -0.42))
    return [*legs, Piece(back, "main"), Piece(box(-0.33, -0.5, 0.36, -0.36), "main")]
