"""Drawers of plants, animals, snowmen and the moon. Each returns its pieces, back to front."""

from __future__ import annotations

import numpy as np

from cmask_tf.data.world.shapes import Piece, blob, ellipse, polygon, star, stroke, turned

Generator = np.random.Generator


def tree(rng: Generator) -> list[Piece]:
    """A trunk with a round crown of a few bulges."""
    wide = rng.uniform(0.3, 0.4)
    pieces = [Piece(polygon((-0.06, -0.5), (0.06, -0.5), (0.1, 0), (-0.1, 0)), "wood", "trunk")]
    for x, y, r in ((-0.45, -0.55, 0.62), (0.45, -0.57, 0.62), (0, -0.7, 0.85)):
        pieces.append(Piece(blob(rng, x * wide, y, r * wide, r * wide * 0.9), "main", "crown"))
    return pieces


def fir(rng: Generator) -> list[Piece]:
    """A trunk with three tiers of branches."""
    wide = rng.uniform(0.3, 0.38)
    pieces = [Piece(polygon((-0.06, -0.2), (0.06, -0.2), (0.07, 0), (-0.07, 0)), "wood", "trunk")]
    for bottom, top, share in ((-0.14, -0.6, 1.0), (-0.4, -0.82, 0.78), (-0.63, -1.0, 0.55)):
        half = wide * share
        pieces.append(
            Piece(polygon((-half, bottom), (0, top), (half, bottom), (0, bottom - 0.05)), "main", "crown")
        )
    return pieces


def _stem(rng: Generator, top: float) -> list[Piece]:
    bend = rng.uniform(-0.08, 0.08)
    leaf = turned(ellipse(0.15, -0.2, 0.16, 0.05), -35, 0, -0.2)
    line = [(0, top), (bend, top / 2), (0, 0)]
    return [Piece(stroke(line, 0.07), "leaf", "stem"), Piece(leaf, "leaf")]


def flower(rng: Generator) -> list[Piece]:
    """Petals around a heart, on a stem."""
    count = int(rng.integers(5, 8))
    turn = rng.uniform(0, 360)
    petal = ellipse(0.2, -0.68, 0.16, 0.36 / count + 0.045)
    petals = [Piece(turned(petal, turn + 360 / count * k, 0, -0.68), "main", "petal") for k in range(count)]
    return [*_stem(rng, -0.5), *petals, Piece(ellipse(0, -0.68, 0.1, 0.1), "gold")]


def tulip(rng: Generator) -> list[Piece]:
    """A closed goblet of three petals on a stem."""
    goblet = polygon((-0.22, -0.95), (-0.09, -0.8), (0, -1), (0.09, -0.8), (0.22, -0.95))
    bowl = ellipse(0, -0.72, 0.22, 0.22, 0, 180, 14)
    return [*_stem(rng, -0.52), Piece(np.concatenate([goblet, bowl]), "main", "petal")]


def mushroom(rng: Generator) -> list[Piece]:
    """A cap with spots on a thick stem."""
    wide = rng.uniform(0.42, 0.55)
    spots = [(-0.5, -0.62, 0.07), (0.02, -0.82, 0.08), (0.5, -0.65, 0.06)]
    return [
        Piece(polygon((-0.12, -0.5), (0.12, -0.5), (0.17, 0), (-0.17, 0)), "light", "stem"),
        Piece(ellipse(0, -0.45, wide, 0.55, 180, 360), "main"),
        *[Piece(ellipse(x * wide, y, r, r * 0.8), "light") for x, y, r in spots],
    ]


def bird(rng: Generator, flying: bool = False) -> list[Piece]:
    """In the air with both wings up, or perched with one wing folded."""
    body = turned(ellipse(0, -0.42, 0.42, 0.22), -12, 0, -0.42)
    head = [
        Piece(polygon((0.5, -0.7), (0.76, -0.6), (0.5, -0.54)), "gold"),
        Piece(ellipse(0.4, -0.62, 0.17, 0.17), "main"),
        Piece(ellipse(0.45, -0.66, 0.035, 0.035), "dark"),
    ]
    tail = Piece(polygon((-0.3, -0.42), (-0.8, -0.42), (-0.7, -0.22), (-0.25, -0.26)), "shade", "tail")
    if flying:
        lift = rng.uniform(-1.1, -0.85)
        far = Piece(polygon((0.2, -0.5), (0.34, lift), (0.02, lift + 0.12), (-0.1, -0.5)), "shade", "wing")
        near = Piece(
            polygon((0.16, -0.42), (-0.3, lift), (-0.52, lift + 0.2), (-0.24, -0.4)), "second", "wing"
        )
        return [far, tail, Piece(body, "main"), *head, near]
    wing = turned(ellipse(-0.1, -0.42, 0.27, 0.13), 10, -0.1, -0.42)
    legs = [Piece(stroke([(x, -0.25), (x, 0)], 0.035), "gold") for x in (-0.06, 0.08)]
    return [*legs, tail, Piece(body, "main"), *head, Piece(wing, "second", "wing")]


