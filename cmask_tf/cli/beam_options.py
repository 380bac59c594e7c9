"""The options `--beam` and `--beam-option` of the commands that also run on Apache Beam."""

from __future__ import annotations

import argparse

from cmask_tf.errors import UserError


def add_beam(parser: argparse.ArgumentParser, verb: str) -> None:
    """Adds the options; `args.beam` is None for a run in this process."""
    parser.add_argument(
        "--beam", metavar="RUNNER", help=f"{verb} on Apache Beam: DirectRunner, FlinkRunner, ..."
    )
    parser.add_argument(
        "--beam-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of Beam's own or of the runner's, as direct_num_workers=4; may be repeated",
    )


def check_beam(args: argparse.Namespace) -> None:
    """Tells an option without a runner.

    Raises:
        UserError: of that.
    """
    if args.beam_option and not args.beam:
        raise UserError("--beam-option: expected --beam RUNNER too")
