"""What a segmented photo becomes on disk: the files' names, the check that none is lost, the writing."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.text import slug

# What a photo's files are called after the photo's own name and a dot; "coco" is one file for all photos.
_OF_A_CONCEPT = {"mask": "{}.png", "rgba": "{}.cutout.png"}
_OF_A_PHOTO = {
    "overlay": "overlay.png",
    "rle": "rle.json",
    "polygon": "polygon.json",
    "indexed": "indexed.png",
}
_OF_ALL = {"coco": "coco.json", "indexed": "classes.json"}
KINDS = (*_OF_A_CONCEPT, *_OF_A_PHOTO, "coco")

Found = tuple[str, np.ndarray, float, bool]


def mask_path(photo: Path, concept: str, out: Path) -> Path:
    """`a.red-hat.png` for photo `a.jpg` and concept "Red hat"."""
    return _path(photo, _OF_A_CONCEPT["mask"].format(slug(concept)), out)


def overlay_path(photo: Path, out: Path) -> Path:
    """`a.overlay.png` for photo `a.jpg`."""
    return _path(photo, _OF_A_PHOTO["overlay"], out)


def coco_path(out: Path) -> Path:
    """The one file of all photos' annotations."""
    return out / _OF_ALL["coco"]


def classes_path(out: Path) -> Path:
    """The file that tells what the numbers in `a.indexed.png` mean."""
    return out / _OF_ALL["indexed"]


def files(photo: Path, rows: Sequence[Mapping], out: Path, kinds: Collection[str]) -> list[Path]:
    """The files that `write` made of a photo when it returned these rows."""
    of_concepts = [Path(row["mask"]) for row in rows if row["mask"]]
    return of_concepts + [_path(photo, name, out) for kind, name in _OF_A_PHOTO.items() if kind in kinds]


def check(
    photos: Sequence[Path], concepts: Sequence[str], out: Path, kinds: Collection[str] = ("mask", "overlay")
) -> None:
    """Looks for files that would be lost, before any work.

    Raises:
        UserError: two outputs of one name, an output over a photo, or `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: expected a folder to write to")
    endings: dict[str, str] = {}
    for ending, origin in _endings(concepts, kinds):
        if ending in endings and photos:
            path, first = _path(photos[0], ending, out), endings[ending]
            raise UserError(f"{path}: two outputs of one name: {first} and {origin}")
        endings[ending] = origin
    stems: dict[str, Path] = {}
    for photo in photos if endings else ():
        namesake = stems.setdefault(photo.stem, photo)
        if namesake is not photo:
            ending, origin = next(iter(endings.items()))
            path = _path(photo, ending, out)
            raise UserError(f"{path}: two outputs of one name: {namesake}, {origin} and {photo}, {origin}")
    _check_photos_stay(photos, stems, endings, out, kinds)


def _endings(concepts: Sequence[str], kinds: Collection[str]) -> Iterable[tuple[str, str]]:
    """What the outputs of any photo are called after its name and a dot, and what they are."""
    for kind, name in _OF_A_PHOTO.items():
        if kind in kinds:
            yield name, f"its {kind}"
    for concept in concepts:
        for kind, name in _OF_A_CONCEPT.items():
            if kind in kinds:
                yield name.format(slug(concept)), concept


def _check_photos_stay(
    photos: Sequence[Path],
    stems: Collection[str],
    endings: Collection[str],
    out: Path,
    kinds: Collection[str],
) -> None:
    folder = out.resolve()
    alone = {name for kind, name in _OF_ALL.items() if kind in kinds}
    for photo in photos:
        path = photo.resolve()
        if path.parent != folder:
            continue
        parts = path.name.split(".")
        cuts = ((".".join(parts[:i]), ".".join(parts[i:])) for i in range(1, len(parts)))
        if path.name in alone or any(stem in stems and ending in endings for stem, ending in cuts):
            raise UserError(f"{path}: an output would replace a photo; give another --out")


def write(
    photo: Path,
    image: np.ndarray,
    found: Iterable[Found],
    out: Path,
    kinds: Collection[str] = ("mask", "overlay"),
    together: bool = False,
    numbers: Mapping[str, int] | None = None,
) -> list[dict]:
    """Writes one photo's files, each whole or not at all.

    Args:
        photo: where it came from; its name gives the names of the files.
        image: uint8 RGB [H, W, 3], as a person sees it.
        found: (name, mask bool [H, W] or its probability float32 [H, W], score, present) of each concept.
        out: the folder; made when it is not there.
        kinds: of KINDS: a 0/255 PNG a concept ("mask"), one overlay, one file of COCO's run lengths ("rle")
            or of polygons, the photo cut out for each concept that is present ("rgba"), one PNG of classes
            for those that are present ("indexed"). "coco" writes nothing here: its rows have "segmentation"
            and "bbox".
        together: the overlay is one picture of all concepts with a legend, instead of a panel for each.
        numbers: the class of each concept, 1 to 255; "indexed" needs it.

    Returns:
        One row a concept: image, concept, score, present, known, area in pixels, its share of the photo, and
        the file that has its mask, or None.

    Raises:
        UserError: a file cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        return _Writer(photo, image, out, kinds, numbers or {}).write(found, together)
    except OSError as error:
        raise unwritable(error, out) from None


