"""One picture of everything that was found in a photo, and a legend beside it; without TensorFlow.

Every concept has a colour and a number, because fifty colours are more than anybody tells apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cmask_tf.imageio import fit_image, fit_mask, save_png, strong_colours

PIXELS = 900  # the longer side of the photo
_DPI = 100
_GAP = 16
_ROW = 28
_COLUMN = 330
_FEWEST_ROWS = 12  # of a legend beside a flat photo
_NAME = 22  # characters
_INSIDE = 128  # of 255: the smallest value inside a mask
_BADGE = 16  # pixels around a number that other numbers keep away from


def write_overview(
    path: str | Path, image: np.ndarray, found: Sequence[tuple[str, np.ndarray, float]]
) -> None:
    """Writes the photo with every concept's mask in it, and a legend of names and scores.

    Args:
        path: the PNG to write, whole or not at all.
        image: uint8 RGB [H, W, 3].
        found: (name, mask, score) of each concept; masks bool [H, W], or already `shrunk`.
    """
    photo = fit_image(image, PIXELS)
    height, width = photo.shape[:2]
    found = sorted(((name, shrunk(mask), score) for name, mask, score in found), key=lambda one: -one[2])
    rows = max(_FEWEST_ROWS, height // _ROW)
    columns = max(1, math.ceil(len(found) / rows))
    full_x, full_y = width + columns * _COLUMN + 2 * _GAP, max(height, rows * _ROW) + 2 * _GAP
    canvas, axes = _canvas(full_x, full_y)
    palette = colours(len(found))
    _draw_photo(axes, photo, [mask for _, mask, _ in found], palette)
    if not found:
        axes.text(2 * _GAP + width, _GAP + _ROW / 2, "nothing that I know", fontsize=13, va="center")
    for index, (name, mask, score) in enumerate(found):
        column, row = divmod(index, rows)
        x, y = 2 * _GAP + width + column * _COLUMN, _GAP + (row + 0.5) * _ROW
        short = name if len(name) <= _NAME else name[: _NAME - 3] + "..."
        _number(axes, x + 12, y, index, palette[index])
        ink = "black" if mask.max() >= _INSIDE else "darkgray"  # present by its score, but without a pixel
        axes.text(x + 32, y, f"{short}  {score:.2f}", fontsize=11, va="center", color=ink, parse_math=False)
    canvas.draw()
    save_png(Path(path), Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))


def overlay(image: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """The same picture without a legend: mask I has colour I of `colours` and the number I + 1.

    Args:
        image: uint8 RGB [H, W, 3].
        masks: bool [H, W], or already `shrunk`; an empty one only keeps its number from the others.

    Returns:
        uint8 RGB [h, w, 3], the longer side PIXELS.
    """
    photo = fit_image(image, PIXELS)
    height, width = photo.shape[:2]
    canvas, axes = _canvas(width + 2 * _GAP, height + 2 * _GAP)
    _draw_photo(axes, photo, [shrunk(mask) for mask in masks], colours(len(masks)))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[_GAP : _GAP + height, _GAP : _GAP + width, :3].copy()


def heat_map(attention: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map float [H, W] stretched to its own range, in colours: uint8 RGB [*shape, 3]."""
    import cv2

    span = np.ptp(attention)
    values = (attention - attention.min()) / span if span else np.zeros_like(attention)
    small = cv2.resize(values.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    steps = (np.round(small * 24) * (255 / 24)).astype(np.uint8)  # few colours: a tenth of the bytes
    return np.ascontiguousarray(cv2.applyColorMap(steps, cv2.COLORMAP_TURBO)[..., ::-1])


def shrunk(mask: np.ndarray) -> np.ndarray:
    """A mask bool [H, W], or one that is so already, in the size of the picture: uint8 [h, w]."""
    return mask if mask.dtype == np.uint8 else fit_mask(mask, PIXELS)


def colours(count: int) -> list[np.ndarray]:
    """As many colours, float RGB [3] in 0..1, as there are concepts, the most different ones first."""
    from matplotlib import colormaps

    shades = [
        np.array(colormaps[name].colors)[start::4]  # type: ignore[attr-defined]
        for start in (0, 2, 1)
        for name in ("tab20b", "tab20c")
    ]
    palette = np.concatenate([strong_colours(), *shades])
    return [palette[index % len(palette)] for index in range(count)]


def _canvas(width: int, height: int) -> tuple:
    """A white canvas of so many pixels and its axes: pixels from the upper left corner."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return canvas, axes


def _draw_photo(axes, photo: np.ndarray, masks: Sequence[np.ndarray], palette: Sequence[np.ndarray]) -> None:
    """The photo, pale, with large masks under small ones, their contours and their numbers."""
    height, width = photo.shape[:2]
    bright = photo.astype(np.float32) / 255
    gray = bright.mean(axis=2, keepdims=True)
    picture = 0.15 + 0.85 * (0.6 * gray + 0.4 * bright) if masks else bright
    order = sorted(range(len(masks)), key=lambda index: -int(masks[index].sum(dtype=np.int64)))
    for index in order:
        soft = masks[index][..., np.newaxis] / np.float32(255)
        picture = soft * (0.5 * bright + 0.5 * palette[index]) + (1 - soft) * picture
    axes.imshow(np.clip(picture, 0, 1), extent=(_GAP, _GAP + width, _GAP + height, _GAP), zorder=0)
    for index in order:
        padded = np.pad(masks[index], 1).astype(np.float32)
        if padded.max() < _INSIDE:
            continue
        grid_x, grid_y = (np.arange(-1, side + 1) + 0.5 + _GAP for side in (width, height))
        for colour, line in (("white", 2.8), (tuple(palette[index]), 1.6)):
            axes.contour(
                grid_x, grid_y, padded, [_INSIDE - 0.5], colors=[colour], linewidths=line, antialiased=True
            )
    for index, (x, y) in _places(masks, order[::-1]):
        _number(axes, _GAP + x, _GAP + y, index, palette[index])


def _places(masks: Sequence[np.ndarray], order: Sequence[int]) -> list[tuple[int, tuple[int, int]]]:
    """(index, (x, y)) deep inside each mask, away from the places before; small masks choose first."""
    import cv2

    places, taken = [], None
    for index in order:
        inside = (masks[index] >= _INSIDE).astype(np.uint8)
        if not inside.any():
            continue
        taken = np.zeros_like(inside) if taken is None else taken
        depth = cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        free = np.where(taken, 0, depth)
        y, x = np.unravel_index((free if free.any() else depth).argmax(), depth.shape)
        places.append((index, (int(x), int(y))))
        cv2.circle(taken, (int(x), int(y)), 2 * _BADGE, 1, thickness=-1)
    return places


def _number(axes, x: float, y: float, index: int, colour: np.ndarray) -> None:
    ink = "white" if colour @ (0.299, 0.587, 0.114) < 0.6 else "black"
    badge = {"boxstyle": "circle,pad=0.25", "facecolor": tuple(colour), "edgecolor": "white", "linewidth": 1}
    axes.text(x, y, str(index + 1), fontsize=8, color=ink, ha="center", va="center", bbox=badge, zorder=5)
