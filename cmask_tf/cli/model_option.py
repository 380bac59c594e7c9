"""The option `--model`, the same in every command that has it."""

from __future__ import annotations

from cmask_tf import presets


def add_model(parser) -> None:
    """Adds `--model`, which `model_directory.locate` understands."""
    carried = presets.DEFAULT in presets.names()
    default = f" or else a trained preset of this package (default: {presets.DEFAULT})" if carried else ""
    parser.add_argument("--model", metavar="DIR|PRESET", help=f"a model directory{default}")
