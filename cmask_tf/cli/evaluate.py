"""`cmask evaluate`: a system's figures on photos whose true masks are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from cmask_tf.cli.model_option import add_model
from cmask_tf.errors import UserError

if TYPE_CHECKING:
    from cmask_tf.evaluation.systems import System

FLOORS = ("whole-image", "position-prior", "grabcut")


def add_parser(subparsers) -> None:
    """Adds `cmask evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a model, or what it is compared with, on photos with true masks",
        description="Measures mask quality per concept and supervision level, presence, and false masks. "
        "Writes metrics.json, examples.csv, report.md and pictures.",
    )
    _add_systems(parser)
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


def _add_systems(parser) -> None:
    systems = parser.add_mutually_exclusive_group()
    add_model(systems)
    systems.add_argument(
        "--baseline", metavar="DIR", type=Path, help="what `cmask baseline` trained: saliency or closed set"
    )
    systems.add_argument(
        "--saliency-maps", metavar="DIR", type=Path, help="a folder of saliency maps, one a photo"
    )
    systems.add_argument(
        "--detections", metavar="FILE.json", type=Path, help="any detector's results in COCO's form"
    )
    systems.add_argument("--floor", choices=FLOORS, help="a prediction that needs no training of a network")
    parser.add_argument(
        "--records",
        metavar="RECORDS",
        type=Path,
        help="the --out of `cmask data prepare`, for --floor position-prior",
    )


def run(args) -> None:
    """Checks the input, evaluates, prints the table of levels."""
    from cmask_tf.evaluation import report

    try:
        from cmask_tf.data.coco import load_concept_masks
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name}: not installed; expected pip install 'cmask-tf[train]'") from None
    model = _model(args)
    _check_records(args)
    report.check_place(args.out)
    load_concept_masks(args.masks, args.images)  # reads and checks the file before TensorFlow is imported

    from cmask_tf.evaluation.evaluate import evaluate

    title, system = _system(args, model)
    floors = _floors(args, model)
    metrics = evaluate(system, args.images, args.masks, args.out, title=title, floors=floors)
    if args.json:
        print(json.dumps(metrics, indent=2, ensure_ascii=False))
        return
    print(report.level_table(metrics))
    print(f"{args.out / 'report.md'}: written")


def _model(args) -> Path | None:
    """The model directory that is scored; None when another system was named."""
    if any((args.baseline, args.saliency_maps, args.detections, args.floor)):
        return None
    from cmask_tf import model_directory

    directory = model_directory.locate(args.model)
    model_directory.check(directory)
    return directory


def _check_records(args) -> None:
    wanted = args.floor == "position-prior"
    if wanted != (args.records is not None):
        raise UserError("--floor position-prior and --records RECORDS: expected both or neither")
    from cmask_tf.data.records import RecordSet

    for folder in filter(None, (args.records, args.baselines)):
        for source in ("masks", "boxes"):
            RecordSet.open(folder / source)


def _system(args, model: Path | None) -> tuple[str, System]:
    """Title and System of the one that was named; only its own libraries are imported."""
    if model is not None:
        from cmask_tf.evaluation.systems import SegmenterSystem
        from cmask_tf.segmenter import ConceptSegmenter

        return args.model or model.name, SegmenterSystem(ConceptSegmenter.load(model))
    if args.baseline is not None:
        from cmask_tf.evaluation.baseline_networks import open_baseline

        return str(args.baseline), open_baseline(args.baseline)
    if args.saliency_maps is not None:
        from cmask_tf.evaluation.saliency_maps import SaliencyMaps

        return str(args.saliency_maps), SaliencyMaps(args.saliency_maps)
    if args.detections is not None:
        from cmask_tf.evaluation.detections import Detections

        return str(args.detections), Detections(args.detections, annotations=args.masks)
    return _floor(args)


def _floor(args) -> tuple[str, System]:
    if args.floor == "grabcut":
        from cmask_tf.evaluation.grabcut import CentreGrabCut

        return "GrabCut from the centre", CentreGrabCut()
    from cmask_tf.evaluation.baselines import PositionPrior, WholeImage

    if args.floor == "whole-image":
        return "whole image", WholeImage()
    return "position prior", PositionPrior(args.records)


def _floors(args, model: Path | None) -> dict:
    """The two systems that never look at the photo, to stand beside."""
    if args.baselines is None:
        return {}
    from cmask_tf import model_directory
    from cmask_tf.evaluation.baselines import PositionPrior, WholeImage

    vocabulary = None if model is None else model_directory.load_vocabulary(model)
    return {"whole image": WholeImage(), "position prior": PositionPrior(args.baselines, vocabulary)}
