"""`cmask segment`: photos and concepts in, masks and an overlay out.

Everything that can be wrong with the input is found before TensorFlow is imported and before anything
is written: the photos, the model's files, the concepts' names, the names of the outputs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cmask_tf.errors import UserError


def add_parser(subparsers) -> None:
    """Adds `cmask segment`."""
    parser = subparsers.add_parser(
        "segment",
        help="segment concepts in photos",
        description="For photo a.jpg and concept 'red hat' writes a.red-hat.png (0/255) and a.overlay.png.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", type=Path, help="a photo")
    parser.add_argument(
        "--concept",
        action="append",
        metavar="NAME",
        help="a concept; again for more (default: every concept found present)",
    )
    parser.add_argument("--model", metavar="DIR", help="a model directory")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("."), help="default: here")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def run(args) -> None:
    """Checks everything, then segments photo by photo."""
    from cmask_tf import model_directory
    from cmask_tf.imageio import read_image

    directory = model_directory.locate(args.model)
    _check_outputs(args.images, args.concept or [], args.out)
    for path in args.images:
        read_image(path)
    model_directory.check(directory)
    vocabulary = model_directory.load_vocabulary(directory)
    for name in args.concept or []:
        vocabulary.index(name)
    if not args.concept:
        _check_outputs(args.images, vocabulary.names, args.out)

    from cmask_tf.segmenter import ConceptSegmenter

    segmenter = ConceptSegmenter.load(directory)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in _progress(args.images):
        found = _segment(segmenter, path, args.concept, args.out)
        rows += found
        if not args.json:
            _print(path, found)
    if args.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))


def _check_outputs(images: list[Path], concepts: list[str], out: Path) -> None:
    """Two outputs of one name, or an output over a photo, are an error."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: expected a folder to write to")
    made: dict[Path, str] = {}
    photos = {path.resolve() for path in images}
    for image in images:
        outputs = [(_overlay_path(image, out), f"the overlay of {image}")]
        outputs += [(_mask_path(image, concept, out), f"{image}, {concept}") for concept in concepts]
        for path, origin in outputs:
            if path in made:
                raise UserError(f"{path}: two outputs of one name: {made[path]} and {origin}")
            if path.resolve() in photos:
                raise UserError(f"{path}: the output for {origin} would replace a photo; give another --out")
            made[path] = origin


def _mask_path(image: Path, concept: str, out: Path) -> Path:
    from cmask_tf.vocabulary.text import slug

    return out / f"{image.stem}.{slug(concept)}.png"


def _overlay_path(image: Path, out: Path) -> Path:
    return out / f"{image.stem}.overlay.png"


def _segment(segmenter, path: Path, concepts: list[str] | None, out: Path) -> list[dict]:
    """Segments one photo and writes its files; one row a concept."""
    from cmask_tf.imageio import read_image, write_mask, write_overlay

    image = read_image(path)
    features = segmenter.encode(image)
    rows, panels = [], []
    for name, probability, score, present in segmenter.iterate(
        concepts or segmenter.present(features), features
    ):
        mask, target = probability >= 0.5, _mask_path(path, name, out)
        write_mask(target, mask)
        panels.append((name, mask, score, present))
        rows.append(
            {
                "image": str(path),
                "concept": name,
                "score": score,
                "present": present,
                "known": True,  # a name that is not in the vocabulary was an error before
                "area": int(mask.sum()),
                "mask": str(target),
            }
        )
    write_overlay(_overlay_path(path, out), image, panels)
    return rows


def _progress(images: list[Path]):
    from tqdm import tqdm

    return tqdm(images, "segment", unit="photo", disable=None if len(images) > 1 else True, file=sys.stderr)


def _print(path: Path, rows: list[dict]) -> None:
    if not rows:
        print(f"{path}: no concept found")
    for row in rows:
        found = "found" if row["present"] else "not found"
        print(f"{path}: {row['concept']}: {found} (score {row['score']:.2f}) -> {row['mask']}")
