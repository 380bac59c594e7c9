"""`cmask train`: the three stages, the same as `trainers/*.py`, and one concept more for a finished model."""

from __future__ import annotations

from cmask_tf.cli import train_concept


def add_parser(subparsers) -> None:
    """Adds `cmask train` with one sub-command a stage, and `concept`."""
    from cmask_tf.training import arguments

    parser = subparsers.add_parser("train", help="train one of the three stages, or add a concept")
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for stage, text in arguments.STAGES.items():
        arguments.add_arguments(stages.add_parser(stage, help=text), stage)
    train_concept.add_parser(stages)


def run(args) -> None:
    """Trains the stage that the arguments name."""
    if args.stage == "concept":
        train_concept.run(args)
        return
    from cmask_tf.training import arguments

    arguments.run(args.stage, args)
