"""`cmask web`: the model as a page in a browser, the same as `serving/web/app.py`."""

from __future__ import annotations

import socket

from cmask_tf.cli.model_option import add_model
from cmask_tf.errors import UserError


def add_parser(subparsers) -> None:
    """Adds `cmask web`."""
    parser = subparsers.add_parser(
        "web",
        help="try a model in the browser",
        description="Serves a page: drop a photo, type words, see and download masks. Without --server the "
        "model runs in this process; with it, --model only completes the words.",
    )
    add_model(parser)
    parser.add_argument("--server", metavar="HOST:PORT", help="ask this server's gRPC port instead")
    parser.add_argument(
        "--model-name", metavar="NAME", default="default", help="the served model (default: %(default)s)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen at (default: %(default)s, this machine only; 0.0.0.0: everybody)",
    )
    parser.add_argument("--port", metavar="N", type=int, default=7860, help="default: %(default)s")


def run(args) -> None:
    """Checks the address and the model's files, then loads the model and serves until interrupted."""
    from cmask_tf.evaluation.review_page import load_gradio

    _check_address(args.host, args.port)
    load_gradio("cmask web")
    engine = _server(args) if args.server else _local(args.model)
    from cmask_tf.web import launch

    launch.serve(engine, args.host, args.port)


def _check_address(host: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: expected 1 to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{host}, port {port}: {reason}; give another --host or --port") from None


def _local(model: str | None):
    from cmask_tf import model_directory

    directory = model_directory.locate(model)
    model_directory.check(directory)
    from cmask_tf.segmenter import ConceptSegmenter
    from cmask_tf.web.engines import LocalEngine

    return LocalEngine(ConceptSegmenter.load(directory))


def _server(args):
    from cmask_tf import model_directory
    from cmask_tf.web.engines import ServerEngine

    try:
        from cmask_tf.serving.client import SegmentClient
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name}: not installed; --server needs pip install 'cmask-tf[serve]'"
        ) from None
    vocabulary = args.model and model_directory.load_vocabulary(model_directory.locate(args.model))
    return ServerEngine(SegmentClient(args.server, args.model_name), vocabulary)
