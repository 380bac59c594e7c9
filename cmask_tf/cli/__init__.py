"""The `cmask` command: one module a sub-command, each with `add_parser(subparsers)` and `run(args)`.

Nothing here imports TensorFlow, OpenCV or SciPy: a sub-command imports them in `run`, when its
input was looked at. Wrong input is one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cmask_tf import presets
from cmask_tf.cli.needs import missing
from cmask_tf.errors import UserError

_FOR_THE_USER = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EMFILE,
)

COMMANDS = (
    "segment",
    "concepts",
    "vocabulary",
    "data",
    "train",
    "baseline",
    "evaluate",
    "reproduce",
    "export",
    "serve",
    "client",
    "web",
    "doctor",
)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one `cmask` command.

    Args:
        argv: the arguments after the program's name; those of the process by default.

    Returns:
        The exit code: 0, 2 for wrong input, 75 when another host of a training is gone, 130 when interrupted.
    """
    modules = {name: importlib.import_module(f"cmask_tf.cli.{name}") for name in COMMANDS}
    args = _parser(modules.values()).parse_args(argv)

    def command() -> None:
        if getattr(args, "out", None) is not None:
            presets.keep(Path(args.out))
        modules[args.cmask_command].run(args)

    return guarded(command)


def guarded(command: Callable[[], None]) -> int:
    """Runs what a program does; what goes wrong for its user is one line on stderr.

    Returns:
        The exit code, as of `main`.
    """
    # TensorFlow's notes on the CPU are not for our users, nor its alarm about CUDA where no GPU driver is.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if os.path.exists("/dev/nvidiactl") else "3")
    # A GPU may be shared: memory as it is needed, not all of it at once.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # Names of files are any bytes: what came in goes out.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        command()
        sys.stdout.flush()
    except UserError as error:
        print(f"cmask: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as interrupt:
        print(": ".join(["cmask: interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away; Python would complain again while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        if (line := missing(error.name)) is None:
            raise
        print(f"cmask: error: {line}", file=sys.stderr)
        return 2
    except OSError as error:
        # What a person has to put right; any other is a mistake in the program.
        if error.errno not in _FOR_THE_USER:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"cmask: error: {where}{error.strerror}", file=sys.stderr)
        return 2
    return 0


def _parser(modules) -> argparse.ArgumentParser:
    parser = _Parser(prog="cmask", description="An image and a concept in, the mask out.")
    commands = parser.add_subparsers(dest="cmask_command", metavar="COMMAND", required=True)
    for module in modules:
        module.add_parser(commands)
    return parser
