"""Pictures in rows and columns with names, drawn by Pillow: every panel has its own size, in whole pixels."""

from __future__ import annotations

import functools
import io
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 160  # px of a panel's longer side
MOST_BYTES = 150_000
_GAP, _LABEL, _LINE = 8, 104, 15  # px: between panels, of the column of labels, of a line of text
_TEXT, _SMALL = 12, 11  # px of letters
_BLACK, _GRAY = (20, 20, 20), (105, 105, 105)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Panel:
    """One picture of a grid.

    Attributes:
        pixels: uint8 RGB [h, w, 3]; None leaves the place empty.
        note: a short text below it.
    """

    pixels: np.ndarray | None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """Panels side by side. `label`: lines beside them; the first is black, the others gray."""

    label: tuple[str, ...]
    panels: tuple[Panel, ...]


def draw_grid(columns: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """Draws rows of panels below the names of their columns.

    Args:
        columns: a name for each; may be empty strings.
        rows: each with as many panels as there are columns.
    """
    left = _LABEL + _GAP if any(row.label for row in rows) else _GAP
    widths = [_width(name, [row.panels[c] for row in rows]) for c, name in enumerate(columns)]
    heads = _head_lines(columns, widths)
    top = _GAP + (max(map(len, heads)) * _LINE + 2 if any(columns) else 0)
    heights = [_height(row) for row in rows]
    size = left + sum(widths) + _GAP * len(widths), top + sum(heights) + _GAP * len(rows)
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    places = [left + sum(widths[:c]) + _GAP * c for c in range(len(widths))]
    for place, width, lines in zip(places, widths, heads, strict=True):
        for number, line in enumerate(lines):
            _centred(pen, place, width, _GAP + number * _LINE, line, _font(_TEXT, bold=True), _BLACK)
    for row, height in zip(rows, heights, strict=True):
        _draw_label(pen, row.label, top)
        for panel, place, width in zip(row.panels, places, widths, strict=True):
            _draw_panel(canvas, pen, panel, place, width, top)
        top += height + _GAP
    return canvas


def _width(name: str, panels: Sequence[Panel]) -> int:
    """Of a column: of its widest picture, and wide enough for its longest word and for the notes."""
    font, small = _font(_TEXT, bold=True), _font(_SMALL)
    pictures = [panel.pixels.shape[1] for panel in panels if panel.pixels is not None]
    words = [font.getlength(word) for word in name.split()]
    notes = [small.getlength(panel.note) for panel in panels]
    return int(max([48, *pictures, *words, *notes])) + 1


def _head_lines(columns: Sequence[str], widths: Sequence[int]) -> list[list[str]]:
    return [
        _wrapped(name, width, _font(_TEXT, bold=True)) for name, width in zip(columns, widths, strict=True)
    ]


def _height(row: Row) -> int:
    pictures = [panel.pixels.shape[0] for panel in row.panels if panel.pixels is not None]
    note = _LINE if any(panel.note for panel in row.panels) else 0
    return max([max(pictures, default=0) + note, len(_label_lines(row.label)) * _LINE])


def _label_lines(label: tuple[str, ...]) -> list[tuple[str, bool]]:
    """(line, whether it is of the first text)."""
    return [
        (line, number == 0)
        for number, text in enumerate(label)
        for line in _wrapped(text, _LABEL - 4, _font(_TEXT if number == 0 else _SMALL, bold=number == 0))
    ]


def _draw_label(pen: ImageDraw.ImageDraw, label: tuple[str, ...], top: int) -> None:
    for number, (line, first) in enumerate(_label_lines(label)):
        font = _font(_TEXT if first else _SMALL, bold=first)
        pen.text((_GAP, top + number * _LINE), line, _BLACK if first else _GRAY, font)


def _draw_panel(canvas, pen: ImageDraw.ImageDraw, panel: Panel, place: int, width: int, top: int) -> None:
    below = top
    if panel.pixels is not None:
        picture = Image.fromarray(panel.pixels)
        canvas.paste(picture, (place + (width - picture.width) // 2, top))
        below += picture.height
    if panel.note:
        _centred(pen, place, width, below + 1, panel.note, _font(_SMALL), _BLACK)


def _centred(pen: ImageDraw.ImageDraw, place: int, width: int, top: int, text: str, font, colour) -> None:
    pen.text((place + (width - font.getlength(text)) / 2, top), text, colour, font)


def text_panel(words: Sequence[tuple[str, Colour]], width: int) -> np.ndarray:
    """Names in their colours, one after the other with commas between, in lines: uint8 RGB [h, width, 3]."""
    font, x, y, places = _font(_TEXT), 0.0, 0, []
    for number, (word, colour) in enumerate(words):
        text = word + ("," if number < len(words) - 1 else "")
        length = font.getlength(text)
        if x and x + length > width:
            x, y = 0.0, y + _LINE
        places.append((x, y, text, colour))
        x += length + font.getlength(" ")
    canvas = Image.new("RGB", (width, y + _LINE + 2), "white")
    pen = ImageDraw.Draw(canvas)
    for x, y, text, colour in places:
        pen.text((x, y), text, colour, font)
    return np.asarray(canvas)


def notice(text: str) -> Image.Image:
    """A picture that only says something: there is nothing to show."""
    lines = textwrap.wrap(text, 70)
    font = _font(_TEXT)
    size = int(max(map(font.getlength, lines))) + 4 * _GAP, len(lines) * _LINE + 4 * _GAP
    canvas = Image.new("RGB", size, "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(canvas).text((2 * _GAP, 2 * _GAP + number * _LINE), line, _GRAY, font)
    return canvas


def save(picture: Image.Image, path: Path) -> None:
    """Writes a PNG of at most 256 colours, whole or not at all; of fewer where it would be over 150 kB."""
    for colours in (256, 128, 64, 32):
        # Without k-means the colours of thin lines and letters, which are few pixels, get lost.
        few = picture.quantize(colours, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
        file = io.BytesIO()
        few.save(file, "PNG", optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(file.getvalue())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def fitted(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8 [h, w, ...] or bool [h, w] so that its longer side is `side` px; a mask becomes 0 to 255."""
    pixels = np.where(pixels, 255, 0).astype(np.uint8) if pixels.dtype == bool else pixels
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = Image.Resampling.BILINEAR if pixels.ndim == 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize(size, way))


def _wrapped(text: str, width: int, font) -> list[str]:
    """Lines that fit; a word that is too long for one is cut."""
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
        while font.getlength(lines[-1]) > width and len(lines[-1]) > 2:
            lines[-1] = lines[-1].rstrip("…")[:-1] + "…"
    return lines


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path  # it carries one, so that pictures look the same everywhere

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)
