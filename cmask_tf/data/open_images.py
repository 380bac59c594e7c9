"""Open Images boxes (OIVG-750, paper section 3): a CSV of normalised boxes and one of class names.

Reads V4 to V7, also as .gz: columns are found by their names, class descriptions may have a heading.
IsGroupOf becomes crowd; boxes of depictions and of the inside of things count like others; IsOccluded and
IsTruncated are not used. Segmentation masks, relationships and narratives of Open Images are not read.
Several LabelNames of one display name are one concept.

Rows are streamed, about 150,000 a second (100,000 with the hierarchy): the 14.6 million of the training set
take one and a half to two and a half minutes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from cmask_tf.data import fields
from cmask_tf.data.filling import OF_LEFT_OUT, through_spool
from cmask_tf.data.sources import Annotations, Box, PhotoFinder, read_json
from cmask_tf.data.spool import Spool
from cmask_tf.data.streams import csv_rows
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults
from cmask_tf.vocabulary.text import fold

BOX = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf")
LABEL = ("ImageID", "LabelName", "Confidence")
_CORNERS = BOX[2:6]
_MOST = 1 + 1e-6  # what a writer of six decimals may go beyond 1
_FLAGS = {"0": False, "1": True, "-1": False}  # -1: not known
_CONFIDENT = 0.5
_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_open_images(
    boxes: Path,
    classes: Path,
    images: Path,
    work: Path,
    faults: Faults,
    hierarchy: Path | None = None,
    labels: Path | None = None,
) -> Annotations:
    """Every photo that has a box in an Open Images file, once, in the file's order.

    Args:
        boxes: `...-annotations-bbox.csv`.
        classes: `class-descriptions-boxable.csv`, or the longer `class-descriptions.csv`.
        images: the folder of photos, `ImageID.jpg` (.jpeg, .png) each, also in train_0 to train_f.
        work: a folder for the spool; what an earlier run finished there is taken as it is.
        faults: counts what is bad.
        hierarchy: `bbox_labels_600_hierarchy.json`: a box counts for the ancestors of its class too (what
            the class is a kind of, not what it is a part of; without the root, which is no class).
        labels: image-level labels (`...-annotations-human-imagelabels.csv`, or a machine's): those of
            confidence 0.5 and more become tags of the photos that have boxes. 0 means verified absent.

    Raises:
        UserError: a file is not as Open Images' are, or too many of its records; coordinates in pixels are
            the usual case.
    """
    return through_spool(
        work,
        faults,
        lambda spool: fill_open_images(spool, boxes, classes, images, faults, hierarchy, labels),
    )


def fill_open_images(
    spool: Spool,
    boxes: Path,
    classes: Path,
    images: Path,
    faults: Faults,
    hierarchy: Path | None = None,
    labels: Path | None = None,
) -> None:
    """Reads the boxes into a spool; see `read_open_images`."""
    names = read_classes(classes)
    concepts = with_ancestors(names, read_hierarchy(hierarchy) if hierarchy else {})
    photos = Photos(spool, Path(boxes), PhotoFinder(images))
    for where, row in rows(Path(boxes), BOX, faults):
        try:
            fill_box(spool, row, concepts, photos, faults, where)
        except BadRecord as bad:
            faults.skip(bad)
    for where, row in rows(Path(labels), LABEL, faults) if labels is not None else ():
        try:
            fill_label(spool, row, names, photos, faults, where)
        except BadRecord as bad:
            faults.skip(bad)


def fill_box(
    spool: Spool,
    row: Sequence[str],
    concepts: Mapping[str, Sequence[str]],
    photos: Photos,
    faults: Faults,
    where: str,
) -> None:
    """Adds a row of boxes to a spool.

    Args:
        spool: where to.
        row: the fields of `BOX`.
        concepts: of `with_ancestors`.
        photos: of this spool.
        faults: counts it.
        where: file and line.

    Raises:
        BadRecord: broken, of an unknown class, or the first of a photo that is not there.
    """
    image, label, box, crowd = _parse_box(row, where)
    if label not in concepts:
        raise BadRecord("LabelName is not in the class descriptions", where, fields.shown(label))
    photo = photos.row(image, where)
    if not photo:
        faults.leave_out(OF_LEFT_OUT, where)
    elif box[2] <= box[0] or box[3] <= box[1]:
        faults.leave_out("box without area", where)
    else:
        for name in concepts[label]:
            spool.add(photo, name, box, crowd)
        faults.read()


def fill_label(
    spool: Spool, row: Sequence[str], names: Mapping[str, str], photos: Photos, faults: Faults, where: str
) -> None:
    """Adds a row of image-level labels (the fields of `LABEL`) to a spool that has the boxes.

    Raises:
        BadRecord: broken.
    """
    image, label, confidence = _parse_label(row, where)
    if confidence < _CONFIDENT:
        faults.leave_out("label of a confidence below 0.5 (0: verified absent)", where)
    elif label not in names:
        faults.leave_out("label that the class descriptions do not name", where)
    elif not (photo := photos.known(image)):
        faults.leave_out("label of a photo without boxes", where)
    else:
        spool.add_tag(photo, names[label])
        faults.read()


def parse_row(row: Mapping[str, str], where: str) -> tuple[str, str, Box, bool]:
    """(ImageID, LabelName, box, crowd) of a row of boxes.

    Raises:
        BadRecord: coordinates that are not 0 to 1, the smaller one first; a flag that is not 0, 1 or -1.
    """
    return _parse_box([*(row.get(key) or "" for key in BOX[:-1]), row.get(BOX[-1], "-1")], where)


def parse_label(row: Mapping[str, str], where: str) -> tuple[str, str, float]:
    """(ImageID, LabelName, confidence) of a row of image-level labels.

    Raises:
        BadRecord: a confidence that is not 0 to 1.
    """
    return _parse_label([row.get(key) or "" for key in LABEL], where)


def read_classes(classes: Path) -> dict[str, str]:
    """LabelName -> folded display name.

    Raises:
        UserError: no such file, or a line without a name.
    """
    names = {}
    for line, row in csv_rows(Path(classes)):
        # Some copies leave a name's comma unquoted: what follows the first comma is the name.
        label, name = row[0].strip(), fold(",".join(row[1:]))
        try:
            fields.text(name, "DisplayName", f"{classes}:{line}")
        except BadRecord as bad:
            raise UserError(f"{bad}; expected LabelName,DisplayName") from None
        if label != "LabelName":
            names[label] = name
    return names


def read_hierarchy(path: Path) -> dict[str, tuple[str, ...]]:
    """LabelName -> LabelNames of what the class is a kind of, the root left out.

    Raises:
        UserError: no such file, or not a tree of {"LabelName", "Subcategory", "Part"}.
    """
    root = read_json(path, dict, "the tree of class names")
    ancestors: dict[str, dict[str, None]] = {}
    below: list[tuple[object, tuple[str, ...]]] = [(node, ()) for node in _children(root, path)]
    while below:
        node, above = below.pop()
        label = node.get("LabelName") if isinstance(node, dict) else None
        if not isinstance(label, str):
            raise UserError(f"{path}: expected an object with a LabelName, not {fields.shown(node)}")
        ancestors.setdefault(label, {}).update(dict.fromkeys(above))
        below += [(child, (*above, label)) for child in _children(node, path)]
        below += [(part, ()) for part in _children(node, path, "Part")]
    return {label: tuple(found) for label, found in ancestors.items()}


def _children(node: dict, path: Path, key: str = "Subcategory") -> list:
    children = node.get(key, [])
    if not isinstance(children, list):
        raise UserError(f"{path}: {key} is a list, not {fields.shown(children)}")
    return children


def with_ancestors(names: dict[str, str], ancestors: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """LabelName -> the distinct names that its boxes get, its own first."""
    found = {}
    for label, name in names.items():
        above = (names[one] for one in ancestors.get(label, ()) if one in names)
        found[label] = list(dict.fromkeys([name, *above]))
    return found


class Photos:
    """Rows of the spool by ImageID; a photo that is not there is told once."""

    def __init__(self, spool: Spool, boxes: Path, finder: PhotoFinder):
        self._spool, self._boxes, self._images = spool, boxes, finder.images
        self._last: tuple[str, int | None] = ("", None)
        self._layouts = [(folder, suffix) for folder in ("", "train_{}") for suffix in _SUFFIXES]

    def known(self, image: str) -> int | None:
        """The row, 0 for a photo that was left out, None for one that has no boxes."""
        if image != self._last[0]:
            self._last = (image, self._spool.note(self._key(image)))
        return self._last[1]

    def row(self, image: str, where: str) -> int:
        """The row, added when it is new; 0 for a photo that was left out.

        Raises:
            BadRecord: a new photo that is not there.
        """
        if self.known(image) is None:
            self._remember(image, 0)
            self._remember(image, self._spool.photo(self._find(image, where), image))
        return self._last[1]

    def _find(self, image: str, where: str) -> Path:
        for number, (folder, suffix) in enumerate(self._layouts):
            path = os.path.join(self._images, folder.format(image[0]), image + suffix)
            if os.path.isfile(path):
                if number:  # the next photo is likely to lie like this one
                    self._layouts.insert(0, self._layouts.pop(number))
                return Path(path)
        expected = f"{self._images / image}.jpg, .jpeg or .png, or in {self._images / 'train_'}{image[0]}"
        raise BadRecord("photo is not there", where, f"expected {expected}")

    def _remember(self, image: str, row: int) -> None:
        self._spool.add_note(self._key(image), row)
        self._last = (image, row)

    def _key(self, image: str) -> str:
        return f"{self._boxes} image {image}"


class Columns:
    """Where a CSV file has the columns that are read.

    Args:
        path: the file.
        head: its heading.
        columns: `BOX` or `LABEL`.

    Raises:
        UserError: one of them is missing; IsGroupOf may be.
    """

    def __init__(self, path: Path, head: Sequence[str], columns: tuple[str, ...]):
        head = [column.strip() for column in head]
        optional = {"IsGroupOf"}
        missing = [column for column in columns if column not in head and column not in optional]
        if missing:
            raise UserError(f"{path}:1: expected the columns of Open Images; {', '.join(missing)} is missing")
        at = [head.index(column) if column in head else len(head) for column in columns]
        self._pick, self._width, self._padded = itemgetter(*at), len(head), max(at) == len(head)

    def of(self, row: Sequence[str], where: str) -> Sequence[str]:
        """The columns' fields in a row; IsGroupOf is "-1" where the file does not have it.

        Args:
            row: all its fields.
            where: file and line.

        Raises:
            BadRecord: it is no row of this file.
        """
        if row[-1].endswith(("\n", "\r")):
            raise BadRecord("a quote that is not closed on its line", where)
        if len(row) != self._width:
            raise BadRecord("a row has another number of columns than the heading", where, f"{len(row)}")
        return self._pick([*row, "-1"] if self._padded else row)


def rows(path: Path, columns: tuple[str, ...], faults: Faults) -> Iterator[tuple[str, Sequence[str]]]:
    """("file:line", fields of the columns in their order)."""
    lines = csv_rows(path)
    _, head = next(lines, (1, []))
    found = Columns(path, head, columns)
    for line, row in lines:
        where = f"{path}:{line}"
        try:
            yield where, found.of(row, where)
        except BadRecord as bad:
            faults.skip(bad)


def _parse_box(row: Sequence[str], where: str) -> tuple[str, str, Box, bool]:
    image, label, *corners, group = row
    try:
        xmin, xmax, ymin, ymax = map(float, corners)
    except ValueError as error:
        raise BadRecord(f"expected numbers in {', '.join(_CORNERS)}", where, str(error)) from None
    if not (0 <= xmin <= xmax <= _MOST and 0 <= ymin <= ymax <= _MOST):  # not a number fails too
        for corner, value in zip(_CORNERS, (xmin, xmax, ymin, ymax), strict=True):
            if not 0 <= value <= _MOST:
                raise BadRecord("expected 0 to 1 (normalised), not pixels", where, f"{corner} is {value:g}")
        raise BadRecord("expected XMin <= XMax and YMin <= YMax", where)
    if xmax > 1 or ymax > 1:
        xmin, xmax, ymin, ymax = (min(value, 1.0) for value in (xmin, xmax, ymin, ymax))
    crowd = _FLAGS.get(group)
    if crowd is None:
        raise BadRecord("IsGroupOf is 0, 1 or -1", where, fields.shown(group))
    return _image_id(image, where), label, (ymin, xmin, ymax, xmax), crowd


def _parse_label(row: Sequence[str], where: str) -> tuple[str, str, float]:
    image, label, text = row
    try:
        confidence = float(text)
    except ValueError as error:
        raise BadRecord("expected a number in Confidence", where, str(error)) from None
    if not 0 <= confidence <= 1:
        raise BadRecord("Confidence is 0 to 1", where, f"{confidence:g}")
    return _image_id(image, where), label, confidence


def _image_id(image: str, where: str) -> str:
    # Bytes that are no UTF-8 are not printable either.
    if not image or not image.isprintable() or "/" in image or "\\" in image:
        raise BadRecord("expected an ImageID", where, fields.shown(image))
    return image
