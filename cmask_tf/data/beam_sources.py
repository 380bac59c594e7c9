"""The public formats as files of records with keys, for a runner that groups them; no Beam in here.

A source names its files (`feeds`), gives each record a key, so that what belongs to one photo meets in one
worker, and hands the records of a photo to the functions of the local reader (`filler`). An object of these
classes is pickled to the workers: it holds names and paths.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from cmask_tf.data import coco, fields, masks, open_images, tags, visual_genome
from cmask_tf.data.filling import find_any
from cmask_tf.data.placed_faults import PlacedFaults, place
from cmask_tf.data.sources import PhotoFinder, image_size
from cmask_tf.data.spool import Spool
from cmask_tf.data.streams import csv_fields, csv_rows, json_entries
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.tag_files import parse_json


class Record(NamedTuple):
    """One record of a source, as it was read.

    Attributes:
        place: in the source, see `placed_faults.place`.
        file: number of its feed.
        where: file and record, for errors.
        value: what its feed yields.
    """

    place: int
    file: int
    where: str
    value: object


Fill = Callable[[Record, Faults], None]


@dataclass(frozen=True)
class Feed:
    """One file, or folder, of a source.

    Attributes:
        entries: faults -> ("file:record", value) of each, read by one worker from beginning to end.
        key: (value, where) -> what the records of one photo have in common; BadRecord where there is none.
        path: the file, when it can be read in parts, a line a record.
        parse: (line, number of the line, where) -> value, or None for a line that is no record.
    """

    entries: Callable[[Faults], Iterator[tuple[str, object]]]
    key: Callable[[object, str], str]
    path: Path | None = None
    parse: Callable[[bytes, int, str], object] | None = None


class Coco:
    """See `coco.read_coco`. JSON cannot be read in parts: each of two workers reads the whole file."""

    def __init__(self, annotations: Path, images: Path, ids: Path | None = None):
        self.path, self.finder = Path(annotations), PhotoFinder(images)
        self.faults = PlacedFaults()
        self.names = coco.read_categories(self.path, self.faults)
        self.wanted = coco.Wanted(ids)

    @property
    def feeds(self) -> tuple[Feed, ...]:
        return (
            Feed(lambda faults: coco.entries(self.path, "image"), partial(_identifier, keys=("id",))),
            Feed(
                lambda faults: coco.entries(self.path, "annotation"), partial(_identifier, keys=("image_id",))
            ),
        )

    def photo(self, records: Iterable[Record]) -> str:
        """The path of the photo that these records are of: two ids may have one."""
        for record in records:
            if record.file == 0:  # the first counts, also when it is broken
                image = coco.parse_image(record.value, record.where)
                return str(find_any(self.finder, image.names, record.where))
        raise BadRecord("image_id is not among the images", "")

    def filler(self, spool: Spool) -> Fill:
        wanted = self._nothing_met()

        def fill(record: Record, faults: PlacedFaults) -> None:
            entry, where = record.value, record.where
            if record.file == 0:
                coco.fill_image(spool, self.path, entry, self.finder, faults, wanted, where)
                faults.met |= wanted.met
            else:
                coco.fill_annotation(spool, self.path, entry, self.names, faults, where)

        return fill

    def finish(self, faults: PlacedFaults) -> None:
        """Counts what only the whole file tells."""
        wanted = self._nothing_met()
        wanted.met = faults.met
        faults.place = place(1, 0) - 1  # one reader tells it between the images and the annotations
        wanted.tell(faults)

    def _nothing_met(self) -> coco.Wanted:
        wanted = copy(self.wanted)
        wanted.met = set()
        return wanted


class OpenImages:
    """See `open_images.read_open_images`. Files that are not compressed are read in parts; there, a row is
    a line."""

    def __init__(
        self,
        boxes: Path,
        classes: Path,
        images: Path,
        hierarchy: Path | None = None,
        labels: Path | None = None,
    ):
        self.boxes, self.labels, self.finder = Path(boxes), labels and Path(labels), PhotoFinder(images)
        self.faults = PlacedFaults()
        self.names = open_images.read_classes(classes)
        self.concepts = open_images.with_ancestors(
            self.names, open_images.read_hierarchy(hierarchy) if hierarchy else {}
        )

    @property
    def feeds(self) -> tuple[Feed, ...]:
        boxes = self._feed(self.boxes, open_images.BOX)
        return (boxes, self._feed(self.labels, open_images.LABEL)) if self.labels else (boxes,)

    def _feed(self, path: Path, columns: tuple[str, ...]) -> Feed:
        _, head = next(csv_rows(path), (1, []))
        found = open_images.Columns(path, head, columns)

        def parse(line: bytes, number: int, where: str) -> object:
            text = line.decode("utf-8", "surrogateescape")
            try:
                row = csv_fields(text)
            except csv.Error as error:
                raise BadRecord("not a row of CSV", where, str(error)) from None
            return None if not row or number == 1 else found.of(row, where)

        def entries(faults: Faults) -> Iterator[tuple[str, object]]:
            return open_images.rows(path, columns, faults)

        return Feed(entries, lambda row, where: row[0], None if path.suffix == ".gz" else path, parse)

    def filler(self, spool: Spool) -> Fill:
        photos = open_images.Photos(spool, self.boxes, self.finder)

        def fill(record: Record, faults: Faults) -> None:
            if record.file == 0:
                open_images.fill_box(spool, record.value, self.concepts, photos, faults, record.where)
            else:
                open_images.fill_label(spool, record.value, self.names, photos, faults, record.where)

        return fill


class VisualGenome:
    """See `visual_genome.read_visual_genome`. JSON cannot be read in parts: a worker reads each file."""

    def __init__(self, objects: Path, image_data: Path, images: Path, aliases: Path | None = None):
        self.paths, self.finder = (Path(image_data), Path(objects)), PhotoFinder(images)
        self.faults = PlacedFaults()
        self.canonical = visual_genome.read_aliases(aliases) if aliases else {}

    @property
    def feeds(self) -> tuple[Feed, ...]:
        key = partial(_identifier, keys=visual_genome.IDS)
        return tuple(Feed(partial(self._entries, path), key) for path in self.paths)

    def _entries(self, path: Path, faults: Faults) -> Iterator[tuple[str, object]]:
        for number, record in enumerate(json_entries(path), 1):
            yield fields.place(path, "image", record, visual_genome.IDS, number), record

    def photo(self, records: Iterable[Record]) -> str:
        """The path of the photo that these records are of: two ids may have one."""
        for record in records:
            with suppress(BadRecord):  # the first that is not broken counts
                if record.file == 0:
                    _, url, _, _ = visual_genome.parse_size(record.value, record.where)
                    return str(find_any(self.finder, (url,), record.where))
        raise BadRecord("image is not in the image data", "")

    def filler(self, spool: Spool) -> Fill:
        image_data, _ = self.paths

        def fill(record: Record, faults: Faults) -> None:
            value, where = record.value, record.where
            if record.file == 0:
                visual_genome.fill_size(spool, image_data, value, where)
            else:
                visual_genome.fill_record(
                    spool, value, image_data, self.finder, self.canonical, faults, where
                )

        return fill


class Tags:
    """See `tags.read_tags`. JSONL that is not compressed is read in parts, other forms by one worker."""

    def __init__(self, path: Path, images: Path, folded: bool = True):
        self.path, self.finder, self.folded = Path(path), tags.checked_finder(path, images), folded
        self.faults = PlacedFaults()

    @property
    def feeds(self) -> tuple[Feed, ...]:
        splits = self.path.is_file() and self.path.suffix == ".jsonl"
        return (Feed(self._entries, self._key, self.path if splits else None, self._parse),)

    def _entries(self, faults: Faults) -> Iterator[tuple[str, object]]:
        return ((line.where, line) for line in tags.tag_lines(self.path, faults, self.folded))

    def _parse(self, line: bytes, number: int, where: str) -> object:
        if not line.strip():
            return None
        return tags.tag_line(where, *parse_json(line, where), self.folded)

    def _key(self, line: tags.TagLine, where: str) -> str:
        return str(self.finder.find(line.image, where))

    def filler(self, spool: Spool) -> Fill:
        return lambda record, faults: tags.fill_line(spool, record.value, self.finder, faults)


class Masks:
    """See `masks.read_masks`. One worker lists the folder, all of them read its files."""

    def __init__(self, images: Path, masks_folder: Path):
        self.images, self.masks = PhotoFinder(images).images, Path(masks_folder)
        self.faults = PlacedFaults()
        self.labels = masks.read_labels(self.masks)

    @cached_property
    def _photos(self) -> dict[str, str | None]:
        return masks.photo_names(self.images)

    @property
    def feeds(self) -> tuple[Feed, ...]:
        return (Feed(self._entries, lambda path, where: masks.whose(path, self.masks, self._photos)[0]),)

    def _entries(self, faults: Faults) -> Iterator[tuple[str, object]]:
        return ((str(path), path) for path in masks.mask_files(self.masks, faults))

    def filler(self, spool: Spool) -> Fill:
        size_of = lru_cache(1)(image_size)

        def fill(record: Record, faults: Faults) -> None:
            stem, concept = masks.whose(record.value, self.masks, self._photos)
            photo = self.images / self._photos[stem]
            masks.fill_png(spool, record.value, photo, concept, self.labels, size_of(photo), faults)

        return fill


# The local reader of each format, whose arguments the class takes.
SOURCES = {
    coco.read_coco: Coco,
    open_images.read_open_images: OpenImages,
    visual_genome.read_visual_genome: VisualGenome,
    tags.read_tags: Tags,
    masks.read_masks: Masks,
}


def _identifier(entry: object, where: str, keys: tuple[str, ...]) -> str:
    return fields.identifier(fields.mapping(entry, where), keys, where)
