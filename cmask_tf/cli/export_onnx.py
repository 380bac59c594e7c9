"""`cmask export --format onnx`: ONNX files, and TensorRT engines where there is a GPU.

The same as `export/to_tensorrt.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

SIDES = {"B": "engine_photos", "H": "engine_height", "W": "engine_width", "K": "engine_concepts"}
OPTIONS = tuple(SIDES.values())


def add_options(group) -> None:
    """Adds what only this format has."""
    for name, what in zip(OPTIONS, ("photos in a call", "px", "px", "concepts"), strict=True):
        option = f"--{name.replace('_', '-')}"
        group.add_argument(option, metavar=("LEAST", "USUAL", "MOST"), type=int, nargs=3, help=what)


def run(args, directory: Path) -> None:
    """Writes the files, builds the engines or tells how."""
    from cmask_tf.export import engine

    given = {letter: getattr(args, name) for letter, name in SIDES.items()}
    spans = engine.SPANS | {letter: engine.Span(*sizes) for letter, sizes in given.items() if sizes}

    from cmask_tf.export import onnx_files

    written = onnx_files.export(directory, args.out, args.variant == "float16")
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
