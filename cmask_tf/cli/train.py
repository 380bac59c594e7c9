"""`cmask train embedding|refine|segmentation`: the three stages, the same as `trainers/*.py`."""

from __future__ import annotations


def add_parser(subparsers) -> None:
    """Adds `cmask train` with one sub-command a stage."""
    from cmask_tf.training import arguments

    parser = subparsers.add_parser("train", help="train one of the three stages")
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for stage, text in arguments.STAGES.items():
        arguments.add_arguments(stages.add_parser(stage, help=text), stage)


def run(args) -> None:
    """Trains the stage that the arguments name."""
    from cmask_tf.training import arguments

    arguments.run(args.stage, args)
