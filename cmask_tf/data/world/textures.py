"""Colours, patterns and grounds of ConceptWorld.

Patterns and colours are shared by all objects, and the grounds share hues with each other (sand, wall and
floor; snow and cloud; sky and water), so that neither names a concept by itself.
"""

from __future__ import annotations

import cv2
import numpy as np

# Hue in degrees, saturation and value ranges of the colours that are words.
PALETTE: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-6, 6), (0.75, 0.95), (0.65, 0.95)),
    "orange": ((22, 32), (0.8, 1.0), (0.85, 1.0)),
    "yellow": ((50, 58), (0.65, 0.95), (0.85, 1.0)),
    "green": ((95, 145), (0.5, 0.85), (0.4, 0.75)),
    "blue": ((208, 232), (0.6, 0.9), (0.55, 0.95)),
    "purple": ((265, 285), (0.45, 0.75), (0.45, 0.8)),
    "pink": ((320, 338), (0.35, 0.6), (0.85, 1.0)),
}
NEUTRALS = (
    ((0, 360), (0, 0.06), (0.85, 1.0)),
    ((0, 360), (0, 0.08), (0.35, 0.6)),
    ((18, 34), (0.35, 0.6), (0.35, 0.6)),
)
ROLES: dict[str, tuple[int, int, int]] = {
    "dark": (48, 44, 50),
    "tyre": (38, 38, 42),
    "light": (238, 234, 226),
    "glass": (150, 190, 214),
    "wood": (118, 82, 52),
    "wicker": (168, 126, 74),
    "brick": (140, 84, 66),
    "metal": (128, 132, 138),
    "leaf": (74, 120, 52),
    "gold": (236, 182, 44),
    "carrot": (226, 122, 40),
    "glow": (255, 232, 140),
    "snow": (240, 244, 250),
    "moon": (246, 240, 206),
    "pale": (216, 208, 176),
}
_SECOND = ((112, 76, 56), (92, 96, 106), (222, 212, 190), (64, 70, 88), (158, 118, 84), (186, 180, 176))
# Two colours between which each ground varies, and how rough it is.
_GROUNDS: dict[str, tuple[tuple[tuple[int, int, int], tuple[int, int, int]], float]] = {
    "sky": (((120, 176, 228), (206, 222, 236)), 5),
    "water": (((58, 128, 178), (110, 178, 196)), 12),
    "grass": (((84, 138, 58), (148, 160, 76)), 20),
    "sand": (((222, 198, 146), (200, 172, 132)), 14),
    "snow": (((240, 244, 250), (206, 218, 234)), 9),
    "road": (((98, 98, 104), (140, 134, 128)), 14),
    "mountain": (((110, 118, 138), (138, 116, 98)), 16),
    "wall": (((216, 200, 168), (158, 176, 190)), 8),
    "floor": (((176, 132, 92), (196, 178, 150)), 12),
    "cloud": (((246, 248, 252), (206, 212, 222)), 8),
}


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    sextant = (hue % 360) / 60
    k = (np.array([5, 3, 1]) + sextant) % 6
    return (255 * value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))).astype(np.float32)


def colour(rng: np.random.Generator, name: str | None) -> np.ndarray:
    """A shade of the named colour, or of white, gray, brown (no words). float32 RGB [3], 0 to 255."""
    ranges = PALETTE[name] if name else NEUTRALS[rng.integers(len(NEUTRALS))]
    return _hsv(*(rng.uniform(*span) for span in ranges))


def second(rng: np.random.Generator) -> np.ndarray:
    """The colour of roofs, legs and fins: never a word's. float32 RGB [3]."""
    return np.float32(_SECOND[rng.integers(len(_SECOND))]) + rng.uniform(-10, 10, 3).astype(np.float32)


def pattern(rng: np.random.Generator, name: str | None, u: np.ndarray, v: np.ndarray) -> np.ndarray | None:
    """Where the second colour of a pattern is.

    Args:
        rng: chooses scale, phase and direction.
        name: striped, dotted, checked or None (plain).
        u: float32 [h, w], the object's x at each pixel (about -1 to 1).
        v: float32 [h, w], the object's y.

    Returns:
        bool [h, w], or None for plain.
    """
    if name is None:
        return None
    period = rng.uniform(0.2, 0.3)
    turn = rng.choice((0.0, 0.5, 0.25)) * np.pi
    a = (np.cos(turn) * u + np.sin(turn) * v) / period + rng.uniform(0, 1)
    if name == "striped":
        return a % 1 < 0.5
    b = (np.cos(turn) * v - np.sin(turn) * u) / period + rng.uniform(0, 1)
    if name == "checked":
        return (np.floor(2 * a) + np.floor(2 * b)) % 2 == 0
    return (a % 1 - 0.5) ** 2 + (b % 1 - 0.5) ** 2 < 0.09


def other_colour(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    """The second colour of a pattern: near white, or a dark shade of the first, whichever contrasts."""
    dark = base @ np.float32([0.3, 0.59, 0.11]) < 150
    if dark or rng.random() < 0.4:
        return np.float32([244, 240, 232]) if base.min() < 190 else base * 0.45
    return base * 0.45


def noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Smooth noise, float32 [height, width], about -1 to 1, with `cells` bumps along the longer side."""
    scale = cells / max(height, width)
    grid = rng.uniform(-1, 1, (max(2, round(height * scale)), max(2, round(width * scale)))).astype(
        np.float32
    )
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def ground(rng: np.random.Generator, name: str, height: int, width: int) -> np.ndarray:
    """A sheet of sky, grass, sand and so on: float32 RGB [height, width, 3], 0 to 255."""
    (first, last), rough = _GROUNDS[name]
    mix = rng.uniform(0, 1)
    base = np.float32(first) * (1 - mix) + np.float32(last) * mix + rng.uniform(-12, 12, 3).astype(np.float32)
    sheet = rough * noise(rng, height, width, 7)
    if name not in ("sky", "cloud"):
        sheet += 0.7 * rough * noise(rng, height, width, 90)
    if name == "water":
        rows = np.arange(height, dtype=np.float32)[:, None]
        sheet += 9 * np.sin(rows * rng.uniform(0.35, 0.6) + 2.5 * noise(rng, height, width, 10))
    if name == "grass":
        blades = noise(rng, height, width, 150)
        sheet += rough * cv2.blur(blades, (1, 7))
    fade = rng.uniform(-18, 18) * np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return base + (sheet + fade)[..., None]
