"""The two figures about the training data: examples of the sets (Fig. 3) and O(i, j) (supplement, Fig. 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from matplotlib import colormaps
from PIL import Image

from cmask_tf.data import schema
from cmask_tf.data.records import RecordSet
from cmask_tf.evaluation.figures.cells import Cell
from cmask_tf.evaluation.figures.grid import SIDE, Panel, Row, draw_grid, fitted, text_panel
from cmask_tf.overlap import count_overlaps
from cmask_tf.vocabulary.artefact import Vocabulary

FIRST = 200  # photos of a set among which the shown one is the median
CONCEPTS = 12  # of the overlap matrix
_BLACK = (20, 20, 20)
_COLOURS = [tuple(round(255 * c) for c in colour) for colour in colormaps["tab10"].colors]


def draw_sets(records: Path, test: Mapping[Cell, Panel]) -> Image.Image | None:
    """A photo of each training set and one of the test photos, above their annotation.

    Args:
        records: a reproduction's record sets.
        test: a test photo and its true mask; or nothing.

    Returns:
        None when there is no photo.
    """
    columns, panels = [], []
    for source, name in (("tags", "tags: Stage 1"), ("boxes", "boxes: Stage 2"), ("masks", "masks: Stage 3")):
        record = _median_record(records / source, source)
        if record is not None:
            columns.append(name)
            panels.append(_annotated(record, source))
    if test:
        columns.append("test: true mask")
        [concept] = {cell.concept for cell in test}
        panels.append((*test.values(), Panel(text_panel([(concept, _BLACK)], SIDE))))
    if not panels:
        return None
    return draw_grid(columns, [Row((), row) for row in zip(*panels, strict=True)])


def _median_record(folder: Path, source: str) -> dict | None:
    """Of a set's first photos the one with the median number of names."""
    files = RecordSet.open(folder).files
    found = []
    for serialized in islice(tf.data.TFRecordDataset(files).as_numpy_iterator(), FIRST):
        features = tf.train.Example.FromString(serialized).features.feature
        count = len(set(features[schema.TAGS if source == "tags" else schema.NAMES].bytes_list.value))
        if count:
            found.append((count, len(found), serialized))
    found.sort()
    return schema.parse(found[len(found) // 2][2]) if found else None


def _annotated(record: dict, source: str) -> tuple[Panel, Panel, Panel]:
    """The photo, its annotation, and the names of what was annotated."""
    photo = tf.io.decode_image(record["encoded"], 3, expand_animations=False).numpy()
    small = fitted(photo, SIDE)
    if source == "tags":
        tags = sorted({tag.decode() for tag in record["tags"].numpy()})
        return Panel(small), Panel(text_panel([(tag, _BLACK) for tag in tags], SIDE)), Panel(None)
    names = [name.decode() for name in record["names"].numpy()]
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(sorted(set(names)))}
    if source == "boxes":
        drawn = small.copy()
        for name, box in zip(names, record["boxes"].numpy(), strict=True):
            top, left, bottom, right = (box * np.tile(np.array(small.shape[:2]) - 1, 2)).round().astype(int)
            cv2.rectangle(drawn, (int(left), int(top)), (int(right), int(bottom)), colours[name], 2)
    else:
        masks = [(name, png) for name, png in zip(names, record["masks"].numpy(), strict=True) if png]
        pixels = [(cv2.imdecode(np.frombuffer(p, np.uint8), 0) > 0, colours[name]) for name, p in masks]
        drawn = _painted(small, pixels)
    return Panel(small), Panel(drawn), Panel(text_panel(list(colours.items()), SIDE))


def _painted(small: np.ndarray, masks: list[tuple[np.ndarray, tuple]]) -> np.ndarray:
    """A small photo with masks bool [H, W] laid over it in their colours."""
    drawn = small.astype(np.float32)
    for mask, colour in masks:
        share = cv2.resize(mask.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)
        share = 0.6 * share[..., np.newaxis]
        drawn = drawn * (1 - share) + np.array(colour, np.float32) * share
    return drawn.round().astype(np.uint8)


def overlaps(records: Path, vocabulary: Vocabulary) -> tuple[list[str], np.ndarray]:
    """O(i, j) of Eqn. 3 of the box-supervised concepts that co-occur most.

    Args:
        records: a reproduction's record sets.
        vocabulary: tells which names mean the same concept.

    Returns:
        At most `CONCEPTS` names, the one in most pairs first, and float32 [n, n], NaN where two never
        co-occur.
    """
    boxes = RecordSet.open(records / "boxes")
    entries = {name: vocabulary.find(name) for name in boxes.concepts}
    known = sorted({entry for entry in entries.values() if entry is not None})
    place = {name: known.index(entry) for name, entry in entries.items() if entry is not None}
    counter = count_overlaps(boxes.files, place)
    together = counter.images.sum(axis=1) - np.diag(counter.images)
    chosen = np.argsort(-together, kind="stable")[:CONCEPTS]
    chosen = chosen[together[chosen] > 0]
    names = [vocabulary.names[known[i]] for i in chosen]
    return names, counter.overlap_matrix()[np.ix_(chosen, chosen)]


def draw_overlaps(names: list[str], matrix: np.ndarray) -> Image.Image:
    """A heat map with the names on both axes and the ratios in the cells."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = 2.2 + 0.42 * len(names)  # inches
    figure = Figure(figsize=(side + 0.6, side - 0.3), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(matrix, vmin=0, vmax=1, cmap="viridis")
    axes.set_xticks(
        range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", parse_math=False
    )
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("concept j")
    axes.set_ylabel("concept i")
    for i, j in _filled(matrix):
        colour = "black" if matrix[i, j] > 0.6 else "white"
        axes.text(j, i, f"{matrix[i, j]:.2f}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(image, label="O(i, j)", shrink=0.8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _filled(matrix: np.ndarray) -> Iterator[tuple[int, int]]:
    return ((i, j) for i, j in np.ndindex(matrix.shape) if np.isfinite(matrix[i, j]))
