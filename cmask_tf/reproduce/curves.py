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


def draw_curves(request: Request, path: Path) -> list[str]:
    """Draws a column for each training whose history lies in its work folder, and a line for each seed.

    Returns:
        The titles of the columns; without any no picture is written.
    """
    found = {
        title: histories for name, title in TRAININGS.items() if (histories := _histories(request, name))
    }
    if not found:
        return []
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.2 * len(found), 4), dpi=110, layout="constrained")
    grid = figure.subplots(2, len(found), squeeze=False, sharex="col")
    for (title, histories), (loss, validation) in zip(found.items(), grid.T, strict=True):
        loss.set_title(title, fontsize=9)
        for seed, history in histories.items():
            epochs = [epoch["epoch"] for epoch in history["train"]]
            loss.plot(epochs, [epoch["loss"] for epoch in history["train"]], marker=".", label=f"seed {seed}")
            validation.plot(epochs, _validation(history), marker=".")
        validation.set_ylabel(_measure(history), fontsize=8)
        validation.set_xlabel("epoch", fontsize=8)
        for axes in (loss, validation):
            axes.tick_params(labelsize=7)
            axes.xaxis.get_major_locator().set_params(integer=True)
    grid[0, 0].set_ylabel("loss", fontsize=8)
    grid[0, 0].legend(fontsize=7, frameon=False)
    FigureCanvasAgg(figure).print_png(path)
    return list(found)


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
