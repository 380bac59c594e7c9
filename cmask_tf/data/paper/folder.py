"""The chosen sets as a data folder that `cmask data prepare` takes; photos are links, nothing is copied.

images/{train,val,test}/      links, SOURCE-ID.jpg
tags/train.jsonl              image tags, without the zero level
openimages/                   OIVG-N's training boxes of both sources, in Open Images' format
coco/instances_train.json     COCO-80's training masks
coco/boxes_{val,test}.json    held-out photos in COCO's format: boxes, and masks where COCO has them
splits/{train,val,test}.tsv   link, source, id, path, concepts that are evaluated
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cmask_tf.data.paper.choose import SPLITS, TEST, TRAIN, VAL, Choice
from cmask_tf.data.paper.labels import Labels
from cmask_tf.data.paper.scan import Scan, hashed, real
from cmask_tf.data.sources import Annotated, Annotations, Object
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord

_COLUMNS = ("ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax", "IsOccluded")
_MORE = ("IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")
_SHORT = {"coco": "coco", "open images": "oi", "visual genome": "vg"}


@dataclass
class Written:
    """What the folder holds: photos of each split, training boxes and masks of each concept."""

    photos: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    boxes: dict[int, int] = field(default_factory=dict)
    masks: dict[int, int] = field(default_factory=dict)
    tagged: int = 0


class FolderWriter:
    """Writes everything but the tags of other photos, in one more pass over the sources.

    Args:
        out: an empty folder.
        scan, labels, choice: what was chosen.
        kinds: of each concept.
        own_tags: a photo's names become its tags, for those who have no tagged photos; of each concept,
            whether it may. None: no tags are written here.
    """

    def __init__(self, out: Path, scan: Scan, labels: Labels, choice: Choice, kinds, own_tags=None):
        self.out, self._scan, self._labels, self._choice = Path(out), scan, labels, choice
        self._kinds, self._own_tags = kinds, own_tags
        self.written = Written()
        self._oivg, self._coco = set(choice.oivg), set(choice.coco)
        self._links = _Links(self.out, scan)
        self._held: dict[int, dict] = {split: {"images": [], "annotations": []} for split in (VAL, TEST)}
        self._tags_of = _PictureTags(scan, labels, choice, own_tags)
        self._examples: dict[int, set[int]] = {}
        for photo, concept in choice.examples:
            self._examples.setdefault(photo, set()).add(concept)

    def write(self, sources: Mapping[str, Annotations]) -> Written:
        """Reads every source once more and writes the folder's files."""
        for name in (*(f"images/{split}" for split in SPLITS), "tags", "openimages", "coco", "splits"):
            (self.out / name).mkdir(parents=True)
        with ExitStack() as files:
            self._splits = [csv.writer(self._open(files, f"splits/{s}.tsv"), "excel-tab") for s in SPLITS]
            self._boxes = csv.writer(
                self._open(files, "openimages/train-annotations-bbox.csv"), lineterminator="\n"
            )
            self._boxes.writerow(_COLUMNS + _MORE)
            self._tags = self._open(files, "tags/train.jsonl") if self._own_tags is not None else None
            masks = _Instances(self.out / "coco" / "instances_train.json", self._categories(self._coco))
            self._masks = files.enter_context(masks)
            for source, annotations in sources.items():
                self._read(source, annotations)
        self._write_classes()
        for split in (VAL, TEST):
            self._write_held(split)
        return self.written

    def _open(self, files: ExitStack, name: str):
        return files.enter_context((self.out / name).open("w", encoding="utf-8", newline=""))

    def _read(self, source: str, annotations: Annotations) -> None:
        rows = tqdm(annotations.items(0), f"writing {source}", annotations.total, delay=2, unit="photo")
        for row, photo in enumerate(rows, self._scan.start[source]):
            if isinstance(photo, BadRecord):
                continue
            things = [(self._labels.of[source, thing.name], thing) for thing in photo.objects]
            split = int(self._choice.split[row])
            if split == TRAIN:
                self._train(source, row, photo, things)
            elif row in self._examples:
                self._hold(source, row, photo, things, split)

    def _train(self, source: str, row: int, photo: Annotated, things: list[tuple[int, Object]]) -> None:
        coco = source == "coco"
        useful = [(c, thing) for c, thing in things if c in (self._coco if coco else self._oivg)]
        tags = self._tags_of.once(int(self._scan.group[row]), coco)
        if not useful and not tags:
            return
        link, new = self._links.link(row, source, photo, "train")
        if new:
            self.written.photos["train"] += 1
            self._splits[TRAIN].writerow([link, source, photo.source_id, real(photo.image), ""])
        if tags:
            line = {"image": f"images/train/{link}", "tags": [self._labels.names[c] for c in tags]}
            self._tags.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.written.tagged += 1
        count = self.written.masks if coco else self.written.boxes
        for concept, _ in useful:
            count[concept] = count.get(concept, 0) + 1
        if coco:
            self._masks.add(link, photo, useful)
            return
        for concept, thing in useful:
            ymin, xmin, ymax, xmax = (f"{side:.6f}" for side in thing.box)
            name = f"/c/{concept}"
            self._boxes.writerow(
                [Path(link).stem, source, name, 1, xmin, xmax, ymin, ymax, 0, 0, int(thing.crowd), 0, 0]
            )

    def _hold(self, source: str, row: int, photo: Annotated, things, split: int) -> None:
        link, _ = self._links.link(row, source, photo, SPLITS[split])
        wanted = self._examples[row]
        self.written.photos[SPLITS[split]] += 1
        names = "|".join(sorted(self._labels.names[concept] for concept in wanted))
        self._splits[split].writerow([link, source, photo.source_id, real(photo.image), names])
        held = self._held[split]
        held["images"].append(_image(len(held["images"]) + 1, link, photo))
        for concept, thing in things:
            if concept in wanted:
                held["annotations"].append(_annotation(held["images"][-1]["id"], concept, thing, photo))

    def _write_classes(self) -> None:
        path = self.out / "openimages" / "class-descriptions-boxable.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerows((f"/c/{concept}", self._labels.names[concept]) for concept in sorted(self._oivg))

    def _write_held(self, split: int) -> None:
        held = self._held[split]
        for number, annotation in enumerate(held["annotations"], 1):
            annotation["id"] = number
        info = {"description": f"{SPLITS[split]} photos: boxes to make pseudo masks from"}
        everything = [c for name in ("coco", "oivg", "image", "zero") for c in getattr(self._choice, name)]
        content = {"info": info, "categories": self._categories(set(everything)), **held}
        (self.out / "coco" / f"boxes_{SPLITS[split]}.json").write_text(json.dumps(content) + "\n")

    def _categories(self, concepts: set[int]) -> list[dict]:
        names, level = self._labels.names, self._choice.level
        return [
            {"id": c + 1, "name": names[c], "kind": self._kinds[c], "level": level(c)}
            for c in sorted(concepts)
        ]


