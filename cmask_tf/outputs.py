"""What a segmented photo becomes on disk: the files' names, the check that none is lost, the writing."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.text import slug

KINDS = ("mask", "overlay", "rle")


def mask_path(photo: Path, concept: str, out: Path) -> Path:
    """`a.red-hat.png` for photo `a.jpg` and concept "Red hat"."""
    return out / f"{photo.stem}.{slug(concept)}.png"


def overlay_path(photo: Path, out: Path) -> Path:
    """`a.overlay.png` for photo `a.jpg`."""
    return out / f"{photo.stem}.overlay.png"


def rle_path(photo: Path, out: Path) -> Path:
    """`a.rle.json` for photo `a.jpg`."""
    return out / f"{photo.stem}.rle.json"


def check(photos: Sequence[Path], concepts: Sequence[str], out: Path) -> None:
    """Looks for files that would be lost, before any work.

    Raises:
        UserError: two outputs of one name, an output over a photo, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: expected a folder to write to")
    made: dict[Path, str] = {}
    originals = {path.resolve() for path in photos}
    for photo in photos:
        outputs = [(overlay_path(photo, out), f"the overlay of {photo}")]
        outputs += [(mask_path(photo, concept, out), f"{photo}, {concept}") for concept in concepts]
        for path, origin in outputs:
            if path in made:
                raise UserError(f"{path}: two outputs of one name: {made[path]} and {origin}")
            if path.resolve() in originals:
                raise UserError(f"{path}: the output for {origin} would replace a photo; give another --out")
            made[path] = origin


def write(
    photo: Path,
    image: np.ndarray,
    found: Iterable[tuple[str, np.ndarray, float, bool]],
    out: Path,
    kinds: Collection[str] = ("mask", "overlay"),
    together: bool = False,
) -> list[dict]:
    """Writes one photo's files, each whole or not at all.

    Args:
        photo: where it came from; its name gives the names of the files.
        image: uint8 RGB [H, W, 3], as a person sees it.
        found: (name, mask bool [H, W], score, present) of each concept.
        out: the folder; made when it is not there.
        kinds: of KINDS: a 0/255 PNG a concept, one overlay, one file of COCO's run lengths.
        together: the overlay is one picture of all concepts with a legend, instead of a panel for each.

    Returns:
        One row a concept: image, concept, score, present, known, area in pixels, and the mask's file or None.

    Raises:
        UserError: a file cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _write(photo, image, found, out, kinds, together)
    except OSError as error:
        where = error.filename or out
        raise UserError(f"{where}: cannot be written: {error.strerror or error}") from None


def _write(photo, image, found, out, kinds, together) -> list[dict]:
    # Pillow is not needed to check names.
    from cmask_tf.imageio import write_mask, write_overlay
    from cmask_tf.overview import shrunk, write_overview

    rows, panels, runs = [], [], []
    for name, mask, score, present in found:
        row = {"image": str(photo), "concept": name, "score": score, "present": present}
        row |= {"known": True, "area": int(mask.sum()), "mask": None}  # an unknown name was an error before
        if "mask" in kinds:
            row["mask"] = str(mask_path(photo, name, out))
            write_mask(row["mask"], mask)
        if "overlay" in kinds:
            panels.append((name, shrunk(mask), score) if together else (name, mask, score, present))
        if "rle" in kinds:
            runs.append(
                {key: row[key] for key in ("concept", "score", "present", "area")} | run_lengths(mask)
            )
        rows.append(row)
    if "overlay" in kinds:
        (write_overview if together else write_overlay)(overlay_path(photo, out), image, panels)
    if "rle" in kinds:
        whole = {"image": str(photo), "height": image.shape[0], "width": image.shape[1], "concepts": runs}
        _write_json(rle_path(photo, out), whole)
    return rows


def lines(photo: Path, rows: Sequence[dict]) -> list[str]:
    """What a person reads of one photo: a line a concept."""
    if not rows:
        return [f"{photo}: no concept found"]
    return [
        f"{photo}: {row['concept']}: {'found' if row['present'] else 'not found'} (score {row['score']:.2f})"
        + (f" -> {row['mask']}" if row["mask"] else "")
        for row in rows
    ]


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's compressed run lengths of bool [H, W], as `annotations` hold them: a dict of "segmentation"."""
    from pycocotools import mask as rle

    runs = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"segmentation": {"size": runs["size"], "counts": runs["counts"].decode("ascii")}}


def _write_json(path: Path, value: object) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
