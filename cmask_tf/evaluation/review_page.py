"""The page of `cmask data review`: each pseudo mask over its photo, in the browser of this machine only."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from cmask_tf.errors import UserError
from cmask_tf.evaluation.review import Review

HOST = "127.0.0.1"
_ADD, _REMOVE = np.array([(255, 0, 96), (0, 144, 255)])  # RGB of the two brushes
_TINT = 0.55  # of a mask over its photo
_HEIGHT = 640  # px of the editor
_HELP = (
    "The mask is tinted. **Accept** keeps it. To repaint, brush in pink what is to be added and in blue what "
    "is to go (the eraser undoes strokes), then **Save repainted**. **Reject** drops the mask from the "
    "cleaned file. Every decision is saved at once."
)


def build(review: Review, out: Path | None = None):
    """The page as `gradio.Blocks`, not launched.

    Args:
        review: what is reviewed; the page opens at its first undecided mask.
        out: the cleaned file, written when the last mask has its verdict; None: no file.

    Raises:
        UserError: gradio is not installed.
    """
    gradio = load_gradio("the review page")
    with gradio.Blocks(title="cmask data review", analytics_enabled=False) as page:
        place = gradio.State(0)
        title = gradio.Markdown()
        editor = gradio.ImageEditor(
            type="numpy",
            image_mode="RGBA",
            format="png",
            sources=[],
            transforms=[],
            layers=gradio.LayerOptions(allow_additional_layers=False),
            brush=gradio.Brush(colors=[_hex(_ADD), _hex(_REMOVE)], default_size=12, color_mode="fixed"),
            label="mask",
            height=_HEIGHT,
        )
        with gradio.Row():
            buttons = {name: gradio.Button(name) for name in ("Back", "Accept", "Save repainted", "Reject")}
        gradio.Markdown(_HELP)
        shown = [place, title, editor]
        steps = _Steps(review, out, gradio)
        page.load(steps.open, None, shown, api_name="open")
        buttons["Back"].click(steps.back, place, shown, api_name="back")
        buttons["Accept"].click(steps.accept, place, shown, api_name="accept")
        buttons["Save repainted"].click(steps.repaint, [place, editor], shown, api_name="repaint")
        buttons["Reject"].click(steps.reject, place, shown, api_name="reject")
    return page


def launch(page, port: int | None = None, block: bool = True) -> str:
    """Serves the page on this machine and returns its address; with `block`, when it is interrupted."""
    theme = plain_theme(load_gradio("the review page"))
    _, address, _ = page.launch(
        server_name=HOST,
        server_port=port,
        share=False,
        theme=theme,
        prevent_thread_lock=not block,
        footer_links=[],
    )
    return address


class _Steps:
    """What the buttons do: each returns the next mask's place, title and picture."""

    def __init__(self, review: Review, out: Path | None, gradio):
        self._review, self._out, self._error, self._editor = review, out, gradio.Error, gradio.ImageEditor

    def open(self):
        return self._show(self._review.first_undecided())

    def back(self, place: int):
        return self._show(max(0, min(place, len(self._review)) - 1))

    def accept(self, place: int):
        self._review.accept(place)
        return self._next(place)

    def reject(self, place: int):
        self._review.reject(place)
        return self._next(place)

    def repaint(self, place: int, painted: dict):
        try:
            self._review.repaint(place, repainted(self._review.show(place).mask, painted))
        except UserError as error:
            raise self._error(str(error)) from None
        return self._next(place)

    def _next(self, place: int):
        return self._show(self._review.first_undecided(place + 1))

    def _show(self, place: int | None):
        done, total = self._review.decided, len(self._review)
        if place is None:
            return total, self._finish(), None
        try:
            item = self._review.show(place)
        except UserError as error:
            raise self._error(str(error)) from None
        before = f" ({item.verdict})" if item.verdict else ""
        title = f"## {item.name}{before}\nmask {place + 1} of {total}, {done} decided"
        size = item.photo.shape[1::-1]
        return place, title, self._editor(picture(item.photo, item.mask), canvas_size=size)

    def _finish(self) -> str:
        if self._out is None:
            return "## All masks have a verdict"
        counts = self._review.finish(self._out)
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        return f"## All masks have a verdict\n{told}; written to {self._out}"


def picture(photo: np.ndarray, mask: np.ndarray) -> dict:
    """A photo uint8 [H, W, 3] with its mask bool [H, W] as an image editor's value.

    The mask is part of the background: gradio puts a layer that it is given at another place than the photo.
    """
    tinted = photo.copy()
    tinted[mask] = (1 - _TINT) * photo[mask] + _TINT * _ADD
    return {"background": tinted, "layers": [], "composite": None}


def repainted(mask: np.ndarray, painted: dict | None) -> np.ndarray:
    """A mask bool [H, W] with an image editor's strokes added and taken away, in the order of its layers."""
    mask = mask.copy()
    for layer in (painted or {}).get("layers", []):
        layer = cv2.resize(layer, mask.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(int)
        covered = layer[..., 3] >= 128
        to_add, to_remove = (np.abs(layer[..., :3] - colour).sum(axis=-1) for colour in (_ADD, _REMOVE))
        mask[covered] = (to_add < to_remove)[covered]
    return mask


def _hex(colour: np.ndarray) -> str:
    return "#" + "".join(f"{value:02x}" for value in colour)


def load_gradio(what: str):
    """The module gradio, with everything off that would report to its makers.

    Raises:
        UserError: it is not installed; says that `what` needs it.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import gradio
    except ImportError:
        raise UserError(f"{what} needs gradio: pip install 'cmask-tf[demo]'") from None
    return gradio


def plain_theme(gradio):
    """A theme of fonts that are there; the default one fetches fonts from Google."""
    return gradio.themes.Base(font=["sans-serif"], font_mono=["monospace"])
