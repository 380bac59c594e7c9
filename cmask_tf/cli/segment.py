"""`cmask segment`: photos and concepts in, masks and an overlay out.

Everything that can be wrong with the input is found before TensorFlow is imported and before anything
is written: the photos that are named, the model's files, the concepts' names, the names of the outputs.
Of a folder the photos are looked at when their turn comes, and what is finished is not done again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmask_tf.cli.model_option import add_model
from cmask_tf.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from cmask_tf.journal import Journal
    from cmask_tf.segmenter import ConceptSegmenter

FORMATS = {
    "png": ("mask", "overlay"),
    "rle": ("rle",),
    "polygon": ("polygon",),
    "coco": ("coco",),
    "rgba": ("rgba",),
    "indexed": ("indexed",),
}
READERS = 2  # photos that are decoded while the network works on another


def add_parser(subparsers) -> None:
    """Adds `cmask segment`."""
    parser = subparsers.add_parser(
        "segment",
        help="segment concepts in photos",
        description="For photo a.jpg and concept 'red hat' writes a.red-hat.png (0/255) and a.overlay.png: "
        "a panel for each concept that was asked for, else one picture of all that were found. "
        "Of folders and patterns, the same command again goes on where it stopped. docs/segment.md",
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        type=Path,
        help="a photo, a folder of photos, or a pattern in quotes ('trip/*.jpg')",
    )
    parser.add_argument(
        "--concept",
        action="append",
        metavar="NAME",
        help="a concept; again for more (default: every concept found present)",
    )
    add_model(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("."), help="default: here")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="png",
        help="png: masks and an overlay; rle, polygon: a JSON file for each photo; coco: one for all; "
        "rgba: the photo cut out; indexed: a PNG of classes for each photo (default: png)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def run(args) -> None:
    """Checks everything, then segments photo by photo."""
    from cmask_tf import model_directory, outputs, photo_files
    from cmask_tf.cli.needs import require
    from cmask_tf.cli.photo_results import tell
    from cmask_tf.imageio import read_image
    from cmask_tf.journal import NAME, Journal

    directory, kinds = model_directory.locate(args.model), FORMATS[args.format]
    if args.format in ("rle", "coco"):
        require("pycocotools", "pycocotools", f"--format {args.format}")
    photos, many = photo_files.find(args.images, args.out), photo_files.are_many(args.images)
    outputs.check(photos, args.concept or [], args.out, kinds)
    for path in args.images:
        if path.is_file():
            read_image(path)
    model_directory.check(directory)
    vocabulary = model_directory.load_vocabulary(directory)
    for name in args.concept or []:
        vocabulary.index(name)
    names = args.concept or vocabulary.names
    if not args.concept:
        outputs.check(photos, names, args.out, kinds)
    numbers = {name: number for number, name in enumerate(names, start=1)}
    if "indexed" in kinds:
        _check_classes(numbers)
    # What decides the outputs; `directory` may be made anew while its name stays.
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    settings = {
        "model": [[str(path.resolve()), *photo_files.stamp(path)] for path in files],
        "concepts": args.concept,
        "format": args.format,
    }
    with Journal(args.out / NAME if many else None, settings) as journal:
        work = _Work(directory, args.concept, args.out, kinds, numbers)
        tell(work.results(photos, journal), len(photos), args.json, summary=many)


class _Work:
    """Segments photos that are not finished."""

    def __init__(
        self,
        directory: Path,
        concepts: Sequence[str] | None,
        out: Path,
        kinds: Sequence[str],
        numbers: Mapping[str, int],
    ):
        self.directory, self.concepts, self.out, self.kinds = directory, concepts, out, kinds
        self.numbers = numbers

    def results(
        self, photos: Sequence[Path], journal: Journal
    ) -> Iterator[tuple[Path, list[dict] | UserError]]:
        """Each photo with its rows, in order; those that the journal holds are not done again."""
        from cmask_tf import coco_file, outputs

        def is_finished(photo: Path) -> bool:
            if not journal.holds(photo):
                return False
            made = outputs.files(photo, journal.read(photo)["rows"], self.out, self.kinds)
            return all(path.is_file() for path in made)

        finished = {photo for photo in photos if is_finished(photo)}
        new = self._new([photo for photo in photos if photo not in finished], journal)
        for photo in photos:
            yield (photo, journal.read(photo)["rows"]) if photo in finished else next(new)
        if "coco" in self.kinds:
            coco_file.write(self.out, photos, journal, self.numbers)

    def _new(self, photos: Sequence[Path], journal: Journal) -> Iterator[tuple[Path, list[dict] | UserError]]:
        from cmask_tf import outputs, photo_files

        if not photos:
            return
        from cmask_tf.segmenter import ConceptSegmenter

        segmenter = ConceptSegmenter.load(self.directory)
        if "indexed" in self.kinds:
            outputs.write_classes(self.out, self.numbers)
        for photo, read in photo_files.ahead(_read, photos, READERS):
            if isinstance(read, UserError):
                yield photo, read
                continue
            seen, image = read
            rows = self._segment(segmenter, photo, image)
            journal.add(photo, seen, image.shape[0], image.shape[1], rows)
            yield photo, rows

    def _segment(self, segmenter: ConceptSegmenter, photo: Path, image: np.ndarray) -> list[dict]:
        """Segments one photo and writes its files; one row a concept."""
        from cmask_tf import outputs

        features = segmenter.encode(image)
        found = segmenter.iterate(self.concepts or segmenter.present(features), features)
        together = not self.concepts
        return outputs.write(photo, image, found, self.out, self.kinds, together, self.numbers)


def _read(photo: Path) -> tuple[list[int], np.ndarray]:
    """The photo's stamp, and its pixels."""
    from cmask_tf.imageio import read_image
    from cmask_tf.photo_files import stamp

    try:
        return stamp(photo), read_image(photo)
    except OSError as error:
        raise UserError(f"{photo}: {error.strerror or error}") from None


def _check_classes(numbers: Mapping[str, int]) -> None:
    from cmask_tf.shapes import MOST_CLASSES

    if len(numbers) > MOST_CLASSES:
        raise UserError(
            f"--format indexed: a PNG has {MOST_CLASSES} classes, not {len(numbers)}: choose with --concept"
        )