class _Links:
    """Links to photos; a picture that two sources have under one path gets one training link."""

    def __init__(self, out: Path, scan: Scan):
        self._out, self._scan = out, scan
        paths, counts = np.unique(scan.path[scan.source > 0], return_counts=True)
        self._shared = dict.fromkeys(paths[counts > 1].tolist(), "")

    def link(self, row: int, source: str, photo: Annotated, split: str) -> tuple[str, bool]:
        """The link's name, and whether it was made now."""
        key = int(self._scan.path[row])
        shared = source != "coco" and split == "train" and key in self._shared
        if shared and self._shared[key]:
            return self._shared[key], False
        name = f"{_SHORT[source]}-{re.sub(r'[^0-9A-Za-z_.-]', '-', photo.source_id)}.jpg"
        path = self._out / "images" / split / name
        try:
            path.symlink_to(real(photo.image))
        except FileExistsError:
            raise UserError(f"{photo.image}: {source} has two photos of the id {photo.source_id}") from None
        if shared:
            self._shared[key] = name
        return name, True


class _PictureTags:
    """The names of a picture's objects as its tags, over all sources that have it.

    They go to the photo that has the boxes: Stage 2 wants both.
    """

    def __init__(self, scan: Scan, labels: Labels, choice: Choice, own_tags):
        photo, concept, _ = scan.concepts(labels)
        keep = (choice.split[photo] == TRAIN) & np.array(own_tags or [False] * len(labels.names), bool)[
            concept
        ]
        pairs = np.unique(np.stack([scan.group[photo[keep]], concept[keep]]), axis=1)
        self._concepts = pairs[1]
        self._starts = np.searchsorted(pairs[0], np.arange(scan.group.max(initial=-1) + 2))
        self._given = np.zeros(len(self._starts), bool)
        self._boxed = np.zeros(len(self._starts), bool)
        self._boxed[scan.group[photo[keep & (scan.source[photo] > 0)]]] = True

    def once(self, group: int, coco: bool) -> list[int]:
        """Concepts of a picture for the first photo of it, one of COCO's only when there is no other."""
        if self._given[group] or (coco and self._boxed[group]):
            return []
        self._given[group] = True
        return self._concepts[self._starts[group] : self._starts[group + 1]].tolist()


