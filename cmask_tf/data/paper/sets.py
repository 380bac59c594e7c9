"""COCO-80, OIVG-750, Weak-Box-670, Weak-Image-50, ZeroTest-10 from the public files (sections 3, 5.1, 5.4).

The rules are in `labels` (what is one concept), `choose` (which concepts, which photos) and `wordnet`
(object, stuff, part). The same files and seed give the same folder, byte for byte.

    OUT/lists/{coco,oivg,weak-box,weak-image,zero-test}.tsv   a concept a line, with kind, level and counts
    OUT/labels.tsv                                            each name of each source, and its concept
    OUT/...                                                   the data folder, see `folder`
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmask_tf.data.paper import labels as label_space
from cmask_tf.data.paper import wordnet
from cmask_tf.data.paper.choose import TEST, TRAIN, VAL, Choice, Chooser, Sizes
from cmask_tf.data.paper.folder import FolderWriter, Written, copy_tags
from cmask_tf.data.paper.labels import Labels
from cmask_tf.data.paper.scan import Scan, read_coco_ids, read_kept_out, scan
from cmask_tf.data.sources import Annotations
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary

LISTS = ("coco", "oivg", "weak-box", "weak-image", "zero-test")
_COLUMNS = ("name", "kind", "level", "train photos", "train objects", "val photos", "test photos")


@dataclass(frozen=True)
class Extras:
    """What may be given beside the annotations.

    Attributes:
        aliases: a file of names that mean one concept, read after the package's own.
        image_data: Visual Genome's, for the COCO ids of the photos that the two share.
        coco_test: a COCO file whose photos are to be in no training record (miniVal2014).
        hierarchy: Open Images' hierarchy; what it calls a Part has kind "part".
        classes: Open Images' class descriptions, the hierarchy's names.
        coco: the COCO file itself; kinds of its categories count before any rule.
        tag_images: the folder of the source "tags".
    """

    aliases: Path | None = None
    image_data: Path | None = None
    coco_test: Path | None = None
    hierarchy: Path | None = None
    classes: Path | None = None
    coco: Path | None = None
    tag_images: Path | None = None


@dataclass
class Report:
    """What was made: the sets' names, and what the folder holds."""

    sets: dict[str, list[str]]
    written: Written
    missing: list[str]
    left_out_tags: int
    faults: dict[str, dict]

    def text(self) -> str:
        """One paragraph."""
        sizes = ", ".join(f"{name} {len(names)}" for name, names in self.sets.items())
        photos = ", ".join(f"{split} {count}" for split, count in self.written.photos.items())
        boxes, masks = (sum(counts.values()) for counts in (self.written.boxes, self.written.masks))
        lines = [f"concepts: {sizes}", f"photos: {photos}; training boxes {boxes}, masks {masks}"]
        lines.append(
            f"tag lines: {self.written.tagged}, {self.left_out_tags} left out (held out, or no tag left)"
        )
        for source, found in self.faults.items():
            for reason, count in (found["bad"] | found["left_out"]).items():
                lines.append(f"{source}: {count} x {reason}, as in {found['examples'][reason][0]}")
        lines += [f"COCO category {name!r} {why}" for name, why in self.missing]
        return "\n".join(lines)


