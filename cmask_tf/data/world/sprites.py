"""Paints objects and clutter: colour, pattern, shading, shadows, and the marks of what moves."""

from __future__ import annotations

import numpy as np

from cmask_tf.data.world import textures
from cmask_tf.data.world.backdrop import Zones
from cmask_tf.data.world.canvas import SCALE, Canvas, Region
from cmask_tf.data.world.concepts import COLOURS, PATTERNS
from cmask_tf.data.world.placing import Placed
from cmask_tf.data.world.shapes import blob, ellipse, star, stroke

_SHINING = {
    "glass": (560, 470, 250),
    "moon": (560, 520, 360),
    "pale": (480, 440, 300),
    "glow": (600, 520, 260),
}


def paint_object(
    canvas: Canvas, rng: np.random.Generator, item: Placed, zones: Zones, night: bool
) -> tuple[range, float]:
    """Paints an object with its shadow and its marks of motion.

    Args:
        canvas: painted on, piece by piece.
        rng: colours and textures.
        item: what to paint, and where.
        zones: the grounds, for the water that covers a floating object's foot.
        night: lights windows.

    Returns:
        The labels of the object's pieces, and the area it covers in photo pixels.
    """
    if item.zone in ("ground", "road", "verge", "bottom"):
        shadow = ellipse(
            item.x + 0.1 * item.size, item.y, 0.5 * (item.bounds[2] - item.bounds[0]), 0.07 * item.size
        )
        canvas.darken(shadow, 0.62)
    if item.action in ("falling", "flying"):
        canvas.lines(_streaks(rng, item), 0.7)
    outlines = [item.outline(piece) for piece in item.pieces]
    region = canvas.region(outlines)
    words = [item.name, *filter(None, (item.colour, item.pattern, item.action))]
    paints = _paints(rng, item, region, night)
    edge = rng.choice((1.0, 0.72))
    labels: dict[str | None, int] = {}
    start = len(canvas.pieces)
    for piece, outline in zip(item.pieces, outlines, strict=True):
        if piece.part not in labels:
            labels[piece.part] = canvas.piece(*words, *filter(None, [piece.part]))
        part = canvas.region([outline])
        if part is not None:
            canvas.stamp(
                canvas.inside(outline, part),
                part,
                paints(piece.paint, part),
                labels[piece.part],
                outline,
                edge,
            )
    end = len(canvas.pieces)
    drawn = float(((canvas.labels[region] >= start) & (canvas.labels[region] < end)).sum()) / SCALE**2
    if item.action == "floating":
        _waterline(canvas, rng, item, zones)
    return range(start, end), drawn


def _paints(rng: np.random.Generator, item: Placed, region: Region, night: bool):
    """A function from a paint's name and a part of the region to the colours there, float32 [h, w, 3]."""
    rows, columns = (np.arange(part.start, part.stop, dtype=np.float32) / SCALE for part in region)
    u, v = item.local(*np.meshgrid(columns, rows))
    turn = rng.uniform(0, 2 * np.pi)
    shape = u.shape
    light = 1 + rng.uniform(0.05, 0.25) * (np.cos(turn) * u + np.sin(turn) * (v + 0.5))
    light += rng.choice((0.0, 0.05, 0.11)) * textures.noise(rng, *shape, 24)
    base = textures.colour(rng, item.colour)
    marks = textures.pattern(rng, item.pattern, u, v)
    main = base if marks is None else np.where(marks[..., None], textures.other_colour(rng, base), base)
    second = textures.second(rng)
    flat = {
        "main": main,
        "second": second,
        "shade": base * np.float32(0.72),
        "flame": np.float32([255, 150, 40]),
    }

    def paint(role: str, part: Region) -> np.ndarray:
        here = tuple(slice(p.start - r.start, p.stop - r.start) for p, r in zip(part, region, strict=True))
        shining = _SHINING if night else {}
        colours = flat[role] if role in flat else np.float32(shining.get(role) or textures.ROLES[role])
        return (colours[here] if colours.ndim == 3 else colours) * light[here][..., None]

    return paint


def _streaks(rng: np.random.Generator, item: Placed) -> list[np.ndarray]:
    """Lines above what falls, and beside the path of what flies."""
    left, top, right, bottom = item.bounds
    if item.action == "falling":
        xs = np.linspace(left + 0.2 * (right - left), right - 0.2 * (right - left), 4)
        lengths = rng.uniform(0.35, 0.8, 4) * item.size
        return [
            np.float32([(x, top - length), (x, top + 0.1 * item.size)])
            for x, length in zip(xs, lengths, strict=True)
        ]
    behind = left if item.mirror > 0 else right
    ys = np.linspace(top + 0.3 * (bottom - top), bottom - 0.2 * (bottom - top), 3)
    reach = rng.uniform(0.15, 0.4, 3) * item.size * item.mirror
    return [
        np.float32([(behind - length, y), (behind + 0.1 * item.mirror * item.size, y)])
        for y, length in zip(ys, reach, strict=True)
    ]


def _waterline(canvas: Canvas, rng: np.random.Generator, item: Placed, zones: Zones) -> None:
    """Water in front of a floating object's foot, with a ripple on it."""
    left, _, right, bottom = item.bounds
    x = np.linspace(left - 3, right + 3, 24)
    line = (
        bottom - 0.08 * item.size + 0.02 * item.size * np.sin(x * rng.uniform(0.4, 0.8) + rng.uniform(0, 6))
    )
    wave = np.stack([x, line], axis=1).astype(np.float32)
    strip = np.concatenate([wave, np.float32([(right + 3, bottom + 1), (left - 3, bottom + 1)])])
    canvas.fill(strip, *zones.sheets["water"])
    canvas.lines([wave, wave[4:-4] + np.float32([0, 0.09 * item.size])], 0.6)


def paint_clutter(canvas: Canvas, rng: np.random.Generator) -> None:
    """A stone, a splinter or a bar that no word names, in the colours and patterns of the objects.

    What is red, striped and no object of the table is red and striped all the same.
    """
    x, y = rng.uniform(0, canvas.width), rng.uniform(0, canvas.height)
    size = rng.uniform(0.05, 0.14) * min(canvas.height, canvas.width)
    kind = rng.integers(3)
    if kind == 0:
        outline = blob(rng, x, y, size, size * rng.uniform(0.4, 1), 0.35)
    elif kind == 1:
        outline = star(x, y, size * 0.5, size, int(rng.integers(2, 4)), rng.uniform(0, 360))
    else:
        turn = rng.uniform(0, np.pi)
        reach = 1.6 * size * np.array([np.cos(turn), np.sin(turn)])
        outline = stroke([(x, y) - reach, (x, y) + reach], size * 0.5)
    region = canvas.region([outline])
    if region is None:
        return
    colour = str(rng.choice(COLOURS)) if rng.random() < 0.6 else None
    pattern = str(rng.choice(PATTERNS)) if rng.random() < 0.3 else None
    rows, columns = (np.arange(part.start, part.stop, dtype=np.float32) / SCALE for part in region)
    u, v = np.meshgrid((columns - x) / (3 * size), (rows - y) / (3 * size))
    base = textures.colour(rng, colour)
    marks = textures.pattern(rng, pattern, u, v)
    paint = base if marks is None else np.where(marks[..., None], textures.other_colour(rng, base), base)
    canvas.stamp(
        canvas.inside(outline, region), region, paint, canvas.piece(*filter(None, (colour, pattern)))
    )
