"""Drawers of what people build: houses, vehicles, boats, aircraft. Each returns its pieces, back to front."""

from __future__ import annotations

import numpy as np

from cmask_tf.data.world.shapes import Piece, box, ellipse, polygon, stroke, turned

Generator = np.random.Generator


def _windows(rng: Generator, columns: tuple[float, ...], rows: tuple[float, ...], size: float) -> list[Piece]:
    half = size / 2
    return [
        Piece(box(x - half, y - half, x + half, y + half), "glass", "window")
        for y in rows
        for x in columns
        if rng.random() < 0.9
    ]


def house(rng: Generator) -> list[Piece]:
    """A storey or two, a pointed roof, a door."""
    half = rng.uniform(0.34, 0.55)
    eaves = rng.uniform(-0.64, -0.56)
    over, ridge = half + 0.07, rng.uniform(0.0, half * 0.6)
    side = rng.choice((-1, 1))
    door = side * half * 0.5
    pieces = []
    if rng.random() < 0.6:
        pieces.append(
            Piece(box(-side * half * 0.6 - 0.06, -1.0, -side * half * 0.6 + 0.06, -0.6), "brick", "chimney")
        )
    pieces.append(Piece(box(-half, eaves, half, 0), "main"))
    pieces.append(Piece(polygon((-over, eaves), (-ridge, -1), (ridge, -1), (over, eaves)), "second", "roof"))
    pieces.append(Piece(box(door - 0.09, -0.32, door + 0.09, 0), "wood", "door"))
    pieces += _windows(rng, (-door,), (-0.25,), 0.18)
    return pieces + _windows(rng, (-half * 0.5, half * 0.5), (eaves + 0.14,), 0.15)


def cottage(rng: Generator) -> list[Piece]:
    """Low and wide, under a thick round roof."""
    half = rng.uniform(0.62, 0.8)
    pieces = [Piece(box(half * 0.4, -1.0, half * 0.4 + 0.16, -0.5), "brick", "chimney")]
    pieces.append(Piece(box(-half, -0.5, half, 0), "main"))
    pieces.append(Piece(ellipse(0, -0.42, half + 0.12, 0.5, 180, 360), "second", "roof"))
    pieces.append(Piece(ellipse(0, -0.26, 0.12, 0.1, 180, 360), "wood", "door"))
    pieces.append(Piece(box(-0.12, -0.27, 0.12, 0), "wood", "door"))
    return pieces + [Piece(ellipse(x, -0.23, 0.1, 0.1), "glass", "window") for x in (-half * 0.6, half * 0.6)]


def tent(rng: Generator) -> list[Piece]:
    """A ridge tent with an open front."""
    half = rng.uniform(0.55, 0.75)
    deep = rng.uniform(0.3, 0.6)
    return [
        Piece(polygon((0, -1), (deep, -0.93), (half + deep, -0.06), (half, 0)), "shade"),
        Piece(polygon((0, -1), (half, 0), (-half, 0)), "main"),
        Piece(polygon((0, -0.72), (half * 0.36, 0), (-half * 0.36, 0)), "dark", "door"),
    ]


def lighthouse(rng: Generator) -> list[Piece]:
    """A slim tower with a lantern room."""
    foot, top = rng.uniform(0.2, 0.25), rng.uniform(0.11, 0.14)
    return [
        Piece(polygon((-top, -0.76), (top, -0.76), (foot, 0), (-foot, 0)), "main"),
        Piece(box(-0.11, -0.88, 0.11, -0.76), "glow", "window"),
        Piece(box(-0.19, -0.79, 0.19, -0.74), "dark"),
        Piece(ellipse(0, -0.87, 0.15, 0.13, 180, 360), "second", "roof"),
        Piece(box(-0.07, -0.16, 0.07, 0), "wood", "door"),
        *_windows(rng, (0.0,), (-0.34, -0.56), 0.09),
    ]


