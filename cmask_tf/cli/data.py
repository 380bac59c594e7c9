"""`cmask data`: annotations in public formats to record sets, whole data folders, and ConceptWorld."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

_PHOTOS = "folder of photos: DIR/PATH for the path given, else without its leading folders, to DIR/NAME"
# sub-command: (help, {option: help}); options are required unless their help says otherwise.
_SOURCES = {
    "coco": ("COCO instances", {"annotations": "instances JSON: polygons or RLE"}),
    "open-images": (
        "Open Images boxes",
        {"boxes": "...-annotations-bbox.csv", "classes": "class-descriptions-boxable.csv"},
    ),
    "visual-genome": (
        "Visual Genome objects",
        {
            "objects": "objects.json",
            "image-data": "image_data.json",
            "aliases": "object_alias.txt (optional)",
        },
    ),
    "tags": ("photos with tags", {"tags": 'JSONL: {"image": path below DIR, "tags": [text, ...]} a line'}),
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
        one.add_argument("--shards", type=int, default=1, metavar="N", help="number of files (default 1)")
        _add_out(one, "folder to write")
    world = sources.add_parser("world", help="procedural scenes in a data folder's layout")
    world.add_argument("--scenes", type=int, required=True, metavar="N", help="number of scenes")
    world.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same scenes")
    world.add_argument("--out", type=Path, required=True, metavar="DIR", help="data folder to write")
    whole = sources.add_parser("prepare", help="a data folder to the record sets of all stages")
    whole.add_argument("folder", type=Path, metavar="FOLDER", help="has images/, tags/, coco/ and boxes")
    _add_out(whole, "folder of the record sets tags, boxes, masks and val")


def _add_out(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=text)
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    """Runs one sub-command; returns the exit code."""
    if args.source == "world":
        from cmask_tf.data.world import write_world

        write_world(args.out, args.scenes, args.seed)
    elif args.source == "prepare":
        from cmask_tf.data.prepare import prepare

        written = prepare(args.folder, args.out)
        _report({args.out / name: summary for name, summary in written.items()}, args.json)
    else:
        from cmask_tf.data.records import write

        _report({args.out: write(_read(args), args.out, args.shards, args.source)}, args.json)
    return 0


def _read(args: argparse.Namespace):
    """The reader of the source, imported alone: pycocotools is not needed for tags."""
    if args.source == "coco":
        from cmask_tf.data.coco import read_coco

        return read_coco(args.annotations, args.images)
    if args.source == "open-images":
        from cmask_tf.data.open_images import read_open_images

        return read_open_images(args.boxes, args.classes, args.images)
    if args.source == "visual-genome":
        from cmask_tf.data.visual_genome import read_visual_genome

        return read_visual_genome(args.objects, args.image_data, args.images, args.aliases)
    if args.source == "tags":
        from cmask_tf.data.tags import read_tags

        return read_tags(args.tags, args.images)
    from cmask_tf.data.masks import read_masks

    return read_masks(args.images, args.masks)


def _report(written: dict[Path, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps({str(out): asdict(summary) for out, summary in written.items()}, ensure_ascii=False))
        return
    for out, summary in written.items():
        left_out = "".join(f", {count} left out: {reason}" for reason, count in summary.skipped.items())
        print(
            f"{out}: {summary.examples} photos, level {summary.level}, {len(summary.concepts)} concepts, "
            f"{len(summary.tags)} tags{left_out}"
        )
