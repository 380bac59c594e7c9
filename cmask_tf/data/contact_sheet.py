"""A contact sheet of records drawn from a set: what was written, to be looked at."""

from __future__ import annotations

import io
import math
import warnings
from pathlib import Path

import numpy as np

from cmask_tf.data.claim import publish
from cmask_tf.data.records import CHECK, RecordSet
from cmask_tf.errors import UserError

SHOWN = 20
_SEED = 0
_COLUMNS, _PANEL, _TITLE, _DPI = 5, 320, 56, 100  # the last but one in pixels
_LINE = 52  # letters that a panel has room for


def write_contact_sheet(directory: Path) -> Path:
    """Draws up to `SHOWN` records, always the same of a set: boxes, mask outlines, names and tags.

    Args:
        directory: a record set; they are read back from its shards.

    Returns:
        The PNG, `check.png` in the set.

    Raises:
        UserError: the set is not there, or the picture cannot be written.
    """
    directory = Path(directory)
    picture = directory / CHECK
    encoded = _draw(_drawn(RecordSet.open(directory)))
    beside = picture.with_name(CHECK + ".tmp")
    try:
        beside.write_bytes(encoded)
        publish(beside, picture)
    except OSError as error:
        raise UserError(f"{picture}: cannot be written ({error.strerror})") from None
    finally:
        beside.unlink(missing_ok=True)
    return picture


def _drawn(records: RecordSet) -> list[dict]:
    """Parsed records from as many shards as there are photos to show; each such shard is read once."""
    import tensorflow as tf

    from cmask_tf.data import schema

    random = np.random.default_rng(_SEED)
    shards = sorted(random.permutation(len(records.files))[:SHOWN].tolist())
    drawn: list[tuple[float, bytes]] = []
    for shard in shards:
        found = []
        for serialized in tf.data.TFRecordDataset(records.files[shard]):
            found.append((random.random(), serialized.numpy()))
            found = sorted(found)[:SHOWN] if len(found) > SHOWN else found
        most = SHOWN if len(shards) < SHOWN else 1
        drawn += sorted(found)[:most]
    return [schema.parse(serialized) for _, serialized in sorted(drawn)[:SHOWN]]


def _draw(records: list[dict]) -> bytes:
    """The sheet as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(records)) or 1
    rows = max(1, math.ceil(len(records) / columns))
    size = columns * _PANEL / _DPI, rows * (_PANEL + _TITLE) / _DPI
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    for index, record in enumerate(records):
        row, column = divmod(index, columns)
        left, bottom = (column + 0.02) / columns, 1 - (row + 1) / rows
        axes = figure.add_axes((left, bottom, 0.96 / columns, _PANEL / (_PANEL + _TITLE) / rows))
        _draw_record(axes, record)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the font need not have every script's letters
        figure.savefig(file, format="png")
    return file.getvalue()


def _draw_record(axes, record: dict) -> None:
    import tensorflow as tf
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    photo = tf.io.decode_image(record["encoded"], 3, expand_animations=False).numpy()
    height, width = photo.shape[:2]
    axes.imshow(photo)
    axes.set_axis_off()
    axes.set_anchor("N")
    names = [name.decode() for name in record["names"].numpy()]
    colours = dict(zip(sorted(set(names)), colormaps["tab10"].colors * len(names), strict=False))
    boxes, masks, crowds = (record[key].numpy() for key in ("boxes", "masks", "crowd"))
    for name, box, mask, crowd in zip(names, boxes, masks, crowds, strict=True):
        top, left, bottom, right = box * (height, width, height, width)
        style = {"edgecolor": colours[name], "linestyle": ":" if crowd else "-", "linewidth": 1}
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, **style))
        axes.text(left, top, name, fontsize=6, color="white", va="top", parse_math=False).set_bbox(
            {"facecolor": colours[name], "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
        )
        if mask:
            _outline(axes, tf.io.decode_png(mask)[..., 0].numpy(), colours[name])
    tags = ", ".join(tag.decode() for tag in record["tags"].numpy())
    lines = [record["source_id"].numpy().decode(), *_lines(tags)]
    axes.set_title("\n".join(lines), fontsize=7, loc="left", pad=3, parse_math=False)


def _outline(axes, mask: np.ndarray, colour: tuple[float, float, float]) -> None:
    import cv2

    for ring in cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]:
        x, y = np.concatenate([ring, ring[:1]])[:, 0].T
        axes.plot(x, y, color="white", linewidth=1.6)
        axes.plot(x, y, color=colour, linewidth=0.8)


def _lines(text: str) -> list[str]:
    """At most two lines; the end of a long text is left out."""
    import textwrap

    return textwrap.wrap(text, _LINE, max_lines=2, placeholder=" ...")
