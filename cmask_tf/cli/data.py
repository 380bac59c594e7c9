"""`cmask data`: annotations in public formats to record sets, whole data folders, and ConceptWorld."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from cmask_tf.cli import sets
from cmask_tf.cli.beam_options import add_beam, check_beam

_PHOTOS = "folder of photos: DIR/PATH for the path given, else without its leading folders, to DIR/NAME"
# sub-command: (help, {option: help}); options are required unless their help says otherwise.
_SOURCES = {
    "coco": (
        "COCO instances",
        {
            "annotations": "instances JSON: polygons or RLE",
            "ids": "only these photos: a line an image id or file name (optional)",
        },
    ),
    "open-images": (
        "Open Images boxes",
        {
            "boxes": "...-annotations-bbox.csv",
            "classes": "class-descriptions-boxable.csv",
            "hierarchy": "bbox_labels_600_hierarchy.json: a box has its class's ancestors too (optional)",
            "labels": "image-level labels CSV, for tags (optional)",
        },
    ),
    "visual-genome": (
        "Visual Genome objects",
        {
            "objects": "objects.json",
            "image-data": "image_data.json",
            "aliases": "object_alias.txt (optional)",
        },
    ),
    "tags": (
        "photos with tags",
        {
            "tags": 'JSONL ({"image": path below DIR, "tags": [text, ...]} a line), CSV or TSV (columns '
            "image and tags, tags parted by ;), also .gz; or DIR itself, whose sub-folders are tags"
        },
    ),
    "masks": (
        "PNG masks",
        {"masks": "folder of PHOTO.CONCEPT.png, PHOTO/CONCEPT.png, or PHOTO.png with labels.txt"},
    ),
}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds `cmask data` to the command line."""
    parser = subparsers.add_parser("data", help="convert annotated photos to records", description=__doc__)
    parser.set_defaults(run=run)
    sources = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for name, (text, options) in _SOURCES.items():
        one = sources.add_parser(name, help=text, description=f"{text} to a record set, one record a photo.")
        one.add_argument("--images", type=Path, required=True, metavar="DIR", help=_PHOTOS)
        for option, meaning in options.items():
            required = not meaning.endswith("(optional)")
            one.add_argument(f"--{option}", type=Path, required=required, metavar="PATH", help=meaning)
        if name == "tags":
            one.add_argument("--no-fold", action="store_true", help="keep the tags' case and spelling")
        one.add_argument("--shards", type=int, metavar="N", help="number of files (default: photos / 1000)")
        add_beam(one, "convert")
        _add_out(one, "folder to write")
    world = sources.add_parser("world", help="procedural scenes in a data folder's layout")
    world.add_argument("--scenes", type=int, required=True, metavar="N", help="number of scenes")
    world.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same scenes")
    world.add_argument("--out", type=Path, required=True, metavar="DIR", help="data folder to write")
    sets.add_parsers(sources)
    whole = sources.add_parser("prepare", help="a data folder to the record sets of all stages")
    whole.add_argument("folder", type=Path, metavar="FOLDER", help="has images/, tags/, coco/ and boxes")
    _add_out(whole, "folder of the record sets tags, boxes, masks and val")


def _add_out(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--strict", action="store_true", help="stop at the first bad record; skip none")
    parser.add_argument("--check", action="store_true", help="also draw check.png: twenty of the records")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=text)
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs one sub-command; returns the exit code."""
    if args.source in sets.COMMANDS:
        sets.run(args)
    elif args.source == "world":
        from cmask_tf.data.world import write_world

        write_world(args.out, args.scenes, args.seed)
    elif args.source == "prepare":
        from cmask_tf.data.prepare import prepare

        written = prepare(args.folder, args.out, args.strict)
        _report({args.out / name: summary for name, summary in written.items()}, args)
    else:
        _report({args.out: _convert(args)}, args)
    return 0


def _convert(args: argparse.Namespace):
    from cmask_tf.data.records import write

    check_beam(args)
    files = {option: getattr(args, option.replace("-", "_")) for option in _SOURCES[args.source][1]}
    inputs = {"images": args.images, **files}
    if args.source == "tags":
        inputs["fold"] = not args.no_fold
    settings = {"inputs": inputs, "source": args.source, "strict": args.strict, "shards": args.shards}
    if args.beam:
        from cmask_tf.data import beam

        return beam.write(_reader(args), args.out, runner=args.beam, options=args.beam_option, **settings)
    return write(_reader(args), args.out, **settings)


def _reader(args: argparse.Namespace) -> partial:
    """(work folder, faults) -> the source. Imported alone: pycocotools is not needed for tags."""
    if args.source == "coco":
        from cmask_tf.data.coco import read_coco

        return partial(read_coco, args.annotations, args.images, ids=args.ids)
    if args.source == "open-images":
        from cmask_tf.data.open_images import read_open_images

        more = {"hierarchy": args.hierarchy, "labels": args.labels}
        return partial(read_open_images, args.boxes, args.classes, args.images, **more)
    if args.source == "visual-genome":
        from cmask_tf.data.visual_genome import read_visual_genome

        files = (args.objects, args.image_data, args.images)
        return partial(read_visual_genome, *files, aliases=args.aliases)
    if args.source == "tags":
        from cmask_tf.data.tags import read_tags

        return partial(read_tags, args.tags, args.images, folded=not args.no_fold)
    from cmask_tf.data.masks import read_masks

    return partial(read_masks, args.images, args.masks)


def _report(written: Mapping[Path, Any], args: argparse.Namespace) -> None:
    from cmask_tf.data.report import paragraph

    if args.check:
        from cmask_tf.data.contact_sheet import write_contact_sheet

        for out in written:
            write_contact_sheet(out)
    summaries = {out: asdict(summary) for out, summary in written.items()}
    if args.json:
        print(json.dumps({str(out): summary for out, summary in summaries.items()}, ensure_ascii=False))
        return
    for out, summary in summaries.items():
        print(paragraph(out, summary))
