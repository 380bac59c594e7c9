"""Polygons of ConceptWorld's objects: the primitives that every drawer is written with.

An object is drawn in its own coordinates: about one unit high, x to the right with 0 in the middle, y
downwards with the ground at 0 and the top at -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Points = Sequence[tuple[float, float]]


class Piece(NamedTuple):
    """One polygon of an object.

    Attributes:
        outline: float32 [N, 2], (x, y) in the object's coordinates.
        paint: "main" (the object's colour and pattern), or one of `textures.ROLES`.
        part: the part's name, or None for the object's body.
    """

    outline: np.ndarray
    paint: str
    part: str | None = None


def polygon(*points: tuple[float, float]) -> np.ndarray:
    """The polygon with these corners, float32 [N, 2]."""
    return np.array(points, np.float32)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """An upright rectangle."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def ellipse(
    x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360, steps: int = 26
) -> np.ndarray:
    """An ellipse, or the piece of it between two angles (degrees, clockwise from the right)."""
    angles = np.radians(np.linspace(start, end, steps, endpoint=end - start < 360))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1).astype(np.float32)


def star(x: float, y: float, inner: float, outer: float, corners: int, turn: float = -90) -> np.ndarray:
    """A star with `corners` points."""
    angles = np.radians(turn + np.arange(2 * corners) * 180 / corners)
    radius = np.where(np.arange(2 * corners) % 2, inner, outer)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1).astype(np.float32)


def stroke(points: Points | np.ndarray, width: float) -> np.ndarray:
    """A line of this width along the points, as a closed polygon."""
    line = np.asarray(points, np.float32)
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal *= width / 2 / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return np.concatenate([line + normal, (line - normal)[::-1]]).astype(np.float32)


def blob(
    rng: np.random.Generator, x: float, y: float, rx: float, ry: float, bumps: float = 0.12
) -> np.ndarray:
    """An ellipse with a wavy edge, different each time."""
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    radius = np.ones(32)
    for waves in (2, 3, 5, 7):
        radius += bumps / 2 * rng.uniform(0.3, 1) * np.sin(waves * angles + rng.uniform(0, 2 * np.pi))
    return np.stack([x + rx * radius * np.cos(angles), y + ry * radius * np.sin(angles)], axis=1).astype(
        np.float32
    )


def turned(outline: np.ndarray, degrees: float, x: float, y: float) -> np.ndarray:
    """The outline, turned clockwise about (x, y)."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    return ((outline - (x, y)) @ rotation + (x, y)).astype(np.float32)