def unwritable(error: OSError, out: Path) -> UserError:
    """The line for a file that the system does not let us write."""
    return UserError(f"{error.filename or out}: cannot be written: {error.strerror or error}")


class _Writer:
    """The files of one photo."""

    def __init__(
        self, photo: Path, image: np.ndarray, out: Path, kinds: Collection[str], numbers: Mapping[str, int]
    ):
        from cmask_tf.shapes import Classes

        self.photo, self.image, self.out, self.kinds, self.numbers = photo, image, out, kinds, numbers
        self.classes = Classes(*image.shape[:2]) if "indexed" in kinds else None

    def write(self, found: Iterable[Found], together: bool) -> list[dict]:
        # Pillow is not needed to check names.
        from cmask_tf.imageio import write_overlay
        from cmask_tf.overview import shrunk, write_overview

        rows: list[dict] = []
        panels: list[tuple] = []
        shapes: dict[str, list[dict]] = {kind: [] for kind in ("rle", "polygon") if kind in self.kinds}
        for name, values, score, present in found:
            mask = values if values.dtype == bool else values >= 0.5
            area = int(mask.sum())
            row = {"image": str(self.photo), "concept": name, "score": score, "present": present}
            # An unknown name was an error before.
            row |= {"known": True, "area": area, "share": area / mask.size, "mask": None}
            row |= self._write_concept(name, values, mask, present)
            if "overlay" in self.kinds:
                panels.append((name, shrunk(mask), score) if together else (name, mask, score, present))
            about = {key: row[key] for key in ("concept", "score", "present", "area")}
            for kind, made in shapes.items():
                made.append(about | _shape(kind, mask))
            rows.append(row)
        if "overlay" in self.kinds:
            (write_overview if together else write_overlay)(
                overlay_path(self.photo, self.out), self.image, panels
            )
        height, width = self.image.shape[:2]
        for kind, made in shapes.items():
            whole = {"image": str(self.photo), "height": height, "width": width, "concepts": made}
            write_json(_path(self.photo, _OF_A_PHOTO[kind], self.out), whole)
        if self.classes is not None:
            self._write_classes(self.classes.numbers)
        return rows

    def _write_concept(self, name: str, values: np.ndarray, mask: np.ndarray, present: bool) -> dict:
        """Writes what is a concept's own; returns what its row has of it."""
        from cmask_tf.imageio import save_png, write_mask

        more: dict = {}
        if "mask" in self.kinds:
            path = mask_path(self.photo, name, self.out)
            write_mask(path, mask)
            more["mask"] = str(path)
        if "rgba" in self.kinds and present:
            from PIL import Image

            from cmask_tf.shapes import cut_out

            path = _path(self.photo, _OF_A_CONCEPT["rgba"].format(slug(name)), self.out)
            save_png(path, Image.fromarray(cut_out(self.image, mask)))
            more["mask"] = str(path)
        if "coco" in self.kinds:
            from cmask_tf.shapes import box, rle

            more |= {"segmentation": rle(mask), "bbox": box(mask)}
        if self.classes is not None and present:
            self.classes.add(self.numbers[name], values.astype(np.float32, copy=False), mask)
            more["mask"] = str(_path(self.photo, _OF_A_PHOTO["indexed"], self.out))
        return more

    def _write_classes(self, numbers: np.ndarray) -> None:
        from PIL import Image

        from cmask_tf.imageio import save_png
        from cmask_tf.shapes import palette

        picture = Image.fromarray(numbers)
        picture.putpalette(palette().tobytes())
        save_png(_path(self.photo, _OF_A_PHOTO["indexed"], self.out), picture)


def lines(photo: Path, rows: Sequence[dict]) -> list[str]:
    """What a person reads of one photo: a line a concept."""
    if not rows:
        return [f"{photo}: no concept found"]
    return [
        f"{photo}: {row['concept']}: {'found' if row['present'] else 'not found'} (score {row['score']:.2f})"
        + (f" -> {row['mask']}" if row["mask"] else "")
        for row in rows
    ]


def write_json(path: Path, value: object) -> None:
    """JSON in one line, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(value) + "\n", encoding="utf-8")  # ASCII: names of files are any bytes
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_classes(out: Path, numbers: Mapping[str, int]) -> None:
    """Writes what the numbers in `a.indexed.png` mean: number, name and colour of each class.

    Raises:
        UserError: it cannot be written.
    """
    from cmask_tf.shapes import NOTHING, palette

    colours = palette().tolist()
    named = {"nothing of these": NOTHING, **numbers}
    classes = [{"id": number, "name": name, "color": colours[number]} for name, number in named.items()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(classes_path(out), classes)
    except OSError as error:
        raise unwritable(error, out) from None


def _shape(kind: str, mask: np.ndarray) -> dict:
    from cmask_tf.shapes import polygons, rle

    return {"segmentation": rle(mask)} if kind == "rle" else {"polygons": polygons(mask)}


def _path(photo: Path, ending: str, out: Path) -> Path:
    return out / f"{photo.stem}.{ending}"
