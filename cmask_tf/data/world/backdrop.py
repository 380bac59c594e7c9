"""Paints the ground of a scene: sky, mountains, clouds, water, sand, walls, roads."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from cmask_tf.data.world.canvas import SCALE, Canvas
from cmask_tf.data.world.shapes import blob
from cmask_tf.data.world.textures import ground, noise


@dataclass
class Zones:
    """The ground of a scene.

    Attributes:
        bounds: zone -> (top, bottom) in photo pixels: where objects can stand.
        sheets: stuff -> its colours (the canvas's size) and its piece.
    """

    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    sheets: dict[str, tuple[np.ndarray, int]] = field(default_factory=dict)


def _edge(rng: np.random.Generator, width: int, y: float, wave: float, slope: float = 0.0) -> np.ndarray:
    """A wavy line from left to right at height y: float32 [N, 2]."""
    x = np.linspace(-2, width + 2, 40)
    line = (
        y
        + slope * (x / width - 0.5)
        + wave * np.interp(x, np.linspace(-2, width + 2, 9), rng.uniform(-1, 1, 9))
    )
    return np.stack([x, line], axis=1).astype(np.float32)


class Backdrop:
    """Paints one place's grounds on a canvas, back to front, and fills in the zones."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator):
        self.canvas, self.rng, self.zones = canvas, rng, Zones()
        self.height, self.width = canvas.height, canvas.width

    def lay(self, name: str, outline: np.ndarray) -> None:
        """Covers the outline with a ground; the same name twice is the same sheet and piece."""
        if name not in self.zones.sheets:
            sheet = ground(self.rng, name, self.height, self.width)
            size = (SCALE * self.width, SCALE * self.height)
            self.zones.sheets[name] = (cv2.resize(sheet, size), self.canvas.piece(name))
        self.canvas.fill(outline, *self.zones.sheets[name])

    def below(self, name: str, line: np.ndarray) -> None:
        """Covers everything under a line."""
        corners = np.float32([(self.width + 2, self.height + 2), (-2, self.height + 2)])
        self.lay(name, np.concatenate([line, corners]))

    def sky(self, horizon: float) -> None:
        """The sky, clouds, and now and then mountains on the horizon."""
        rng = self.rng
        self.below("sky", _edge(rng, self.width, -3, 0))
        for _ in range(rng.integers(0, 4)):
            x, y = rng.uniform(0, self.width), rng.uniform(0.03, 0.75) * horizon
            size = rng.uniform(0.09, 0.2) * self.width
            for shift, grow in ((-0.7, 0.7), (0.7, 0.75), (0, 1.0)):
                self.lay("cloud", blob(rng, x + shift * size, y, size * grow * 0.8, size * grow * 0.42, 0.1))
        self.zones.bounds["air"] = (0.0, horizon)

    def mountains(self, horizon: float) -> None:
        """One or two ridges."""
        rng = self.rng
        for _ in range(rng.integers(1, 3)):
            count = int(rng.integers(4, 8))
            x = np.sort(rng.uniform(-0.1, 1.1, count)) * self.width
            peaks = horizon - rng.uniform(0.03, 0.3, count) * self.height * (np.arange(count) % 2 + 0.25)
            ridge = np.stack([x, peaks], axis=1)
            ends = np.float32(
                [(x[-1] + 0.3 * self.width, horizon + 4), (x[0] - 0.3 * self.width, horizon + 4)]
            )
            self.lay("mountain", np.concatenate([ridge, ends]).astype(np.float32))

    def beach(self) -> None:
        """Sky, sea, sand with a slanting waterline."""
        horizon = self.height * self.rng.uniform(0.36, 0.5)
        shore = self.height * self.rng.uniform(0.62, 0.74)
        self.sky(horizon)
        if self.rng.random() < 0.35:
            self.mountains(horizon)
        self.below("water", _edge(self.rng, self.width, horizon, 0))
        self.below(
            "sand",
            _edge(
                self.rng, self.width, shore, 0.02 * self.height, self.rng.uniform(-0.12, 0.12) * self.height
            ),
        )
        self.zones.bounds |= {
            "surface": (horizon + 0.08 * self.height, shore),
            "ground": (shore + 0.06 * self.height, self.height),
        }

    def city(self) -> None:
        """Sky, blocks of wall, a verge, a road with dashes."""
        rng, height, width = self.rng, self.height, self.width
        top = height * rng.uniform(0.34, 0.52)
        road = height * rng.uniform(0.64, 0.74)
        self.sky(top)
        x = -rng.uniform(0, 0.2) * width
        while x < width:
            wide, tall = rng.uniform(0.14, 0.32) * width, rng.uniform(0.0, 0.24) * height
            if rng.random() < 0.75:
                block = np.float32(
                    [
                        (x, top - tall + 0.05 * height),
                        (x + wide, top - tall + 0.05 * height),
                        (x + wide, road),
                        (x, road),
                    ]
                )
                self.lay("wall", block)
                self.canvas.darken(block, rng.uniform(0.8, 1.0))
            x += wide * rng.uniform(0.95, 1.15)
        self.below(
            "grass" if rng.random() < 0.6 else "floor",
            _edge(rng, width, road - rng.uniform(0.05, 0.1) * height, 0),
        )
        self.below("road", _edge(rng, width, road, 0))
        middle = (road + height) / 2
        dashes = [np.float32([(k * width / 5, middle), ((k + 0.5) * width / 5, middle)]) for k in range(5)]
        self.canvas.lines(dashes, 0.6)
        self.zones.bounds |= {
            "verge": (road - 0.03 * height, road + 0.02 * height),
            "road": (road + 0.1 * height, height),
        }
        self.zones.bounds |= {"ground": (road, height), "wall": (top, road - 0.15 * height)}

    def meadow(self) -> None:
        """Sky, hills, grass; a path or a river in some."""
        rng, height, width = self.rng, self.height, self.width
        horizon = height * rng.uniform(0.4, 0.56)
        self.sky(horizon)
        if rng.random() < 0.55:
            self.mountains(horizon)
        self.below("grass", _edge(rng, width, horizon, 0.03 * height, rng.uniform(-0.1, 0.1) * height))
        chance = rng.random()
        if chance < 0.3:
            x, foot, wide = rng.uniform(0.2, 0.8, 2).tolist() + [rng.uniform(0.12, 0.2)]
            path = [
                (x - 0.02, horizon),
                (x + 0.02, horizon),
                (foot + wide, height + 2),
                (foot - wide, height + 2),
            ]
            self.lay("road", np.float32([(px * width, py + 4 * (py < height)) for px, py in path]))
        elif chance < 0.6:
            near = height * rng.uniform(0.66, 0.74)
            self.below("water", _edge(rng, width, near - 0.12 * height, 0.02 * height))
            self.below("grass", _edge(rng, width, near, 0.02 * height))
            self.zones.bounds["surface"] = (near - 0.07 * height, near - 0.02 * height)
        self.zones.bounds["ground"] = (horizon + 0.1 * height, height)

    def winter(self) -> None:
        """Sky, mountains, snow."""
        rng, height = self.rng, self.height
        horizon = height * rng.uniform(0.4, 0.58)
        self.sky(horizon)
        if rng.random() < 0.7:
            self.mountains(horizon)
        self.below("snow", _edge(rng, self.width, horizon, 0.03 * height, rng.uniform(-0.12, 0.12) * height))
        if rng.random() < 0.25:
            self.below("road", _edge(rng, self.width, height * 0.86, 0.01 * height))
        self.zones.bounds["ground"] = (horizon + 0.1 * height, height)

    def room(self) -> None:
        """A wall, some with faint bricks, and a floor."""
        rng, height, width = self.rng, self.height, self.width
        line = height * rng.uniform(0.56, 0.72)
        self.below("wall", _edge(rng, width, -3, 0))
        if rng.random() < 0.4:
            step = rng.uniform(0.06, 0.1) * height
            self.canvas.lines([np.float32([(0, y), (width, y)]) for y in np.arange(step, line, step)], 0.22)
        self.below("floor", _edge(rng, width, line, 0, rng.uniform(-0.04, 0.04) * height))
        self.zones.bounds |= {
            "ground": (line + 0.1 * height, height),
            "wall": (0.05 * height, line),
            "air": (0.0, line),
        }

    def sea(self) -> None:
        """The sea cut open: sky above, water, sand below."""
        rng, height, width = self.rng, self.height, self.width
        surface = height * rng.uniform(0.28, 0.42)
        bottom = height * rng.uniform(0.82, 0.9)
        self.sky(surface)
        self.below("water", _edge(rng, width, surface, 0.012 * height))
        depth = np.clip((np.arange(SCALE * height) / SCALE - surface) / height, 0, 1).astype(np.float32)
        self.canvas.image *= (1 - 0.55 * depth)[:, None, None]
        self.below("sand", _edge(rng, width, bottom, 0.025 * height))
        self.zones.bounds |= {"surface": (surface + 0.01 * height, surface + 0.05 * height)}
        self.zones.bounds |= {
            "under": (surface + 0.12 * height, bottom),
            "bottom": (bottom + 0.02 * height, height),
        }


def shade_field(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Light from one side and large soft shadows: float32 [height, width, 1], around 1."""
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    slope = rng.uniform(0.0, 0.2) * (np.cos(turn) * x + np.sin(turn) * y)
    return (1 + slope + rng.uniform(0, 0.14) * noise(rng, height, width, 4))[..., None].astype(np.float32)
