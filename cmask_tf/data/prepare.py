"""A data folder to the record sets that the three stages train on.

OUT/tags    tags/train.jsonl (or .csv, .tsv, each also .gz): Stage 1 (Stock-18K)
OUT/boxes   Open Images and Visual Genome merged, one record a photo, with its tags: Stage 2 (OIVG-750)
OUT/masks   coco/instances_train.json: Stage 3 (COCO-80)
OUT/val     coco/concept_masks_val.json, tagged with the concepts that are present
OUT/concepts.json   {name: {"level", "kind"}} of the test concepts
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cmask_tf.data.claim import claimed, write_json
from cmask_tf.data.coco import coco_categories, read_coco
from cmask_tf.data.open_images import fill_open_images
from cmask_tf.data.records import INDEX, Summary, write
from cmask_tf.data.sources import Annotated, Annotations, PhotoFinder
from cmask_tf.data.spool import Spool
from cmask_tf.data.tags import read_tags, tag_lines
from cmask_tf.data.visual_genome import fill_visual_genome
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.tag_files import SUFFIXES

SETS = ("tags", "boxes", "masks", "val")
CONCEPTS = "concepts.json"
_EXPECTED = "a data folder, as `cmask data world` writes it"
_MASKS = "masks in COCO's format; from boxes, `cmask data pseudo-masks` makes them"


@dataclass(frozen=True)
class _Folder:
    """Paths of a data folder; those that must be there are checked when they are asked for."""

    root: Path

    def file(self, *parts: str, expected: str = _EXPECTED) -> Path:
        path = self.root.joinpath(*parts)
        if not path.is_file():
            raise UserError(f"{path}: missing; expected {expected}")
        return path

    def tags(self) -> Path:
        """The one tag file, whatever its form; a missing one is named as JSONL."""
        found = [path for end in SUFFIXES if (path := self.root / "tags" / f"train{end}").is_file()]
        if len(found) > 1:
            raise UserError(f"{found[1]}: beside {found[0].name}; expected one file of tags")
        return found[0] if found else self.file("tags", "train.jsonl")

    def one(self, folder: str, pattern: str) -> Path:
        found = sorted((self.root / folder).glob(pattern))
        if len(found) != 1:
            raise UserError(f"{self.root / folder}: expected one {pattern}, not {len(found)}")
        return found[0]

    def images(self, split: str) -> Path:
        return self.root / "images" / split


@dataclass(frozen=True)
class _Set:
    """How to read one record set; `files` are the files that it is made from, by the readers' names."""

    read: Callable[[Path, Faults], Annotations]
    files: dict[str, Path]


def prepare(folder: Path, out: Path, strict: bool = False) -> dict[str, Summary]:
    """Converts a whole data folder, one set after the other; an interrupted run goes on where it stopped.

    `openimages/` and `visual_genome/` may be absent; without both there is no OUT/boxes.

    Args:
        folder: the data folder.
        out: the folder of record sets; one of the same command is replaced.
        strict: the first bad record is an error.

    Returns:
        Name of each set in `SETS` that was written -> what it holds.

    Raises:
        UserError: a file of the layout is missing, or what the readers raise.
    """
    data = _Folder(Path(folder))
    sets, concepts = _sets(data), _concepts(data)
    inputs = {name: one.files for name, one in sets.items()} | {"concepts": concepts, "strict": strict}
    with claimed(out, (*SETS, CONCEPTS), inputs) as partial:
        written = {}
        for name, one in sets.items():
            if (partial / name / INDEX).is_file():
                written[name] = Summary.load(partial / name)
                continue
            source = f"{data.root.name} {name}"
            written[name] = write(one.read, partial / name, inputs=one.files, source=source, strict=strict)
        leveled = {name: _entry(name, entry, written) for name, entry in concepts.items()}
        write_json(partial / CONCEPTS, leveled, indent=1)
    return written


def _sets(data: _Folder) -> dict[str, _Set]:
    """The sets that the folder has files for, all of which are there."""
    train, tags = data.images("train"), data.tags()
    masks = data.file("coco", "instances_train.json", expected=_MASKS)
    val = data.file("coco", "concept_masks_val.json", expected=_MASKS)
    sets = {"tags": _Set(lambda work, faults: read_tags(tags, data.root, work, faults), {"tags": tags})}
    boxes = _box_files(data)
    if boxes:
        files = boxes | {"tags": tags, "images": train}
        sets["boxes"] = _Set(lambda work, faults: _read_boxes(files, data.root, work, faults), files)
    sets["masks"] = _Set(
        lambda work, faults: read_coco(masks, train, work, faults), {"annotations": masks, "images": train}
    )
    sets["val"] = _Set(
        lambda work, faults: _read_val(val, data.images("val"), work, faults),
        {"annotations": val, "images": data.images("val")},
    )
    return sets


def _box_files(data: _Folder) -> dict[str, Path]:
    files = {}
    if (data.root / "openimages").is_dir():
        files["boxes"] = data.one("openimages", "*train-annotations-bbox.csv")
        files["classes"] = data.one("openimages", "*class-descriptions-boxable.csv")
    if (data.root / "visual_genome").is_dir():
        files["objects"] = data.file("visual_genome", "objects.json")
        files["image_data"] = data.file("visual_genome", "image_data.json")
        aliases = data.root / "visual_genome" / "object_alias.txt"
        if aliases.is_file():
            files["aliases"] = aliases
    return files


def _read_boxes(files: dict[str, Path], root: Path, work: Path, faults: Faults) -> Annotations:
    spool, images = Spool(work / "spool.sqlite"), files["images"]
    if not spool.complete:
        if "boxes" in files:
            fill_open_images(spool, files["boxes"], files["classes"], images, faults)
        if "objects" in files:
            fill_visual_genome(
                spool, files["objects"], files["image_data"], images, faults, files.get("aliases")
            )
        _add_tags(spool, files["tags"], root)
        spool.finish(faults)
    return spool.annotations(faults)


def _add_tags(spool: Spool, tags: Path, root: Path) -> None:
    """Tags to the photos that have boxes; the set of tags has counted what is bad in the file."""
    finder, tagged = PhotoFinder(root), set()
    for line in tag_lines(tags, Faults()):
        try:
            photo = spool.has_photo(finder.find(line.image, line.where))
        except BadRecord:
            continue
        if photo is not None and photo not in tagged:
            tagged.add(photo)
            for tag in line.tags:
                spool.add_tag(photo, tag)


def _read_val(annotations: Path, images: Path, work: Path, faults: Faults) -> Annotations:
    found = read_coco(annotations, images, work, faults)
    return replace(found, items=lambda start: map(_tagged, found.items(start)))


def _tagged(photo: Annotated | BadRecord) -> Annotated | BadRecord:
    """With its concepts as its tags."""
    if isinstance(photo, BadRecord):
        return photo
    return replace(photo, tags=tuple(sorted({thing.name for thing in photo.objects})))


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
