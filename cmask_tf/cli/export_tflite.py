"""`cmask export --format tflite`: a model directory becomes files for LiteRT, as by `export/to_tflite.py`."""

from __future__ import annotations

import json
from pathlib import Path

from cmask_tf.errors import UserError

VARIANTS = ("float32", "float16", "dynamic", "int8")


def add_options(parser) -> None:
    """Adds what only this format has."""
    group = parser.add_argument_group("tflite")
    group.add_argument("--variant", choices=VARIANTS, help="how weights are held (default: float32)")
    group.add_argument("--concepts", type=int, metavar="K", help="that decode answers at a time (default: 1)")
    group.add_argument(
        "--photos", type=Path, metavar="DIR", help="for int8: a record set or a folder of photos like yours"
    )


def refuse_options(args) -> None:
    """Raises a UserError where an option of this format is given to another."""
    for name in ("variant", "concepts", "photos"):
        if getattr(args, name) is not None:
            raise UserError(f"--{name} belongs to --format tflite")


def run(args, directory: Path) -> None:
    """Converts and prints what was written."""
    if args.float16:
        raise UserError("--float16 belongs to the SavedModel; here it is --variant float16")
    from cmask_tf.export.tflite import export

    concepts = 1 if args.concepts is None else args.concepts
    made = export(directory, args.out, args.variant or "float32", concepts, args.photos)
    agreement = made.agreement
    if args.json:
        values = {"files": made.sizes, "agreement": vars(agreement), "nearest_changed": made.changed}
        print(json.dumps({"directory": str(made.directory), **values}, indent=2))
        return
    for name, size in made.sizes.items():
        print(f"{made.directory / name}: {size / 1e6:.2f} MB")
    print(
        f"against the model, on a photo: mean difference of a probability {agreement.mask:.1g} (standard "
        f"deviation {agreement.spread:.2g}), largest difference of a score {agreement.score:.1g}"
    )
    print(f"concepts.npz: the nearest other word is another one for {made.changed:.1%} of the words")
