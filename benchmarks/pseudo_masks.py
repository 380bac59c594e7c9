"""How near pseudo masks come to drawn ones: GrabCut seeded by box, by box and attention, and the bare box.

    python benchmarks/pseudo_masks.py --masks COCO.json --images DIR [--model DIR] [--title TEXT]

Boxes are tight ones around the pieces of the drawn masks (pieces below a twentieth of the largest left out).
Prints a Markdown table: IoU, photo -> concept -> mean over a level's concepts with at least 3 photos.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from cmask_tf.data.coco import coco_categories, load_concept_masks
from cmask_tf.evaluation.pseudo_masks import grabcut, read_stored, seeds_of

PIECE = 0.05
FEWEST = 3


def tight_boxes(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """x, y, width, height of the pieces of a mask bool [H, W]."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    pieces = stats[1:]
    return [tuple(map(int, piece[:4])) for piece in pieces if piece[4] >= PIECE * pieces[:, 4].max()]


def whole(mask: np.ndarray, boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    """The boxes as a mask of another's size."""
    found = np.zeros_like(mask)
    for x, y, w, h in boxes:
        found[y : y + h, x : x + w] = True
    return found


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two masks."""
    return (a & b).sum() / (a | b).sum()


def measure(args: argparse.Namespace) -> dict[str, dict[str, list[dict]]]:
    """Level -> concept -> method -> IoU, a dict a photo."""
    levels = {name: entry["level"] for name, entry in coco_categories(args.masks).items()}
    attend = None
    if args.model:
        from cmask_tf.segmenter import ConceptSegmenter

        attend = seeds_of(ConceptSegmenter.load(args.model))
    found: dict = defaultdict(lambda: defaultdict(list))
    for path, masks in tqdm(load_concept_masks(args.masks, args.images), unit="photo"):
        photo = read_stored(path)
        maps = attend(photo, list(masks)) if attend else {}
        for name, mask in masks.items():
            boxes = tight_boxes(mask)
            row = {
                "whole box": overlap(mask, whole(mask, boxes)),
                "GrabCut, box": overlap(mask, grabcut(photo, boxes)),
            }
            if name in maps:
                row["GrabCut, box and attention"] = overlap(mask, grabcut(photo, boxes, maps[name]))
            found[levels[name]][name].append(row)
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--title", default="level")
    args = parser.parse_args()
    found = measure(args)
    methods = ["whole box", "GrabCut, box"] + ["GrabCut, box and attention"] * bool(args.model)
    print(f"| {args.title} | concepts | masks | " + " | ".join(methods) + " |")
    print("| --- | --- | --- |" + " --- |" * len(methods))
    for level in ("mask", "box", "image", "zero"):
        concepts = {n: rows for n, rows in found[level].items() if len(rows) >= FEWEST}
        means = [
            np.mean([np.mean([row[m] for row in rows]) for rows in concepts.values()]) if concepts else np.nan
            for m in methods
        ]
        masks = sum(map(len, concepts.values()))
        print(
            f"| {level} | {len(concepts)} | {masks} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"
        )


if __name__ == "__main__":
    main()
