"""What the page shows of a visit: the photo with masks in it, a legend, and a closer look at one word."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from cmask_tf.imageio import fit_image
from cmask_tf.overview import colours, heat_map, overlay
from cmask_tf.web.visit import Row, Visit

CLOSER = 450  # px, the longer side of the pictures of a closer look


def picture(visit: Visit, rows: Sequence[Row]) -> np.ndarray:
    """The photo with a colour and a number for every word that is there: uint8 RGB [h, w, 3]."""
    nothing = np.zeros(visit.photo.preview.shape[:2], bool)
    return overlay(visit.photo.preview, [row.mask if row.present else nothing for row in rows])


def legend(rows: Sequence[Row]) -> str:
    """The rows as HTML: number and colour, word, score, and the mask's part of the picture."""
    items = []
    for number, (row, colour) in enumerate(zip(rows, colours(len(rows)), strict=True), start=1):
        ink = "#fff" if colour @ (0.299, 0.587, 0.114) < 0.6 else "#000"
        paint = "#" + "".join(f"{round(255 * part):02x}" for part in colour)
        said = f"{row.area:.1%} of the picture" if row.present else "not found"
        items.append(
            f'<li class="{"" if row.present else "absent"}">'
            f'<span class="number" style="background:{paint};color:{ink}">{number}</span>'
            f'<span class="word">{html.escape(row.name)}</span>'
            f'<span class="said">score {row.score:.2f}, {said}</span></li>'
        )
    return f'<ol class="cmask-legend" aria-label="What was found">{"".join(items)}</ol>' if items else ""


def closer(visit: Visit, name: str) -> list[tuple[np.ndarray, str]]:
    """The mask of one word as probabilities, and its attention maps: (uint8 RGB [h, w, 3], label) each."""
    probability = fit_image((visit.preview(name) * 255).round().astype(np.uint8), CLOSER)
    pictures = [(np.stack([probability] * 3, axis=-1), "Mask, white is certain")]
    for scale in visit.found(name).attention:
        caption = f"Attention, {scale.shape[0]} x {scale.shape[1]} cells"
        pictures.append((heat_map(scale, probability.shape), caption))
    return pictures