def write_sets(
    read: Callable[[Path], Mapping[str, Annotations]],
    vocabulary: Vocabulary,
    out: Path,
    sizes: Sizes,
    seed: int = 0,
    extras: Extras | None = None,
) -> Report:
    """Makes the sets and writes them, beside `out` first.

    Args:
        read: a work folder -> "coco", "open images", "visual genome" -> what the readers return; and "tags",
            Stage 1's training photos: without them the names of a photo's objects become its tags.
        vocabulary: of the training tags.
        out: a folder that does not exist yet, or is empty.
        sizes: of the sets.
        seed: of the held-out photos.
        extras: see there.

    Raises:
        UserError: what the readers raise, `out` has something in it, or too few concepts.
    """
    out, extras = Path(out), extras or Extras()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: expected a folder that is empty or does not exist yet")
    aliases = label_space.read_aliases(label_space.ALIASES, *filter(None, [extras.aliases]))
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        work = partial / "work"
        work.mkdir(parents=True)
        report = _make(read(work), vocabulary, partial, sizes, seed, extras, aliases)
        shutil.rmtree(work)
        os.replace(partial, out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _make(
    given, vocabulary: Vocabulary, out: Path, sizes: Sizes, seed: int, extras: Extras, aliases
) -> Report:
    sources = dict(given)
    tag_source = sources.pop("tags", None)
    found = scan(sources, seed, read_coco_ids(extras.image_data) if extras.image_data else {})
    labels = label_space.merge(found.photos(), vocabulary, aliases)
    trained = _trained(vocabulary, tag_source)
    tags = [known and name in trained for name, known in zip(labels.names, labels.known, strict=True)]
    choice = Chooser(found, labels, tags, _kept_out(found, extras)).choose(sizes)
    kinds = _kinds(labels, vocabulary, extras)
    zero = set(choice.zero)
    own = None if tag_source else [tag and c not in zero for c, tag in enumerate(tags)]
    writer = FolderWriter(out, found, labels, choice, kinds, own)
    written = writer.write(sources)
    left_out = 0
    if tag_source:
        keep = _keeper({labels.names[c] for c in zero}, vocabulary)
        (out / "images" / "tags").symlink_to(extras.tag_images.resolve())
        held = choice.split != TRAIN
        bounds = set(found.path[held].tolist()), set(found.stem[held].tolist())
        target = out / "tags" / "train.jsonl"
        written.tagged, left_out = copy_tags(tag_source, extras.tag_images, target, keep, bounds)
    sets = _write_lists(out, labels, choice, kinds, written)
    _write_labels(out / "labels.tsv", found, labels)
    faults = {name: source.faults.state() for name, source in given.items()}
    return Report(sets, written, _missing(found, labels, choice), left_out, faults)


def _trained(vocabulary: Vocabulary, source: Annotations | None) -> set[str]:
    """Words that are training tags: those of the tag lines, else all of the vocabulary."""
    if source is None:
        return set(vocabulary.names)
    words = {tag for photo in source.items(0) for tag in getattr(photo, "tags", ())}
    return {vocabulary.names[place] for place in map(vocabulary.find, words) if place is not None}


def _kept_out(found: Scan, extras: Extras) -> np.ndarray:
    """bool [n]: photos of the COCO test file, or of their names, and the pictures that are the same."""
    if not extras.coco_test:
        return np.zeros(len(found.stem), bool)
    _, stems = read_kept_out(extras.coco_test)
    return np.isin(found.stem, stems) | np.isin(found.coco, read_kept_out(extras.coco_test)[0])


def _kinds(labels: Labels, vocabulary: Vocabulary, extras: Extras) -> list[str]:
    """Kind of each concept: COCO's file, the vocabulary, Open Images' parts, WordNet; in this order."""
    given = {}
    if extras.coco:
        from cmask_tf.data.coco import coco_categories

        for name, entry in coco_categories(extras.coco).items():
            if ("coco", name) in labels.of:
                given[labels.of["coco", name]] = entry.get("kind", "unknown")
    parts = {labels.of.get(("open images", name)) for name in _parts(extras)}
    kinds = []
    for concept, name in enumerate(labels.names):
        place = vocabulary.find(name)
        known = "unknown" if place is None else vocabulary.kinds[place]
        guesses = (given.get(concept, "unknown"), known, "part" if concept in parts else "unknown")
        kinds.append(next((kind for kind in guesses if kind != "unknown"), None) or wordnet.kind_of(name))
    return kinds


def _parts(extras: Extras) -> set[str]:
    """Names below a "Part" of Open Images' hierarchy."""
    if not (extras.hierarchy and extras.classes):
        return set()
    from cmask_tf.data.open_images import read_classes
    from cmask_tf.data.sources import read_json

    names, found = read_classes(extras.classes), set()
    todo = [read_json(extras.hierarchy, dict, "Open Images' hierarchy")]
    while todo:
        node = todo.pop()
        found |= {names.get(part.get("LabelName"), "") for part in node.get("Part", [])}
        todo += [*node.get("Part", []), *node.get("Subcategory", [])]
    return found - {""}


def _keeper(zero: set[str], vocabulary: Vocabulary) -> Callable[[str], bool]:
    """Whether a tag may be trained on: it is no spelling of a zero concept."""

    def keep(tag: str) -> bool:
        place = vocabulary.find(tag)
        return tag not in zero and (place is None or vocabulary.names[place] not in zero)

    return keep


def _write_lists(out: Path, labels: Labels, choice: Choice, kinds: list[str], written: Written) -> dict:
    coco = set(choice.coco)
    box = [c for c in choice.oivg if c not in coco]
    sets = dict(zip(LISTS, (choice.coco, choice.oivg, box, choice.image, choice.zero), strict=True))
    held = Counter((concept, split) for (_, concept), split in choice.examples.items())
    (out / "lists").mkdir()

    def trained(name: str, concept: int) -> tuple[int, int]:
        if name == "coco":
            return int(choice.mask_photos[concept]), written.masks.get(concept, 0)
        boxes = written.boxes.get(concept, 0)
        return int(choice.box_photos[concept]) if boxes else 0, boxes

    for name, concepts in sets.items():
        lines = ["\t".join(_COLUMNS)]
        for c in concepts:
            row = (labels.names[c], kinds[c], choice.level(c), *trained(name, c))
            lines.append("\t".join(map(str, (*row, held[c, VAL], held[c, TEST]))))
        (out / "lists" / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: [labels.names[c] for c in concepts] for name, concepts in sets.items()}


def _write_labels(path: Path, found: Scan, labels: Labels) -> None:
    rows = [
        (source, name, photos, found.boxes[source, name], labels.names[labels.of[source, name]])
        for (source, name), photos in sorted(found.photos().items())
    ]
    lines = ["\t".join(("source", "name", "photos", "boxes", "concept"))]
    path.write_text("\n".join(lines + ["\t".join(map(str, row)) for row in rows]) + "\n", encoding="utf-8")


def _missing(found: Scan, labels: Labels, choice: Choice) -> list[tuple[str, str]]:
    """COCO categories that a set lacks, with the reason."""
    missing = []
    for source, name in found.labels:
        concept = labels.of[source, name]
        if source == "coco" and not labels.known[concept]:
            missing.append((name, "is in no list: the vocabulary lacks it"))
        elif source == "coco" and concept not in choice.oivg:
            missing.append(
                (name, "is in no list: Open Images and Visual Genome have no boxes of it to train on")
            )
    return sorted(missing)
