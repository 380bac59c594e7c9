"""Photos in, masks and overlays out, without TensorFlow.

Photos are read as a person sees them (EXIF orientation applied). JPEG pixels equal those of
`tf.io.decode_jpeg(dct_method="INTEGER_ACCURATE")`, so training and use see the same numbers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cmask_tf.errors import UserError

PANEL_PIXELS = 440  # the longer side of one panel of an overlay
MOST_COLUMNS = 6
_DPI = 100
_TITLE_PIXELS = 50
_GAP_PIXELS = 10


def read_image(path: str | Path, max_pixels: int | None = None) -> np.ndarray:
    """Reads a photo of any common kind as uint8 RGB [H, W, 3].

    Transparent pixels lie over white; of 16-bit samples the high byte is kept.

    Args:
        path: the file.
        max_pixels: a photo that has more by its header is refused before it is decoded.

    Raises:
        UserError: there is no such file, it is not an image, it is damaged, or it has too many pixels.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such image")
    try:
        with Image.open(path) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise UserError(
                    f"{image.width} x {image.height} pixels; expected at most {max_pixels / 1e6:g} million"
                )
            return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image; expected a JPEG, PNG or other picture") from None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: more than {max_pixels or 2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels"
        ) from None
    except Exception as error:  # decoders raise whatever a broken file leads them to
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: a damaged or truncated image ({reason})") from None


def as_seen(mask: np.ndarray, path: str | Path) -> np.ndarray:
    """A mask bool [H, W] of a photo's stored pixels, turned along with the photo (EXIF orientation)."""
    with Image.open(path) as photo:
        exif = photo.getexif()
    turned = Image.fromarray(mask.astype(np.uint8))
    turned.getexif().update(exif)
    return np.asarray(ImageOps.exif_transpose(turned)) > 0


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise UserError("32 bits a sample; expected 8 or 16")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def write_mask(path: str | Path, mask: np.ndarray) -> None:
    """Writes bool [H, W] as a PNG of 0 and 255, whole or not at all."""
    save_png(Path(path), Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)))


def write_overlay(
    path: str | Path, image: np.ndarray, panels: Sequence[tuple[str, np.ndarray, float | None, bool]]
) -> None:
    """Writes a picture of the photo and of every concept's mask beside it.

    Args:
        path: the PNG to write, whole or not at all.
        image: uint8 RGB [H, W, 3].
        panels: (name, mask bool [H, W], score or None, present) of each concept.
    """
    # 0.4 seconds that reading photos need not pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    small = fit_image(image, PANEL_PIXELS)
    height, width = small.shape[:2]
    figure, axes = _panel_grid(Figure, len(panels) + 1, height, width)
    canvas = FigureCanvasAgg(figure)
    axes[0].imshow(small)
    _title(axes[0], "photo", "", "black")
    colours = strong_colours()
    for index, (name, mask, score, present) in enumerate(panels):
        mask = fit_mask(mask, PANEL_PIXELS) / np.float32(255)
        colour = colours[index % len(colours)]
        _draw_concept(axes[index + 1], small, mask if present else np.zeros_like(mask), colour)
        verdict = ("" if present else ": not found") + ("" if score is None else f" {score:.2f}")
        _title(axes[index + 1], name, verdict, "black" if present else "dimgray")
    canvas.draw()
    save_png(Path(path), Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))


def strong_colours() -> np.ndarray:
    """Eight colours that tell things apart, float RGB [8, 3]: brown and gray do not stand out."""
    from matplotlib import colormaps

    return np.delete(colormaps["tab10"].colors, (5, 7), axis=0)  # type: ignore[attr-defined]


def fit_image(image: np.ndarray, pixels: int) -> np.ndarray:
    """A photo uint8 RGB [H, W, 3] whose longer side is `pixels`."""
    return _fit(Image.fromarray(image), pixels)


def fit_mask(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask bool [H, W] whose longer side is `pixels`: uint8 [h, w], soft at the edges."""
    return _fit(Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)), pixels)


def _fit(image: Image.Image, pixels: int) -> np.ndarray:
    """Scales the longer side; up as well, so that contours are smooth and fonts keep their proportion."""
    scale = pixels / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _panel_grid(figure_class: type, count: int, height: int, width: int) -> tuple:
    """A figure and `count` axes of exactly height x width pixels, at most six in a row."""
    rows = math.ceil(count / MOST_COLUMNS)
    columns = math.ceil(count / rows)
    step_x = max(width, PANEL_PIXELS // 2) + _GAP_PIXELS
    step_y = height + _TITLE_PIXELS
    full_x, full_y = columns * step_x + _GAP_PIXELS, rows * step_y + _GAP_PIXELS
    figure = figure_class(figsize=(full_x / _DPI, full_y / _DPI), dpi=_DPI, facecolor="white")
    axes = []
    for index in range(count):
        row, column = divmod(index, columns)
        left = _GAP_PIXELS + column * step_x + (step_x - _GAP_PIXELS - width) / 2
        bottom = full_y - (row + 1) * step_y
        axes.append(figure.add_axes((left / full_x, bottom / full_y, width / full_x, height / full_y)))
        axes[-1].set_axis_off()
    return figure, axes


def _title(axes, name: str, verdict: str, colour: str) -> None:
    """One line, or two when the name is long; the end of a very long name is left out, never the verdict."""
    pixels = axes.get_position().width * axes.figure.get_figwidth() * _DPI
    line = max(16, int(pixels / 10))
    if len(name) + len(verdict) > line:
        name, verdict = name if len(name) <= line else name[: line - 3] + "...", "\n" + verdict.lstrip(": ")
    # Names are anybody's: "$" is not mathematics here.
    axes.set_title(name + verdict, fontsize=13, color=colour, pad=5, linespacing=1.05, parse_math=False)


def _draw_concept(axes, photo: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    """The photo, gray and dim outside the mask [h, w] in 0..1, tinted inside, with a contour."""
    photo = photo.astype(np.float32) / 255
    gray = photo.mean(axis=2, keepdims=True)
    outside = 0.5 * (0.7 * gray + 0.3 * photo)
    inside = 0.55 * photo + 0.45 * colour
    soft = mask[..., np.newaxis]
    axes.imshow(np.clip(soft * inside + (1 - soft) * outside, 0, 1))
    padded = np.pad(mask, 1)
    if padded.min() < 0.5 < padded.max():
        grid_y, grid_x = np.ogrid[-1 : mask.shape[0] + 1, -1 : mask.shape[1] + 1]
        lines = {"levels": [0.5], "antialiased": True}
        axes.contour(grid_x.ravel(), grid_y.ravel(), padded, colors="white", linewidths=2.6, **lines)
        axes.contour(grid_x.ravel(), grid_y.ravel(), padded, colors=[tuple(colour)], linewidths=1.4, **lines)
    axes.set_xlim(-0.5, mask.shape[1] - 0.5)
    axes.set_ylim(mask.shape[0] - 0.5, -0.5)


def save_png(path: Path, image: Image.Image) -> None:
    """Writes a PNG whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        image.save(partial, format="PNG")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
