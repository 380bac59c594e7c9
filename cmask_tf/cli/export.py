"""`cmask export`: a model directory becomes what other programs load, the same as `export/*.py`."""

from __future__ import annotations

import json
from pathlib import Path

from cmask_tf.cli import export_onnx, export_tflite
from cmask_tf.cli.model_option import add_model
from cmask_tf.errors import UserError

SAVED_MODEL, TFLITE, ONNX = FORMATS = ("saved_model", "tflite", "onnx")
VARIANTS = {
    SAVED_MODEL: ("float32", "float16"),
    TFLITE: ("float32", "float16", "dynamic", "int8"),
    ONNX: ("float32", "float16"),
}
OWN = {SAVED_MODEL: (), TFLITE: export_tflite.OPTIONS, ONNX: export_onnx.OPTIONS}


def add_parser(subparsers) -> None:
    """Adds `cmask export`."""
    parser = subparsers.add_parser(
        "export",
        help="write a SavedModel for TensorFlow Serving, TFLite files, or ONNX files and TensorRT engines",
        description="Writes the model for other programs. A fresh process reads the files again and compares "
        "them with the model; only then do they appear. Nothing that is there is replaced.",
    )
    add_model(parser)
    add = parser.add_argument
    add(
        "--format",
        choices=FORMATS,
        default=SAVED_MODEL,
        help="default: saved_model; onnx goes on to TensorRT",
    )
    add(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="of a SavedModel the base of its versions, DIR/1 or the next number, which is a server's model "
        "base path; of the others a directory that is not there yet, or empty",
    )
    add(
        "--variant",
        choices=VARIANTS[TFLITE],
        default="float32",
        help="how numbers are held; dynamic and int8 of tflite alone (default: float32)",
    )
    add("--json", action="store_true", help="print the result as JSON")
    export_tflite.add_options(parser.add_argument_group(TFLITE))
    export_onnx.add_options(
        parser.add_argument_group(ONNX, "for TensorRT: what an engine takes, and is made fast for")
    )


def run(args) -> None:
    """Checks the input, exports, prints what was written."""
    _check_options(args)
    from cmask_tf import model_directory

    directory = model_directory.locate(args.model)
    if args.format != SAVED_MODEL and (directory / "saved_model.pb").is_file():
        raise UserError(
            f"{directory}: a SavedModel: segment_encoded takes strings (names, encoded images), which do not "
            "convert; give the model directory that it was made from"
        )
    model_directory.check(directory)
    {SAVED_MODEL: _saved_model, TFLITE: export_tflite.run, ONNX: export_onnx.run}[args.format](
        args, directory
    )


def _check_options(args) -> None:
    """Raises a UserError that names what the format has not."""
    for owner, names in OWN.items():
        for name in names:
            if owner != args.format and getattr(args, name) is not None:
                raise UserError(f"--{name.replace('_', '-')} belongs to --format {owner}, not {args.format}")
    if args.variant not in (known := VARIANTS[args.format]):
        raise UserError(f"--variant {args.variant}: --format {args.format} has {' and '.join(known)}")


def _saved_model(args, directory: Path) -> None:
    from cmask_tf.export.saved_model import export

    made = export(directory, args.out, args.variant == "float16")
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
