"""`cmask export --format tflite`: a model directory becomes files for LiteRT, as by `export/to_tflite.py`."""

from __future__ import annotations

import json
from pathlib import Path

OPTIONS = ("concepts", "photos")


def add_options(group) -> None:
    """Adds what only this format has."""
    group.add_argument("--concepts", type=int, metavar="K", help="that decode answers at a time (default: 1)")
    group.add_argument(
        "--photos", type=Path, metavar="DIR", help="for int8: a record set or a folder of photos like yours"
    )


def run(args, directory: Path) -> None:
    """Converts and prints what was written."""
    from cmask_tf.export.tflite import export

    concepts = 1 if args.concepts is None else args.concepts
    made = export(directory, args.out, args.variant, concepts, args.photos)
    agreement = made.agreement
    if args.json:
        values = {"files": made.sizes, "agreement": vars(agreement), "nearest_changed": made.changed}
        print(json.dumps({"directory": str(made.directory), **values}, indent=2))
        return
    for name, size in made.sizes.items():
        print(f"{made.directory / name}: written, {size / 1e6:.2f} MB")
    print(
        f"against the model, on a photo: mean difference of a probability {agreement.mask:.1g} (standard "
        f"deviation {agreement.spread:.2g}), largest difference of a score {agreement.score:.1g}"
    )
    print(f"concepts.npz: the nearest other word is another one for {made.changed:.1%} of the words")