class _Instances:
    """A COCO file that is written photo by photo: two parts side by side, joined at the end."""

    def __init__(self, path: Path, categories: list[dict]):
        self._path, self._categories = path, categories
        self._counts = {"images": 0, "annotations": 0}

    def __enter__(self) -> _Instances:
        self._parts = {
            key: self._path.with_suffix(f".{key}").open("w+", encoding="utf-8") for key in self._counts
        }
        return self

    def add(self, link: str, photo: Annotated, things: list[tuple[int, Object]]) -> None:
        image = _image(self._counts["images"] + 1, link, photo)
        self._append("images", image)
        for concept, thing in things:
            annotation = _annotation(image["id"], concept, thing, photo)
            self._append("annotations", annotation | {"id": self._counts["annotations"] + 1})

    def _append(self, key: str, value: dict) -> None:
        self._parts[key].write((",\n" if self._counts[key] else "") + json.dumps(value))
        self._counts[key] += 1

    def __exit__(self, kind, value, traceback) -> None:
        with self._path.open("w", encoding="utf-8") as file:
            file.write('{"categories": ' + json.dumps(self._categories))
            for key, part in self._parts.items():
                file.write(f', "{key}": [\n')
                part.seek(0)
                shutil.copyfileobj(part, file)
                part.close()
                Path(part.name).unlink()
                file.write("]")
            file.write("}\n")


def _image(number: int, link: str, photo: Annotated) -> dict:
    return {"id": number, "file_name": link, "height": photo.height, "width": photo.width}


def _annotation(image: int, concept: int, thing: Object, photo: Annotated) -> dict:
    found = {"image_id": image, "category_id": concept + 1, "iscrowd": int(thing.crowd)}
    if thing.box:
        ymin, xmin, ymax, xmax = thing.box
        x, y = xmin * photo.width, ymin * photo.height
        found["bbox"] = [x, y, xmax * photo.width - x, ymax * photo.height - y]
    if thing.mask:
        found["segmentation"] = {"size": thing.mask["size"], "counts": thing.mask["counts"].decode()}
    return found


def copy_tags(
    source: Annotations, images: Path, out: Path, keep: Callable[[str], bool], held: tuple[set, set]
) -> tuple[int, int]:
    """Stage 1's tag lines, without held-out photos and without the zero level.

    Args:
        source: photos with tags.
        images: their folder, images/tags of the data folder.
        out: the JSONL file to write.
        keep: tag -> whether it may be trained on.
        held: hashes of real paths, and of stems, of the held-out photos.

    Returns:
        Lines written, photos left out.
    """
    written = left_out = 0
    with out.open("w", encoding="utf-8") as file:
        for photo in tqdm(source.items(0), "writing tags", source.total, delay=2, unit="photo"):
            tags = [tag for tag in getattr(photo, "tags", ()) if keep(tag)]
            if not tags or _is_held(photo.image, held):
                left_out += 1
                continue
            image = "images/tags/" + photo.image.relative_to(images).as_posix()
            file.write(json.dumps({"image": image, "tags": tags}, ensure_ascii=False) + "\n")
            written += 1
    return written, left_out


def _is_held(photo: Path, held: tuple[set, set]) -> bool:
    return hashed("path", real(photo)) in held[0] or hashed("stem", photo.stem) in held[1]
