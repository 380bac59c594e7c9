"""A data folder to the record sets that the three stages train on.

OUT/tags    tags/train.jsonl: Stage 1 (Stock-18K)
OUT/boxes   Open Images and Visual Genome merged, one record a photo, with its tags: Stage 2 (OIVG-750)
OUT/masks   coco/instances_train.json: Stage 3 (COCO-80)
OUT/val     coco/concept_masks_val.json, tagged with the concepts that are present
OUT/concepts.json   {name: {"level", "kind"}} of the test concepts
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cmask_tf.data.coco import coco_categories, read_coco
from cmask_tf.data.open_images import add_open_images
from cmask_tf.data.records import Summary, replaced, write
from cmask_tf.data.sources import Annotated, Annotations, BoxTable, PhotoFinder
from cmask_tf.data.tags import read_tags, tag_lines
from cmask_tf.data.visual_genome import add_visual_genome
from cmask_tf.errors import UserError

SETS = ("tags", "boxes", "masks", "val")
CONCEPTS = "concepts.json"
_SHARD = 1000  # photos in a shard: about 100 MB of web photos


@dataclass(frozen=True)
class _Folder:
    """Paths of a data folder; those that must be there are checked when they are asked for."""

    root: Path

    def file(self, *parts: str) -> Path:
        path = self.root.joinpath(*parts)
        if not path.is_file():
            raise UserError(f"{path}: missing; expected a data folder, as `cmask data world` writes it")
        return path

    def one(self, folder: str, pattern: str) -> Path:
        found = sorted((self.root / folder).glob(pattern))
        if len(found) != 1:
            raise UserError(f"{self.root / folder}: expected one {pattern}, not {len(found)}")
        return found[0]

    def images(self, split: str) -> Path:
        return self.root / "images" / split


def prepare(folder: Path, out: Path) -> dict[str, Summary]:
    """Converts a whole data folder; everything is read and checked before anything is written.

    `openimages/` and `visual_genome/` may be absent; without both there is no OUT/boxes.

    Args:
        folder: the data folder.
        out: the folder of record sets; one of the same command is replaced.

    Returns:
        Name of each set in `SETS` that was written -> what it holds.

    Raises:
        UserError: a file of the layout is missing, or what the readers raise.
    """
    data = _Folder(Path(folder))
    readers: dict[str, Callable[[_Folder], Annotations | None]] = {
        "tags": lambda data: read_tags(data.file("tags", "train.jsonl"), data.root),
        "boxes": _boxes,
        "masks": lambda data: read_coco(data.file("coco", "instances_train.json"), data.images("train")),
        "val": _val,
    }
    sets = {name: found for name in SETS if (found := readers[name](data)) is not None}
    concepts = _concepts(data)
    with replaced(out, (*SETS, CONCEPTS)) as partial:
        written = {}
        for name, found in sets.items():
            shards = max(1, -(-found.total // _SHARD))
            written[name] = write(found, partial / name, shards, f"{data.root.name} {name}")
        concepts = {name: _entry(name, entry, written) for name, entry in concepts.items()}
        (partial / CONCEPTS).write_text(json.dumps(concepts, indent=1, ensure_ascii=False) + "\n")
    return written


def _boxes(data: _Folder) -> Annotations | None:
    table = BoxTable(data.images("train"))
    if (data.root / "openimages").is_dir():
        boxes = data.one("openimages", "*train-annotations-bbox.csv")
        add_open_images(table, boxes, data.one("openimages", "*class-descriptions-boxable.csv"))
    if (data.root / "visual_genome").is_dir():
        aliases = data.root / "visual_genome" / "object_alias.txt"
        objects, sizes = (data.file("visual_genome", name) for name in ("objects.json", "image_data.json"))
        add_visual_genome(table, objects, sizes, aliases if aliases.is_file() else None)
    photos = set(table.paths())
    return table.annotations(_tags_of(photos, data)) if photos else None


def _tags_of(photos: set[Path], data: _Folder) -> dict[Path, tuple[str, ...]]:
    finder, tags = PhotoFinder(data.root), {}
    for where, image, words in tag_lines(data.file("tags", "train.jsonl")):
        path = finder.find(image, where)
        if path in photos:
            tags[path] = words
    return tags


def _val(data: _Folder) -> Annotations:
    found = read_coco(data.file("coco", "concept_masks_val.json"), data.images("val"))
    return replace(found, items=_tagged(found.items))


def _tagged(photos: Iterator[Annotated]) -> Iterator[Annotated]:
    for photo in photos:
        yield replace(photo, tags=tuple(sorted({thing.name for thing in photo.objects})))


def _concepts(data: _Folder) -> dict[str, dict[str, str]]:
    """Categories that have a level or kind in the val or test masks."""
    concepts: dict[str, dict[str, str]] = {}
    for split in ("val", "test"):
        path = data.root / "coco" / f"concept_masks_{split}.json"
        for name, entry in coco_categories(path).items() if path.is_file() else ():
            if entry and concepts.setdefault(name, entry) != entry:
                raise UserError(f"{path}: category {name}: level and kind differ from concept_masks_val.json")
    return dict(sorted(concepts.items()))


def _entry(name: str, given: dict[str, str], written: dict[str, Summary]) -> dict[str, str]:
    """Level and kind; a level that the file leaves out is the strongest supervision in the records."""
    level = "zero"
    for level_of_set, key in (("image", "tags"), ("box", "boxes"), ("mask", "masks")):
        if key in written and name in (written[key].tags if key == "tags" else written[key].concepts):
            level = level_of_set
    return {"level": level, "kind": "unknown"} | given
