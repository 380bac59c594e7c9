"""`cmask tensorrt`: a model directory becomes ONNX files, and TensorRT engines where there is a GPU."""

from __future__ import annotations

import json
from pathlib import Path

from cmask_tf.cli.model_option import add_model
from cmask_tf.errors import UserError

SIDES = {"B": "photos", "H": "height", "W": "width", "K": "concepts"}


def add_parser(subparsers) -> None:
    """Adds `cmask tensorrt`."""
    parser = subparsers.add_parser(
        "tensorrt",
        help="write ONNX files, and build TensorRT engines where there is a GPU",
        description="Writes the model as ONNX files, which a fresh process runs and compares with the model; "
        "only then do they appear. Where TensorRT and a GPU are, their engines are built beside them; where "
        "not, the commands that do it are printed.",
    )
    add_model(parser)
    add = parser.add_argument
    add("--out", metavar="DIR", type=Path, required=True, help="a directory that is not there yet")
    add("--float16", action="store_true", help="write files and engines in half precision too")
    for name, what in zip(SIDES.values(), ("photos in a call", "px", "px", "concepts"), strict=True):
        add(
            f"--{name}",
            metavar=("LEAST", "USUAL", "MOST"),
            type=int,
            nargs=3,
            help=f"{what} that an engine takes, and is made fast for",
        )
    add("--json", action="store_true", help="print the result as JSON")


def run(args) -> None:
    """Checks the input, writes the files, builds the engines or tells how."""
    from cmask_tf import model_directory
    from cmask_tf.export import engine

    directory = model_directory.locate(args.model)
    if (directory / "saved_model.pb").is_file():
        raise UserError(
            f"{directory}: a SavedModel: segment_encoded takes strings (names, encoded images), which do not "
            "convert; give the model directory that it was made from"
        )
    model_directory.check(directory)
    given = {letter: getattr(args, name) for letter, name in SIDES.items()}
    spans = engine.SPANS | {letter: engine.Span(*sizes) for letter, sizes in given.items() if sizes}

    from cmask_tf.export import onnx_files

    written = onnx_files.export(directory, args.out, args.float16)
    steps = [f"{step}{half}" for half in ("", onnx_files.HALF) for step in engine.STEPS]
    files = [args.out / f"{step}.onnx" for step in steps if f"{step}.onnx" in written.files]
    if not args.json:
        _tell(written)
    if hindrance := engine.hindrance():
        commands = [engine.trtexec(file, spans) for file in files]
        if args.json:
            print(json.dumps(_as_json(written) | {"hindrance": hindrance, "commands": commands}, indent=2))
            return
        print(f"no engines: {hindrance}. Where TensorRT is:", *commands, sep="\n")
        return
    engines = [engine.build(file, spans) for file in files]
    if args.json:
        print(json.dumps(_as_json(written) | {"engines": [str(file) for file in engines]}, indent=2))
        return
    for file in engines:
        print(f"{file}: built, {file.stat().st_size / 1e6:.1f} MB")


def _tell(written) -> None:
    for name, size in written.files.items():
        print(f"{written.directory / name}: written, {size / 1e6:.1f} MB")
    for precision, found in written.agreement.items():
        how = "largest difference" if precision == "float32" else "root mean square difference"
        print(
            f"{precision}, against the model on photos: {how} {found.apart:.1g} standard deviations of the "
            f"output ({found.output}), allowed {found.allowed}"
        )


def _as_json(written) -> dict:
    agreement = {precision: vars(found) for precision, found in written.agreement.items()}
    return {"directory": str(written.directory), "files": written.files, "agreement": agreement}
