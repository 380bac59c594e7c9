"""The public formats' files, field by field."""

from __future__ import annotations

import csv
import json
import zlib
from pathlib import Path

from pycocotools import mask as rle

from cmask_tf.data.world.annotate import Box, Notes
from cmask_tf.data.world.concepts import ALIASES, CONCEPTS, MASKED, OPEN_IMAGES, VISUAL_GENOME

_CATEGORY = {name: k for k, name in enumerate(CONCEPTS, start=1)}
_OI_COLUMNS = (
    "ImageID Source LabelName Confidence XMin XMax YMin YMax "
    "IsOccluded IsTruncated IsGroupOf IsDepiction IsInside"
)
_LICENSES = [{"id": 1, "name": "Apache License 2.0", "url": "http://www.apache.org/licenses/LICENSE-2.0"}]


def _dump(path: Path, content) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def _images(notes: list[Notes]) -> list[dict]:
    return [
        {
            "license": 1,
            "file_name": f"{note.image_id:012d}.jpg",
            "height": note.height,
            "width": note.width,
            "id": note.image_id,
        }
        for note in notes
    ]


def _category(name: str, level: bool) -> dict:
    concept = CONCEPTS[name]
    keys = {"supercategory": concept.kind, "id": _CATEGORY[name], "name": name, "kind": concept.kind}
    return keys | ({"level": concept.level} if level else {})


def _coco(description: str, notes: list[Notes], names, annotations: list[dict], level: bool) -> dict:
    return {
        "info": {"description": description, "version": "1.0"},
        "licenses": _LICENSES,
        "images": _images(notes),
        "categories": [_category(name, level) for name in names],
        "annotations": [{"id": k} | annotation for k, annotation in enumerate(annotations, start=1)],
    }


def write_coco_instances(path: Path, notes: list[Notes]) -> None:
    """COCO instances of the mask level: polygons, compressed RLE, and crowds in uncompressed RLE."""
    annotations = [
        {
            "image_id": note.image_id,
            "category_id": _CATEGORY[name],
            "iscrowd": crowd,
            "segmentation": segmentation,
            "area": area,
            "bbox": extent,
        }
        for note in notes
        for name, segmentation, crowd, area, extent in note.instances
    ]
    _dump(path, _coco("ConceptWorld in COCO format, train", notes, MASKED, annotations, level=False))


def write_concept_masks(path: Path, notes: list[Notes], split: str) -> None:
    """COCO format with one RLE per (image, concept); categories carry level and kind."""
    annotations = [
        {
            "image_id": note.image_id,
            "category_id": _CATEGORY[name],
            "iscrowd": 0,
            "segmentation": mask,
            "area": float(rle.area(mask)),
            "bbox": rle.toBbox(mask).tolist(),
        }
        for note in notes
        for name, mask in note.masks.items()
    ]
    description = f"ConceptWorld in COCO format, {split}, one full mask per image and concept"
    _dump(path, _coco(description, notes, CONCEPTS, annotations, level=True))


def write_open_images(folder: Path, notes: list[Notes]) -> None:
    """Normalised boxes of half of the boxed concepts, and the labels' names."""
    labels = {name: f"/m/0world{k:02d}" for k, name in enumerate(OPEN_IMAGES, start=1)}
    with open(folder / "class-descriptions-boxable.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            (label, name.capitalize()) for name, label in labels.items()
        )
    with open(folder / "train-annotations-bbox.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_OI_COLUMNS.split())
        for note in notes:
            table.writerows(
                _open_images_row(note, box, labels[box.name]) for box in note.boxes if box.name in labels
            )


def _open_images_row(note: Notes, box: Box, label: str) -> list:
    sides = (box.left / note.width, box.right / note.width, box.top / note.height, box.bottom / note.height)
    truncated = box.left == 0 or box.top == 0 or box.right == note.width or box.bottom == note.height
    flags = [int(flag) for flag in (box.occluded, truncated, box.group, False, False)]
    return [f"{note.image_id:012d}", "xclick", label, 1, *(f"{side:.6f}" for side in sides), *flags]


def write_visual_genome(folder: Path, notes: list[Notes]) -> None:
    """Boxes in pixels of the other half, some under an alias."""
    objects, images, number = [], [], 1_000_000
    for note in notes:
        file_name = f"{note.image_id:012d}.jpg"
        images.append(
            {"image_id": note.image_id, "url": file_name, "width": note.width, "height": note.height}
        )
        entries = []
        for box in (box for box in note.boxes if box.name in VISUAL_GENOME):
            number += 1
            entries.append(_visual_genome_object(box, number, note.image_id))
        objects.append({"image_id": note.image_id, "image_url": file_name, "objects": entries})
    _dump(folder / "objects.json", objects)
    _dump(folder / "image_data.json", images)
    lines = [",".join((name, *aliases)) for name, aliases in sorted(ALIASES.items())]
    (folder / "object_alias.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _visual_genome_object(box: Box, number: int, image_id: int) -> dict:
    """One object; a quarter go by an alias, chosen by the box alone so that the file is always the same."""
    choice = zlib.crc32(f"{image_id} {box}".encode())
    aliases = ALIASES.get(box.name, ())
    name = aliases[choice // 4 % len(aliases)] if aliases and choice % 4 == 0 else box.name
    return {
        "object_id": number,
        "x": box.left,
        "y": box.top,
        "w": box.right - box.left,
        "h": box.bottom - box.top,
        "names": [name],
        "synsets": [f"{box.name}.n.01"],
        "merged_object_ids": [],
    }
