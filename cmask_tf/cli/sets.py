"""`cmask data paper-sets`, `pseudo-masks` and `review`: the paper's sets, and masks to evaluate them on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

COMMANDS = ("paper-sets", "pseudo-masks", "review")
_FILES = {
    "coco": "COCO instances JSON: the concepts with masks",
    "open-images": "Open Images ...-annotations-bbox.csv",
    "classes": "Open Images class-descriptions-boxable.csv",
    "visual-genome": "Visual Genome objects.json",
    "image-data": "Visual Genome image_data.json",
    "vocabulary": "vocabulary directory, as `cmask vocabulary build` writes it",
}
_MORE = {
    "aliases": "object_alias.txt, or any file of names that mean one concept",
    "hierarchy": "Open Images hierarchy JSON: a box has its class's ancestors too",
    "coco-test": "COCO JSON whose photos are to be in no record (miniVal2014)",
    "tags": "tag lines of Stage 1's photos; without them a photo's tags are the names of its objects",
    "tag-images": "folder of the photos of --tags",
}


def add_parsers(sources: argparse._SubParsersAction) -> None:
    """Adds the three sub-commands to `cmask data`."""
    one = sources.add_parser(
        "paper-sets",
        help="COCO-80, OIVG-750, Weak-Box, Weak-Image and ZeroTest from the public files",
        description="The paper's concept sets by rules, as a data folder for `cmask data prepare`.",
    )
    for option, text in _FILES.items():
        one.add_argument(f"--{option}", type=Path, required=True, metavar="PATH", help=text)
    for option, text in _MORE.items():
        one.add_argument(f"--{option}", type=Path, metavar="PATH", help=f"{text} (optional)")
    text = "folder of all photos, or three: of COCO, Open Images and Visual Genome"
    one.add_argument("--images", type=Path, nargs="+", required=True, metavar="DIR", help=text)
    for option, default, text in (
        ("concepts", 750, "concepts with boxes, COCO's among them"),
        ("image-level", 50, "concepts with tags only"),
        ("zero", 10, "concepts that are no training tag"),
        ("seed", 0, "of the held-out photos"),
    ):
        one.add_argument(
            f"--{option}", type=int, default=default, metavar="N", help=f"{text} (default {default})"
        )
    one.add_argument("--strict", action="store_true", help="stop at the first bad record; skip none")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="data folder to write")
    one.add_argument("--json", action="store_true", help="print the sets as JSON")
    _add_masks(sources)


def _add_masks(sources: argparse._SubParsersAction) -> None:
    one = sources.add_parser(
        "pseudo-masks",
        help="masks from boxes, where nobody drew any",
        description="GrabCut from boxes; with --model its attention seeds too.",
    )
    text = "COCO JSON with bbox, or a record set of boxes"
    one.add_argument("--boxes", type=Path, required=True, metavar="FILE|RECORDS", help=text)
    one.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of its photos")
    one.add_argument("--model", metavar="DIR|PRESET", help="a trained model (default: none)")
    one.add_argument("--out", type=Path, required=True, metavar="FILE", help="COCO JSON of masks to write")
    one = sources.add_parser(
        "review",
        help="look through pseudo masks in the browser: accept, reject, repaint",
        description="Serves a page on this machine; decisions are kept in FILE.review.json at once.",
    )
    one.add_argument("file", type=Path, metavar="FILE", help="what `cmask data pseudo-masks` wrote")
    one.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of its photos")
    one.add_argument("--finish", type=Path, metavar="FILE", help="cleaned COCO JSON, when all is decided")
    one.add_argument("--port", type=int, metavar="N", help="of the page (default: the first free one)")


def run(args: argparse.Namespace) -> None:
    """Runs one of `COMMANDS`."""
    {"paper-sets": _paper_sets, "pseudo-masks": _pseudo_masks, "review": _review}[args.source](args)


def _paper_sets(args: argparse.Namespace) -> None:
    from cmask_tf.data.paper.choose import Sizes
    from cmask_tf.data.paper.sets import Extras, write_sets
    from cmask_tf.errors import UserError
    from cmask_tf.vocabulary.artefact import Vocabulary

    if len(args.images) not in (1, 3):
        raise UserError("--images: expected one folder, or three: of COCO, Open Images and Visual Genome")
    if (args.tags is None) != (args.tag_images is None):
        raise UserError("--tags and --tag-images: expected both or neither")
    sizes = Sizes(args.concepts, args.image_level, args.zero)
    for option, size in (("image-level", sizes.image), ("zero", sizes.zero)):
        if size < 0:
            raise UserError(f"--{option} {size}: expected 0 or more")
    extras = Extras(
        args.aliases,
        args.image_data,
        args.coco_test,
        args.hierarchy,
        args.classes,
        args.coco,
        args.tag_images,
    )
    vocabulary = Vocabulary.load(args.vocabulary)
    report = write_sets(lambda work: _read(args, work), vocabulary, args.out, sizes, args.seed, extras)
    print(json.dumps(report.sets, ensure_ascii=False) if args.json else f"{args.out}\n{report.text()}")


def _read(args: argparse.Namespace, work: Path) -> dict:
    """The sources, each read into a spool of its own."""
    from cmask_tf.data.coco import read_coco
    from cmask_tf.data.open_images import read_open_images
    from cmask_tf.data.tags import read_tags
    from cmask_tf.data.visual_genome import read_visual_genome
    from cmask_tf.faults import Faults

    coco, oi, vg = args.images * 3 if len(args.images) == 1 else args.images
    folders = {name: work / name for name in ("coco", "oi", "vg", "tags")}
    for folder in folders.values():
        folder.mkdir()
    found = {
        "coco": read_coco(args.coco, coco, folders["coco"], Faults(args.strict)),
        "open images": read_open_images(
            args.open_images, args.classes, oi, folders["oi"], Faults(args.strict), hierarchy=args.hierarchy
        ),
        "visual genome": read_visual_genome(
            args.visual_genome, args.image_data, vg, folders["vg"], Faults(args.strict)
        ),
    }
    if args.tags:
        found["tags"] = read_tags(args.tags, args.tag_images, folders["tags"], Faults(args.strict))
    return found


def _pseudo_masks(args: argparse.Namespace) -> None:
    from cmask_tf.evaluation.pseudo_masks import make_pseudo_masks, seeds_of

    attention = None
    if args.model:
        from cmask_tf import model_directory

        directory = model_directory.locate(args.model)
        model_directory.check(directory)
        from cmask_tf.segmenter import ConceptSegmenter

        attention = seeds_of(ConceptSegmenter.load(directory))
    made, kept = make_pseudo_masks(args.boxes, args.images, args.out, attention)
    print(f"{args.out}: {made} masks made from boxes, {kept} kept as they were drawn")


def _review(args: argparse.Namespace) -> None:
    from cmask_tf.evaluation.review import Review

    review = Review(args.file, args.images)
    if review.first_undecided() is not None:
        from cmask_tf.evaluation.review_page import build, launch

        launch(build(review, args.finish), args.port)
    elif args.finish:
        counts = ", ".join(f"{n} {verdict}" for verdict, n in review.finish(args.finish).items())
        print(f"{args.finish}: {counts}")
    else:
        print(f"{args.file}: all {len(review)} masks have a verdict; --finish FILE writes the cleaned file")
