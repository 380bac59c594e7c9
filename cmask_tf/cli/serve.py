"""`cmask serve`: the embedded server, the same as `serving/server.py`."""

from __future__ import annotations

from cmask_tf.errors import UserError


def add_parser(subparsers) -> None:
    """Adds `cmask serve`."""
    from cmask_tf.serving import options

    parser = subparsers.add_parser(
        "serve",
        help="serve an exported model over gRPC and REST",
        description="Serves the latest version of a SavedModel as TensorFlow Serving does: the same gRPC, "
        "the same REST, the same names of flags. SIGTERM drains it.",
    )
    options.add_arguments(parser)


def run(args) -> None:
    """Serves until a signal."""
    from cmask_tf.serving import options

    chosen = options.from_arguments(args)
    try:
        from cmask_tf.serving import server  # TensorFlow, only once the arguments hold
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name}: not installed; expected pip install 'cmask-tf[serve]'") from None
    server.run(chosen)