def windmill(rng: Generator) -> list[Piece]:
    """A tower with four blades; the blades are its wings."""
    turn = rng.uniform(0, 90)
    wing = polygon((0.04, 0.02), (0.5, 0.02), (0.5, 0.14), (0.08, 0.14)) + np.float32((0, -0.62))
    tower = [
        Piece(polygon((-0.15, -0.7), (0.15, -0.7), (0.27, 0), (-0.27, 0)), "main"),
        Piece(ellipse(0, -0.69, 0.19, 0.2, 180, 360), "second", "roof"),
        Piece(box(-0.08, -0.2, 0.08, 0), "wood", "door"),
        *_windows(rng, (0.0,), (-0.4,), 0.12),
    ]
    return tower + [Piece(turned(wing, turn + 90 * k, 0, -0.62), "light", "wing") for k in range(4)]


def _wheels(columns: tuple[float, ...], radius: float) -> list[Piece]:
    pieces = []
    for x in columns:
        pieces.append(Piece(ellipse(x, -radius, radius, radius), "tyre", "wheel"))
        pieces.append(Piece(ellipse(x, -radius, radius * 0.45, radius * 0.45), "light", "wheel"))
    return pieces


def car(rng: Generator) -> list[Piece]:
    """A saloon: low bonnet, cabin in the middle."""
    back = rng.uniform(-0.75, -0.55)
    body = polygon(
        (-1.05, -0.5),
        (back - 0.05, -0.6),
        (back + 0.25, -1),
        (0.3, -1),
        (0.6, -0.6),
        (1.05, -0.5),
        (1.1, -0.18),
        (-1.1, -0.18),
    )
    return [
        Piece(body, "main"),
        Piece(
            polygon((back + 0.1, -0.6), (back + 0.3, -0.92), (-0.1, -0.92), (-0.1, -0.6)), "glass", "window"
        ),
        Piece(polygon((-0.03, -0.6), (-0.03, -0.92), (0.26, -0.92), (0.47, -0.6)), "glass", "window"),
        *_wheels((-0.62, 0.64), 0.22),
    ]


def van(rng: Generator) -> list[Piece]:
    """A box on wheels with a short nose."""
    length = rng.uniform(0.75, 0.9)
    body = polygon(
        (-length, -1), (length - 0.25, -1), (length - 0.05, -0.55), (length, -0.15), (-length, -0.15)
    )
    panes = [Piece(box(x, -0.86, x + 0.28, -0.6), "glass", "window") for x in (-length + 0.12, -length + 0.5)]
    nose = Piece(
        polygon((0.12, -0.86), (length - 0.3, -0.86), (length - 0.16, -0.55), (0.12, -0.55)),
        "glass",
        "window",
    )
    return [Piece(body, "main"), *panes, nose, *_wheels((-length + 0.3, length - 0.3), 0.17)]


def truck(rng: Generator) -> list[Piece]:
    """A cab, a gap and a load."""
    load = rng.uniform(0.95, 1.15)
    cab = polygon((0.42, -0.78), (0.75, -0.78), (0.88, -0.5), (0.9, -0.16), (0.42, -0.16))
    return [
        Piece(box(-load, -0.26, 0.5, -0.14), "dark"),
        Piece(box(-load, -1, 0.34, -0.24), "main"),
        Piece(cab, "second"),
        Piece(polygon((0.55, -0.7), (0.72, -0.7), (0.81, -0.48), (0.55, -0.48)), "glass", "window"),
        *_wheels((-load + 0.2, -load + 0.56, 0.66), 0.16),
    ]


