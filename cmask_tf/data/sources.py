"""What every reader of a public format yields: photos with named boxes, masks and tags (paper section 3).

A reader goes through its source once, into a spool (`data/spool.py`), and gives the photos from there one at
a time: memory does not grow with the source. What cannot be used is a `faults.BadRecord`, counted by reason.

Boxes are (ymin, xmin, ymax, xmax), 0 to 1, of the photo as stored: EXIF orientation is not applied.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord, Faults

Box = tuple[float, float, float, float]
LEVELS = ("mask", "box", "image", "zero")
PHOTOS = (".jpg", ".jpeg", ".png")
NO_PHOTO = "expected a JPEG or PNG photo"
KINDS = ("object", "stuff", "part", "attribute", "action", "unknown")


@dataclass(frozen=True)
class Object:
    """One annotated thing: a folded name with a box, a mask, or both.

    Attributes:
        box: (ymin, xmin, ymax, xmax), 0 to 1, or None.
        mask: pycocotools' compressed RLE ({"size": [H, W], "counts": bytes}), or None.
        crowd: a group that is not told apart (COCO's iscrowd, Open Images' IsGroupOf).
    """

    name: str
    box: Box | None = None
    mask: dict | None = None
    crowd: bool = False


@dataclass(frozen=True)
class Annotated:
    """One photo with everything that a source says of it. Names and tags are folded."""

    image: Path
    source_id: str
    height: int
    width: int
    objects: tuple[Object, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass
class Annotations:
    """A checked source.

    Attributes:
        names: every name that an object of the source has, sorted.
        total: the number of photos to come.
        items: start -> the photos from number `start` on, always the same ones in the same order; a
            `BadRecord` stands in the place of a photo that cannot be read.
        faults: what the reader met.
    """

    names: tuple[str, ...]
    total: int
    items: Callable[[int], Iterator[Annotated | BadRecord]]
    faults: Faults

    @classmethod
    def of(cls, photos: Iterable[Annotated]) -> Annotations:
        """From photos made in Python. They are held in memory; the readers' own are not."""
        photos = list(photos)
        names = {thing.name for photo in photos for thing in photo.objects}
        return cls(tuple(sorted(names)), len(photos), lambda start: iter(photos[start:]), Faults())


class PhotoFinder:
    """Finds photos under one folder by the paths or URLs that annotations give.

    The whole path is tried first, then with its leading folders dropped one by one: `images/train/x.jpg`
    is `DIR/images/train/x.jpg`, else `DIR/train/x.jpg`, else `DIR/x.jpg`.

    Args:
        images: the folder, DIR above.

    Raises:
        UserError: no such folder.
    """

    def __init__(self, images: Path):
        self.images = Path(images)
        if not self.images.is_dir():
            raise UserError(f"{self.images}: no such folder of images")

    def find(self, given: str, where: str) -> Path:
        """The photo's path.

        Raises:
            BadRecord: it is not there; `where` names the file and the record.
        """
        try:
            parts = _parts(given)
        except ValueError as error:  # what looks like a URL and is none
            raise BadRecord("photo is not there", where, f"{given!r:.200}; {error}") from None
        for drop in range(len(parts)):
            path = self.images.joinpath(*parts[drop:])
            if _is_file(path):
                return path
        looked = " or ".join(str(self.images.joinpath(*parts[drop:])) for drop in range(len(parts)))
        raise BadRecord(
            "photo is not there", where, f"{given!r:.200}; expected {looked or 'a file name':.400}"
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is longer than the file system takes
        return False


def _parts(given: str) -> tuple[str, ...]:
    path = urlparse(given).path if "://" in given else given
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return tuple(part for part in parts if part not in ("/", ".", ".."))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the stored pixels, from the file's header.

    Raises:
        BadRecord: the file is not there or not an image.
    """
    from PIL import Image  # heavy: `cmask --help` must not pay for it

    try:
        with Image.open(path) as photo:
            return photo.height, photo.width
    except FileNotFoundError:
        raise BadRecord("photo is not there", str(path)) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise BadRecord(NO_PHOTO, str(path), str(error)) from None


def clip_box(ymin: float, xmin: float, ymax: float, xmax: float) -> Box:
    """A normalised box, cut to the photo. Outside the photo it loses its area."""
    return (_unit(ymin), _unit(xmin), _unit(ymax), _unit(xmax))


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def read_json(path: Path, kind: type, what: str) -> dict | list:
    """The JSON value of a file.

    Args:
        path: the file.
        kind: the type that the outermost value must have.
        what: words for that, for the error.

    Raises:
        UserError: no such file, not JSON, or another type.
    """
    text = read_text(path)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, kind):
        raise UserError(f"{path}: expected {what}")
    return value


def read_text(path: Path) -> str:
    """A file's UTF-8 text.

    Raises:
        UserError: no such file, or not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error})") from None