def butterfly(rng: Generator) -> list[Piece]:
    """Four round wings around a thin body."""
    pieces = []
    spread = rng.uniform(0.9, 1.15)
    for side in (-1, 1):
        for x, y, rx, ry, turn in ((0.3, -0.7, 0.3, 0.2, -38), (0.24, -0.27, 0.22, 0.17, 35)):
            wing = turned(ellipse(side * x * spread, y, rx, ry), side * turn, side * x * spread, y)
            pieces.append(Piece(wing, "main", "wing"))
    feelers = [Piece(stroke([(0, -0.8), (s * 0.12, -1.0)], 0.03), "dark") for s in (-1, 1)]
    return [*pieces, *feelers, Piece(ellipse(0, -0.5, 0.06, 0.34), "dark")]


def fish(rng: Generator) -> list[Piece]:
    """A lens with a tail, a fin and an eye, swimming to the right."""
    fat = rng.uniform(0.34, 0.46)
    return [
        Piece(polygon((-0.5, -0.5), (-0.98, -0.86), (-0.86, -0.5), (-0.98, -0.14)), "second", "tail"),
        Piece(
            polygon((-0.25, -0.5 - fat * 0.8), (0.2, -0.5 - fat * 1.25), (0.25, -0.5 - fat * 0.7)), "second"
        ),
        Piece(ellipse(0, -0.5, 0.66, fat), "main"),
        Piece(ellipse(0.4, -0.6, 0.08, 0.08), "light"),
        Piece(ellipse(0.42, -0.6, 0.04, 0.04), "dark"),
    ]


def starfish(rng: Generator) -> list[Piece]:
    """Five arms."""
    turn = rng.uniform(0, 72)
    return [Piece(star(0, -0.5, 0.2, 0.52, 5, turn), "main"), Piece(ellipse(0, -0.5, 0.09, 0.09), "shade")]


def snowman(rng: Generator) -> list[Piece]:
    """Three balls, a hat, arms of twigs; the hat carries the colour."""
    arms = [Piece(stroke([(s * 0.15, -0.5), (s * 0.46, -0.68)], 0.035), "wood") for s in (-1, 1)]
    eyes = [Piece(ellipse(x, -0.76, 0.025, 0.025), "dark") for x in (-0.06, 0.06)]
    buttons = [Piece(ellipse(0, y, 0.03, 0.03), "dark") for y in (-0.52, -0.42)]
    return [
        *arms,
        Piece(ellipse(0, -0.23, 0.3, 0.24), "snow"),
        Piece(ellipse(0, -0.51, 0.21, 0.18), "snow"),
        Piece(ellipse(0, -0.74, 0.15, 0.14), "snow"),
        *eyes,
        *buttons,
        Piece(polygon((0, -0.74), (0.17, -0.7), (0, -0.69)), "carrot"),
        Piece(polygon((-0.2, -0.85), (0.2, -0.85), (0.2, -0.82), (-0.2, -0.82)), "main"),
        Piece(polygon((-0.13, -1), (0.13, -1), (0.13, -0.84), (-0.13, -0.84)), "main"),
    ]


def moon(rng: Generator) -> list[Piece]:
    """A disc with craters, or a crescent."""
    if rng.random() < 0.5:
        craters = [
            Piece(ellipse(x, y, r, r), "pale") for x, y, r in ((-0.15, -0.65, 0.1), (0.18, -0.45, 0.13))
        ]
        return [Piece(ellipse(0, -0.5, 0.5, 0.5), "moon"), *craters]
    outer, inner = ellipse(0, -0.5, 0.5, 0.5, 70, 290, 20), ellipse(0.2, -0.5, 0.38, 0.46, 280, 80, 20)
    return [Piece(np.concatenate([outer, inner]), "moon")]