def boat(rng: Generator) -> list[Piece]:
    """A hull, a mast, one sail or two."""
    half = rng.uniform(0.5, 0.62)
    hull = polygon((-half, -0.24), (half + 0.06, -0.24), (half - 0.14, 0), (-half + 0.14, 0))
    pieces = [
        Piece(box(-0.03, -1, 0.03, -0.22), "wood"),
        Piece(polygon((0.05, -0.98), (half, -0.32), (0.05, -0.32)), "main", "sail"),
    ]
    if rng.random() < 0.6:
        pieces.append(Piece(polygon((-0.05, -0.86), (-0.05, -0.32), (-half * 0.8, -0.32)), "light", "sail"))
    return [*pieces, Piece(hull, "shade" if rng.random() < 0.5 else "second", "hull")]


def canoe(rng: Generator) -> list[Piece]:
    """A long low crescent with a paddle; no sail."""
    half = rng.uniform(1.2, 1.45)
    upper = ellipse(0, -0.62, half, 0.2, 180, 0, 20)
    upper[:, 1] = -0.62 + 0.3 * (1 - (upper[:, 0] / half) ** 2)
    lower = ellipse(0, -0.62, half, 0.62, 0, 180, 20)
    paddle = stroke([(0.1, -1.0), (0.5, -0.2)], 0.07)
    blade = turned(ellipse(0.1, -0.98, 0.08, 0.17), -26, 0.1, -0.98)
    return [
        Piece(paddle, "wood"),
        Piece(blade, "wood"),
        Piece(np.concatenate([upper, lower]), "main", "hull"),
    ]


def plane(rng: Generator) -> list[Piece]:
    """An airliner from the side, nose to the right."""
    body = np.concatenate(
        [ellipse(0.95, -0.5, 0.35, 0.2, -90, 90, 12), polygon((-1.0, -0.42), (-1.2, -0.62), (-0.9, -0.7))]
    )
    far = polygon((0.3, -0.64), (-0.1, -0.64), (-0.45, -0.96), (-0.28, -0.96))
    near = polygon((0.35, -0.46), (-0.1, -0.46), (-0.6, -0.02), (-0.38, -0.02))
    panes = [
        Piece(box(x - 0.06, -0.62, x + 0.06, -0.5), "glass", "window") for x in np.linspace(-0.45, 0.75, 6)
    ]
    return [
        Piece(far, "shade", "wing"),
        Piece(polygon((-1.2, -0.62), (-1.32, -1), (-1.12, -1), (-0.8, -0.6)), "second", "tail"),
        Piece(body, "main"),
        *panes,
        Piece(polygon((0.95, -0.64), (1.12, -0.64), (1.22, -0.54), (0.95, -0.54)), "glass", "window"),
        Piece(near, "second", "wing"),
    ]


def rocket(rng: Generator) -> list[Piece]:
    """Upright, fins, a porthole or two."""
    half = rng.uniform(0.15, 0.19)
    body = np.concatenate(
        [ellipse(0, -0.62, half, 0.38, 180, 360, 14), polygon((half, -0.16), (-half, -0.16))]
    )
    fins = [polygon((s * half, -0.4), (s * (half + 0.17), -0.05), (s * half * 0.8, -0.12)) for s in (-1, 1)]
    return [
        *[Piece(fin, "second") for fin in fins],
        Piece(
            polygon((-half * 0.7, -0.16), (half * 0.7, -0.16), (half * 0.9, -0.06), (-half * 0.9, -0.06)),
            "dark",
        ),
        Piece(body, "main"),
        *[Piece(ellipse(0, y, 0.08, 0.08), "glass", "window") for y in (-0.66, -0.42)],
    ]


def sign(rng: Generator) -> list[Piece]:
    """A post with a round, square, three- or eight-cornered board."""
    corners = int(rng.choice((3, 4, 8, 30)))
    board = ellipse(0, -0.72, 0.28, 0.28, 90 + 180 / corners, 450 + 180 / corners, corners)
    bar = box(-0.16, -0.76, 0.16, -0.69)
    return [Piece(box(-0.035, -0.6, 0.035, 0), "metal"), Piece(board, "main"), Piece(bar, "light")]
