"""The files that a visitor takes away: PNG masks, a cut-out, and COCO's JSON. Absent words have none."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cmask_tf import outputs, shapes
from cmask_tf.errors import UserError
from cmask_tf.web.engines import read
from cmask_tf.web.visit import Thresholds, Visit


def write(visit: Visit, thresholds: Thresholds, out: Path) -> list[Path]:
    """Writes `NAME.masks.zip`, `NAME.cut-out.png` and `NAME.coco.json` at the photo's own size.

    Raises:
        UserError: nothing is there at these thresholds, or the photo is gone.
    """
    photo = visit.photo
    names = [row.name for row in visit.rows(thresholds) if row.present]
    if not names:
        raise UserError("nothing was found, so there is nothing to download; lower the second slider")
    stem = photo.path.stem
    paths = [out / f"{stem}.{end}" for end in ("masks.zip", "cut-out.png", "coco.json")]
    image = read(photo.path)
    with tempfile.TemporaryDirectory(dir=out) as work:
        outputs.check([photo.path], names, Path(work))
        found = []
        for name in names:
            answer = visit.found(name)
            mask = answer.probability(photo.height, photo.width) >= thresholds.mask
            found.append((name, mask, answer.score, True))
        outputs.write(photo.path, image, found, Path(work), kinds=("mask",))
        pack(sorted(Path(work).iterdir()), paths[0])
    masks = [mask for _, mask, _, _ in found]
    Image.fromarray(shapes.cut_out(image, np.logical_or.reduce(masks))).save(paths[1])
    scores = [score for _, _, score, _ in found]
    paths[2].write_text(json.dumps(coco(photo.path.name, names, masks, scores)) + "\n", encoding="utf-8")
    return paths


def pack(files: Sequence[Path], path: Path) -> None:
    """A zip of files, by their names; they are PNGs and not compressed again."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.name)


def coco(name: str, words: Sequence[str], masks: Sequence[np.ndarray], scores: Sequence[float]) -> dict:
    """One photo's masks, bool [H, W] each, as COCO's JSON has them, with scores; empty masks are left out."""
    height, width = masks[0].shape
    annotations = []
    for number, (mask, score) in enumerate(zip(masks, scores, strict=True), start=1):
        if mask.any():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 1,
                    "category_id": number,
                    "area": int(mask.sum()),
                    "bbox": shapes.box(mask),
                    "segmentation": shapes.rle(mask),
                    "iscrowd": 0,
                    "score": round(score, 4),
                }
            )
    return {
        "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
        "categories": [{"id": number, "name": word} for number, word in enumerate(words, start=1)],
        "annotations": annotations,
    }
