"""A model directory and records to train a baseline beside it: photos of a red dress and a green bag."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle
from segmenter_fixture import smallest_model

from cmask_tf.data import schema
from cmask_tf.data.records import Summary
from cmask_tf.data.sources import Annotated, Object

HEIGHT, WIDTH = 56, 64
COLOURS = {"dress": (220, 30, 30), "bag": (30, 200, 30), "hair": (30, 30, 220)}
PHOTOS = {"masks": 120, "boxes": 4, "val": 6}


def photo(number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """uint8 RGB [HEIGHT, WIDTH, 3] and the masks of what it shows: a dress, and in every second one a bag.

    Validation photos (from 100 on) show hair too, which has no masks in training.
    """
    rng = np.random.default_rng(number)
    image = rng.integers(60, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    names = ["dress"] + ["bag"] * (number % 2) + ["hair"] * (number >= 100)
    masks = {}
    for column, name in enumerate(names):
        top, left = rng.integers(2, 20), rng.integers(2, 6) + column * WIDTH // 3
        masks[name] = np.zeros((HEIGHT, WIDTH), bool)
        masks[name][top : top + rng.integers(20, 30), left : left + rng.integers(10, 15)] = True
        image[masks[name]] = COLOURS[name]
    return image, masks


def baseline_records(folder: Path) -> Path:
    """Writes the sets "masks", "boxes" and "val"."""
    for name, photos in PHOTOS.items():
        directory, start = folder / name, 100 if name == "val" else 0
        directory.mkdir(parents=True)
        counts: dict[str, int] = {}
        with tf.io.TFRecordWriter(str(directory / "records")) as writer:
            for number in range(start, start + photos):
                writer.write(_record(number, counts))
        summary = Summary(name, photos, "mask", counts, {}, ["records"])
        (directory / "dataset.json").write_text(json.dumps(asdict(summary)))
    return folder


def _record(number: int, counts: dict[str, int]) -> bytes:
    image, masks = photo(number)
    file, objects = io.BytesIO(), []
    Image.fromarray(image).save(file, "PNG")
    for name, mask in masks.items():
        counts[name] = counts.get(name, 0) + 1
        objects.append(Object(name, None, rle.encode(np.asfortranarray(mask.astype(np.uint8)))))
    annotated = Annotated(Path(f"{number}.png"), str(number), HEIGHT, WIDTH, tuple(objects))
    return schema.encode(annotated, file.getvalue())


def baseline_arguments(folder: Path, kind: str, out: Path, *more: str) -> list[str]:
    """`cmask baseline` on the records and the model below `folder`, which are made if they are not there."""
    if not (folder / "records").exists():
        baseline_records(folder / "records")
    given = ["--data", folder / "records", "--like", smallest_model(folder / "model"), "--out", out]
    return ["baseline", kind, *map(str, given), *more]
