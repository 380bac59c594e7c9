"""Chooses the objects of a scene and where they stand."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cmask_tf.data.world.backdrop import Zones
from cmask_tf.data.world.concepts import COLOURS, NEVER_OVERLAP, PATTERNS
from cmask_tf.data.world.settings import DRAWERS, FALLING, FLIERS, GROUPS, PLACES, SIZES
from cmask_tf.data.world.shapes import Piece, polygon

_TRIES = 10
_CROWDED = 0.35  # the share of the smaller of two objects' boxes that may lie under the other


@dataclass(frozen=True)
class Placed:
    """An object with its place.

    Attributes:
        name, pieces: what it is and how it is drawn, in its own coordinates.
        x, y: where its origin (the middle of its foot) lies, in photo pixels.
        size: photo pixels per unit of its own coordinates.
        angle: degrees, clockwise, about its middle.
        mirror: 1 or -1.
        zone: where it was put.
        action: falling, flying, floating or None.
        colour, pattern: words, or None for a colour or a surface that is no word.
        group: objects of one crowd share a number; 0 stands alone.
        depth: painting order, small first.
    """

    name: str
    pieces: tuple[Piece, ...]
    x: float
    y: float
    size: float
    angle: float
    mirror: int
    zone: str
    action: str | None
    colour: str | None
    pattern: str | None
    group: int
    depth: float

    def outline(self, piece: Piece) -> np.ndarray:
        """A piece's outline in photo pixels, float32 [N, 2]."""
        return self._to_photo(piece.outline)

    def local(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The object's coordinates of photo pixels: the inverse of `outline` without the mirror."""
        turn, (mx, my) = self._turn(), self._middle()
        x, y = (x - mx) / self.size, (y - my) / self.size
        return x * turn[0, 0] + y * turn[0, 1], x * turn[1, 0] + y * turn[1, 1] - 0.5

    @functools.cached_property
    def bounds(self) -> np.ndarray:
        """(left, top, right, bottom) in photo pixels."""
        points = self._to_photo(np.concatenate([piece.outline for piece in self.pieces]))
        return np.concatenate([points.min(0), points.max(0)])

    def _to_photo(self, points: np.ndarray) -> np.ndarray:
        return (points * (self.mirror, 1) + (0, 0.5)) @ self._turn() * self.size + self._middle()

    def _turn(self) -> np.ndarray:
        angle = np.radians(self.angle)
        return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)

    def _middle(self) -> np.ndarray:
        return np.float32([self.x, self.y - 0.5 * self.size])


def pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One of the keys, by weight."""
    share = np.array(list(weights.values()), float)
    return list(weights)[rng.choice(len(share), p=share / share.sum())]


def place_objects(
    rng: np.random.Generator, place: str, zones: Zones, height: int, width: int, night: bool
) -> list[Placed]:
    """The objects of a scene, in painting order: mostly 3 to 6, a crowd in some."""
    slots = [slot for slot in PLACES[place] if slot[1] in zones.bounds or slot[1] == "table"]
    weights = np.array([slot[0] for slot in slots])
    count = min(int(rng.integers(3, 7)), len(slots))
    order = rng.choice(len(slots), count, replace=False, p=weights / weights.sum())
    wanted = [
        (slots[k][1], pick(rng, slots[k][2]), 0) for k in sorted(order, key=lambda k: slots[k][1] == "table")
    ]
    if night and rng.random() < 0.75:
        wanted.append(("air", "moon" if rng.random() < 0.75 else "rocket", 0))
    if rng.random() < 0.22:
        wanted.append(("fall", pick(rng, FALLING[place]), 0))
    if place in GROUPS and rng.random() < 0.12:
        zone, name = GROUPS[place]
        wanted += [(zone, name, 1)] * int(rng.integers(4, 7))
    zoom = rng.uniform(1.0, 2.2)
    placed: list[Placed] = []
    for zone, name, group in wanted:
        item = _find_room(rng, zone, name, group, zones, (height, width), zoom, placed)
        if item is not None:
            placed.append(item)
    return sorted(placed, key=lambda item: item.depth)


def _find_room(rng, zone, name, group, zones, shape, zoom, placed) -> Placed | None:
    for _ in range(_TRIES):
        item = _propose(rng, zone, name, group, zones, shape, zoom, placed)
        if item is not None and _fits(item, placed, shape):
            return item
    return None


def _propose(rng, zone, name, group, zones, shape, zoom, placed) -> Placed | None:
    """One random placement; None when there is nothing to stand on."""
    size = rng.uniform(*SIZES[name]) * min(shape) * zoom * (0.45 if group else 1.0)
    spot = _spot(rng, zone, size, zones, shape, placed)
    if spot is None:
        return None
    action = _action(zone, name)
    pieces = DRAWERS[name](rng, action == "flying") if name == "bird" else DRAWERS[name](rng)
    if name == "rocket" and action == "flying":
        spot = spot._replace(angle=rng.uniform(15, 50) * rng.choice((-1, 1)))
        pieces = [Piece(polygon((-0.1, -0.1), (0.1, -0.1), (0, 0.22)), "flame"), *pieces]
    colour, pattern = _surface(rng, name)
    return Placed(
        name=name,
        pieces=tuple(pieces),
        mirror=int(rng.choice((-1, 1))),
        zone=zone,
        action=action,
        colour=colour,
        pattern=pattern,
        group=group,
        **spot._asdict(),
    )


class _Spot(NamedTuple):
    x: float
    y: float
    size: float
    angle: float
    depth: float


def _spot(rng, zone, size, zones, shape, placed) -> _Spot | None:
    """Where an object of this size may stand in a zone; None on a table that is not there."""
    height, width = shape
    x, angle = rng.uniform(0.08, 0.92) * width, rng.uniform(-5, 5)
    if zone == "fall":
        y = rng.uniform(0.25, 0.6) * height + size / 2
        return _Spot(x, y, size, rng.uniform(25, 75) * rng.choice((-1, 1)), 3 * height)
    if zone == "table":
        tables = [item for item in placed if item.name == "table"]
        if not tables:
            return None
        table = tables[rng.integers(len(tables))]
        x, y = table.x + rng.uniform(-0.55, 0.55) * table.size, table.y - 0.97 * table.size
        return _Spot(x, y, min(size, 0.75 * table.size), 0.0, table.depth + 0.5)
    top, bottom = zones.bounds[zone]
    if zone in ("air", "wall", "under"):
        y = size / 2 + rng.uniform(top + 0.12 * height, max(top + 0.13 * height, bottom - 0.05 * height))
        angle = rng.uniform(-22, 22) if zone == "air" else rng.uniform(-8, 8)
        return _Spot(x, y, size, angle, y if zone == "under" else y - height)
    y = rng.uniform(top, bottom - 0.02 * height) if bottom > top + 3 else bottom
    nearness = (y - top) / max(bottom - top, 1)
    return _Spot(x, y, size * (0.72 + 0.4 * nearness) if zone == "ground" else size, angle, y)


def _action(zone: str, name: str) -> str | None:
    if zone == "air":
        return "flying" if name in FLIERS else None
    return {"fall": "falling", "surface": "floating"}.get(zone)


def _surface(rng: np.random.Generator, name: str) -> tuple[str | None, str | None]:
    if name == "moon":
        return None, None
    leaves = name in ("tree", "fir")
    if leaves and rng.random() < 0.6:
        return "green", None
    colour = str(rng.choice(COLOURS)) if rng.random() < 0.8 else None
    pattern = str(rng.choice(PATTERNS)) if not leaves and name != "snowman" and rng.random() < 0.45 else None
    return colour, pattern


def _fits(item: Placed, placed: list[Placed], shape: tuple[int, int]) -> bool:
    left, top, right, bottom = bounds = item.bounds
    area = (right - left) * (bottom - top)
    seen = max(0, min(right, shape[1]) - max(left, 0)) * max(0, min(bottom, shape[0]) - max(top, 0))
    if seen < 0.8 * area:
        return False
    for other in placed:
        theirs = other.bounds
        overlap = np.minimum(bounds[2:], theirs[2:]) - np.maximum(bounds[:2], theirs[:2])
        if frozenset((item.name, other.name)) in NEVER_OVERLAP and (overlap > -3).all():
            return False
        shared = max(overlap[0], 0) * max(overlap[1], 0)
        on_table = item.zone == "table" and other.name == "table"
        if not on_table and shared > _CROWDED * min(area, (theirs[2] - theirs[0]) * (theirs[3] - theirs[1])):
            return False
    return True
