"""`cmask segment`: photos and concepts in, masks and an overlay out.

Everything that can be wrong with the input is found before TensorFlow is imported and before anything
is written: the photos, the model's files, the concepts' names, the names of the outputs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cmask_tf.cli.model_option import add_model


def add_parser(subparsers) -> None:
    """Adds `cmask segment`."""
    parser = subparsers.add_parser(
        "segment",
        help="segment concepts in photos",
        description="For photo a.jpg and concept 'red hat' writes a.red-hat.png (0/255) and a.overlay.png: "
        "a panel for each concept that was asked for, else one picture of all that were found.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", type=Path, help="a photo")
    parser.add_argument(
        "--concept",
        action="append",
        metavar="NAME",
        help="a concept; again for more (default: every concept found present)",
    )
    add_model(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("."), help="default: here")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def run(args) -> None:
    """Checks everything, then segments photo by photo."""
    from cmask_tf import model_directory, outputs
    from cmask_tf.imageio import read_image

    directory = model_directory.locate(args.model)
    outputs.check(args.images, args.concept or [], args.out)
    for path in args.images:
        read_image(path)
    model_directory.check(directory)
    vocabulary = model_directory.load_vocabulary(directory)
    for name in args.concept or []:
        vocabulary.index(name)
    if not args.concept:
        outputs.check(args.images, vocabulary.names, args.out)

    from cmask_tf.segmenter import ConceptSegmenter

    segmenter = ConceptSegmenter.load(directory)
    rows = []
    for path in _progress(args.images):
        found = _segment(segmenter, path, args.concept, args.out)
        rows += found
        if not args.json:
            print(*outputs.lines(path, found), sep="\n")
    if args.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))


def _segment(segmenter, path: Path, concepts: list[str] | None, out: Path) -> list[dict]:
    """Segments one photo and writes its files; one row a concept."""
    from cmask_tf import outputs
    from cmask_tf.imageio import read_image

    image = read_image(path)
    features = segmenter.encode(image)
    found = segmenter.iterate(concepts or segmenter.present(features), features)
    masks = ((name, probability >= 0.5, score, present) for name, probability, score, present in found)
    return outputs.write(path, image, masks, out, together=not concepts)


def _progress(images: list[Path]):
    from tqdm import tqdm

    return tqdm(images, "segment", unit="photo", disable=None if len(images) > 1 else True, file=sys.stderr)
