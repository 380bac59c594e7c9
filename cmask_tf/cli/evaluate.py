"""`cmask evaluate`: a model's figures on photos whose true masks are known."""

from __future__ import annotations

import json
from pathlib import Path


def add_parser(subparsers) -> None:
    """Adds `cmask evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model on photos with true masks",
        description="Measures mask quality per concept and supervision level, presence, and false masks. "
        "Writes metrics.json, report.md and pictures.",
    )
    parser.add_argument("--model", metavar="DIR", help="a model directory")
    parser.add_argument("--images", metavar="DIR", type=Path, required=True, help="the folder of photos")
    parser.add_argument(
        "--masks",
        metavar="COCO.json",
        type=Path,
        required=True,
        help="a COCO instances file; its categories may carry level and kind",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where the report goes")
    parser.add_argument(
        "--baselines",
        metavar="RECORDS",
        type=Path,
        help="the --out of `cmask data prepare`: adds the whole image and the mean training mask or box",
    )
    parser.add_argument("--json", action="store_true", help="print metrics.json instead of the table")


def run(args) -> None:
    """Checks the input, evaluates, prints the table of levels."""
    from cmask_tf import model_directory
    from cmask_tf.data.coco import load_concept_masks
    from cmask_tf.evaluation import report

    directory = model_directory.locate(args.model)
    model_directory.check(directory)
    report.check_place(args.out)
    load_concept_masks(args.masks, args.images)  # reads and checks the file before TensorFlow is imported
    if args.baselines is not None:
        from cmask_tf.data.records import RecordSet

        for source in ("masks", "boxes"):
            RecordSet.open(args.baselines / source)

    from cmask_tf.evaluation.evaluate import evaluate
    from cmask_tf.segmenter import ConceptSegmenter

    segmenter = ConceptSegmenter.load(directory)
    metrics = evaluate(segmenter, args.images, args.masks, args.out, args.baselines)
    if args.json:
        print(json.dumps(metrics, indent=2, ensure_ascii=False))
        return
    print(report.level_table(metrics))
    print(f"{args.out / 'report.md'}: written")
