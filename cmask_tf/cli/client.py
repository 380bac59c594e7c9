"""`cmask client`: `cmask segment`, with the model on a server. Needs no TensorFlow and no model here."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path


def add_parser(subparsers) -> None:
    """Adds `cmask client`."""
    parser = subparsers.add_parser(
        "client",
        help="segment photos on a server",
        description="Asks TensorFlow Serving or `cmask serve` over gRPC. For photo a.jpg and concept"
        " 'red hat' writes a.red-hat.png (0/255) and a.overlay.png.",
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        type=Path,
        help="a photo, a folder of photos, or a pattern in quotes ('trip/*.jpg')",
    )
    parser.add_argument("--concept", action="append", metavar="NAME", required=True, help="again for more")
    parser.add_argument(
        "--server", metavar="HOST:PORT", default="127.0.0.1:8500", help="its gRPC port (default: %(default)s)"
    )
    parser.add_argument(
        "--model-name", metavar="NAME", default="default", help="the served model (default: %(default)s)"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("."), help="default: here")
    parser.add_argument(
        "--write",
        action="append",
        choices=("mask", "overlay", "rle"),
        help="what to write, again for more: 0/255 PNGs, an overlay, COCO's run lengths in a.rle.json"
        " (default: mask and overlay)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument(
        "--deadline",
        metavar="SECONDS",
        type=_positive(float),
        default=60.0,
        help="for one photo, retries and all (default: 60)",
    )
    parser.add_argument(
        "--jobs", metavar="N", type=_positive(int), default=4, help="photos at a time (default: 4)"
    )
    parser.add_argument(
        "--tls", action="store_true", help="the server's certificate is from a public authority"
    )
    parser.add_argument(
        "--tls-ca", metavar="FILE", type=Path, help="the authority of the server's certificate"
    )
    parser.add_argument("--tls-certificate", metavar="FILE", type=Path, help="the client's own certificate")
    parser.add_argument("--tls-key", metavar="FILE", type=Path, help="the private key of --tls-certificate")


def _positive(kind: type):
    def number(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value < float("inf"):
            raise ArgumentTypeError(f"expected a positive number, not {text!r}")
        return value

    return number


def run(args) -> None:
    """Checks everything that can be checked here, then asks the server photo by photo."""
    from cmask_tf import outputs, photo_files
    from cmask_tf.cli.needs import require
    from cmask_tf.cli.photo_results import tell

    kinds = args.write or ["mask", "overlay"]
    require("grpc", "grpcio", "the client")
    if "overlay" in kinds:
        require("matplotlib", "matplotlib", "--write overlay")
    if "rle" in kinds:
        require("pycocotools", "pycocotools", "--write rle")

    from cmask_tf.serving import client as clients
    from cmask_tf.serving.client_folder import segment_photos

    photos = photo_files.find(args.images, args.out)
    outputs.check(photos, args.concept, args.out, kinds)
    secure = args.tls or args.tls_ca or args.tls_certificate or args.tls_key
    credentials = clients.tls(args.tls_ca, args.tls_certificate, args.tls_key) if secure else None
    options = {"deadline": args.deadline, "credentials": credentials}
    with clients.SegmentClient(args.server, args.model_name, **options) as client:
        results = segment_photos(client, photos, args.concept, args.out, kinds, args.jobs)
        tell(results, len(photos), args.json)
