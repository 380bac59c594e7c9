"""The command line of Mask R-CNN*: --help and wrong input are answered before Model Garden is imported."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cmask_tf.detectors import recipe
from cmask_tf.errors import UserError

RECIPES = {"paper": recipe.paper, "tiny": recipe.tiny}


def main(argv: Sequence[str] | None = None) -> int:
    """Trains, or predicts. Returns the exit code: 0, or 2 for wrong input, told in one line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    args = _parser().parse_args(argv)
    try:
        {"train": _train, "predict": _predict}[args.action](args)
    except UserError as error:
        print(f"train_maskrcnn: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("train_maskrcnn: interrupted; run the same command to go on", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Mask R-CNN*, the paper's baseline with boxes (5.3).")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    one = actions.add_parser("train", help="train, or go on from the last checkpoint")
    one.add_argument("--data", type=Path, required=True, metavar="RECORDS", help="of `cmask data prepare`")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoints, classes, recipe")
    one.add_argument("--recipe", choices=RECIPES, default="paper", help="tiny: to try the machinery")
    one.add_argument("--batch-size", type=int, metavar="N", help="photos a step, of all GPUs together")
    text = "Model Garden's checkpoint of an ImageNet ResNet-50; without it from scratch"
    one.add_argument("--backbone", type=Path, metavar="CKPT", help=text)
    one = actions.add_parser("predict", help="write a COCO results file")
    one.add_argument("--model", type=Path, required=True, metavar="DIR", help="the --out of train")
    one.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of photos")
    one.add_argument("--masks", type=Path, required=True, metavar="COCO.json", help="names the photos")
    one.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="the results")
    return parser


def _train(args: argparse.Namespace) -> None:
    from cmask_tf.data.records import RecordSet

    chosen = RECIPES[args.recipe]()
    if args.batch_size is not None:
        chosen = dataclasses.replace(chosen, batch_size=args.batch_size)
    for name in ("boxes", "masks"):
        RecordSet.open(args.data / name)
    _expect_model_garden()
    from cmask_tf.detectors.train import train

    train(args.data, args.out, chosen, args.backbone)


def _predict(args: argparse.Namespace) -> None:
    recipe.Recipe.load(args.model)
    _expect_model_garden()
    from cmask_tf.detectors.predict import predict

    count = predict(args.model, args.images, args.masks, args.out)
    print(f"{args.out}: {count} instances")


def _expect_model_garden() -> None:
    try:
        import official.vision.tasks.maskrcnn  # noqa: F401
    except ImportError as error:
        raise UserError(f"Model Garden is missing; pip install 'cmask-tf[detectors]' ({error})") from None
