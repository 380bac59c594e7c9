"""The training curves: loss and validation of every training, one picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cmask_tf.reproduce.plan import Request

TRAININGS = {
    "embedding": "Stage 1",
    "refine": "Stage 2",
    "refine-noNeg": "Stage 2, noNeg",
    "model": "Stage 3",
    "model-noNeg": "Stage 3, noNeg",
    "model-singleAtt": "Stage 3, singleAtt",
    "saliency": "saliency",
    "closed-set": "closed set",
}
_COLUMNS = 4


def draw_curves(request: Request, path: Path) -> list[str]:
    """Draws two plots for each training whose history lies in its work folder, with a line for each seed.

    Returns:
        The titles of the trainings; without any no picture is written.
    """
    found = {
        title: histories for name, title in TRAININGS.items() if (histories := _histories(request, name))
    }
    if not found:
        return []
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(found), _COLUMNS)
    bands = -(-len(found) // columns)
    figure = Figure(figsize=(2.6 * columns, 3.8 * bands), dpi=100, layout="constrained")
    grid = figure.subplots(2 * bands, columns, squeeze=False)
    for place, (title, histories) in enumerate(found.items()):
        top, column = 2 * (place // columns), place % columns
        _draw(grid[top, column], grid[top + 1, column], title, histories)
    for unused in grid.reshape(bands, 2, columns).swapaxes(1, 2).reshape(-1, 2)[len(found) :].flat:
        unused.axis("off")
    grid[0, 0].legend(fontsize=7, frameon=False)
    FigureCanvasAgg(figure).print_png(path)
    return list(found)


def _draw(loss, validation, title: str, histories: Mapping[int, Mapping]) -> None:
    """One training: a line a seed, in the axes of the loss and those of the validation below."""
    from matplotlib.ticker import MaxNLocator

    for seed, history in histories.items():
        epochs = [epoch["epoch"] for epoch in history["train"]]
        loss.plot(epochs, [epoch["loss"] for epoch in history["train"]], marker=".", label=f"seed {seed}")
        validation.plot(epochs, _validation(history), marker=".")
    loss.set_title(f"{title}: loss", fontsize=9)
    validation.set_title(f"{title}: {_measure(history)}", fontsize=9)
    for axes in (loss, validation):
        axes.tick_params(labelsize=7)
        axes.set_xlim(0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _histories(request: Request, name: str) -> dict[int, dict]:
    files = {seed: request.seed_dir(seed) / f"{name}.run" / "history.json" for seed in request.seeds}
    found = {seed: json.loads(file.read_text()) for seed, file in files.items() if file.is_file()}
    return {seed: history for seed, history in found.items() if history["train"]}


def _validation(history: Mapping) -> list[float]:
    """The mean over the levels of the measure that chose the epoch."""
    prefix = _measure(history)
    return [
        float(np.mean([value for name, value in epoch.items() if name.startswith(prefix)] or [np.nan]))
        for epoch in history["validation"]
    ]


def _measure(history: Mapping) -> str:
    return history.get("kept", {}).get("measure", "val_")
