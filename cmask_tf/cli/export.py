"""`cmask export`: a model directory becomes what other programs load, the same as `export/*.py`."""

from __future__ import annotations

import json
from pathlib import Path

from cmask_tf.cli import export_tflite
from cmask_tf.cli.model_option import add_model


def add_parser(subparsers) -> None:
    """Adds `cmask export`."""
    parser = subparsers.add_parser(
        "export",
        help="write a SavedModel that TensorFlow Serving loads, or TFLite files",
        description="Writes the model as BASE/1, or the next number. The files are read again by a fresh "
        "process and compared with the model; only then does the version appear. With --format tflite BASE "
        "is a new directory for TFLite files, tried in the same way.",
    )
    add_model(parser)
    parser.add_argument(
        "--format", choices=("saved_model", "tflite"), default="saved_model", help="default: saved_model"
    )
    parser.add_argument(
        "--out",
        metavar="BASE",
        type=Path,
        required=True,
        help="where versions are; a server's model base path",
    )
    parser.add_argument("--float16", action="store_true", help="hold the weights in half precision")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    export_tflite.add_options(parser)


def run(args) -> None:
    """Checks the input, exports, prints what was published."""
    from cmask_tf import model_directory

    directory = model_directory.locate(args.model)
    model_directory.check(directory)
    if args.format == "tflite":
        export_tflite.run(args, directory)
        return
    export_tflite.refuse_options(args)

    from cmask_tf.export.saved_model import export

    made = export(directory, args.out, args.float16)
    agreement = made.agreement
    if args.json:
        sizes = {"weights_bytes": made.weights_bytes, "float32_bytes": made.float32_bytes}
        print(json.dumps({"directory": str(made.directory), **sizes, "agreement": vars(agreement)}, indent=2))
        return
    print(f"{made.directory}: written")
    share = made.weights_bytes / made.float32_bytes
    print(f"weights: {made.weights_bytes / 1e6:.1f} MB, {share:.0%} of their size in float32")
    print(
        f"against the model, on a photo: masks at 0.5 IoU {agreement.iou:.4f}; largest difference of a "
        f"probability {agreement.mask:.1g}, of a score {agreement.score:.1g}"
    )
