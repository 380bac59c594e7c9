"""`cmask baseline saliency|closed-set`: trains what a model is compared with."""

from __future__ import annotations

from pathlib import Path

_TEXTS = {
    "saliency": "a saliency network (DSS): where anything is that has a mask, whatever it is",
    "closed-set": "a network with one map for each concept that has masks, and for no other (DeepLabV3+)",
}


def add_parser(subparsers) -> None:
    """Adds `cmask baseline` with one sub-command a baseline."""
    parser = subparsers.add_parser("baseline", help="train a network to compare a model with")
    kinds = parser.add_subparsers(dest="kind", metavar="BASELINE", required=True)
    for kind, text in _TEXTS.items():
        one = kinds.add_parser(
            kind,
            help=text,
            description=f"Trains {text}. It sees as many photos as Stages 2 and 3 of the model together. "
            "Run the same command again to go on after an interruption.",
        )
        one.add_argument("--data", type=Path, required=True, metavar="RECORDS",
                         help="training records, from `cmask data prepare`")  # fmt: skip
        one.add_argument("--like", type=Path, required=True, metavar="DIR",
                         help="the model to compare with: its config and its concepts")  # fmt: skip
        one.add_argument("--out", type=Path, required=True, metavar="DIR",
                         help="where the baseline goes; work in progress is kept in DIR.run")  # fmt: skip
        one.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE",
                         help="override one config field, as in --set segment.batch=8")  # fmt: skip
        if kind == "saliency":
            one.add_argument("--vgg16", metavar="imagenet|random|FILE",
                             help="the published network, over VGG-16 from these weights, "
                             "instead of one over the model's backbone")  # fmt: skip


def run(args) -> None:
    """Checks what can be checked without TensorFlow, then trains."""
    from cmask_tf import config as configs
    from cmask_tf import model_directory
    from cmask_tf.data.records import RecordSet

    model_directory.check(args.like, ())
    config = configs.load(str(args.like / "config.json"), args.set)
    for name in ("masks", "boxes", "val"):
        RecordSet.open(args.data / name)

    from cmask_tf.training import baseline_directory

    vgg16 = args.vgg16 if args.kind == "saliency" else None
    if baseline_directory.finished(args.out, args.kind, config, vgg16 is not None):
        print(f"{args.out}: finished already; remove it to train again")
        return
    from cmask_tf.training.baselines import train_baseline

    train_baseline(args.kind, config, args.data, args.like, args.out, vgg16)
    print(f"{args.out}: written")
