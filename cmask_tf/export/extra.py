"""`assets.extra/provenance.json` and `checksums.json`: where a version came from, and whether it is whole."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from pathlib import Path

from cmask_tf import model_directory
from cmask_tf.models.weights import checksum

PROVENANCE, CHECKSUMS = "provenance.json", "checksums.json"
_PACKAGES = ("cmask-tf", "tensorflow", "keras", "numpy")


def write(directory: Path, model: Path, float16: bool) -> None:
    """Writes both files; call it last, nothing may change afterwards.

    Args:
        directory: the SavedModel.
        model: the model directory it was made from.
        float16: how its weights are held.
    """
    folder = directory / "assets.extra"
    folder.mkdir(exist_ok=True)
    provenance = {
        "model": model_directory.load_provenance(model),
        "export": {
            "weights": "float16" if float16 else "float32",
            "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
            "revision": revision(Path(__file__).parent),
        },
    }
    _write_json(folder / PROVENANCE, provenance)
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    _write_json(
        folder / CHECKSUMS, {file.relative_to(directory).as_posix(): checksum(file) for file in files}
    )


def revision(folder: Path) -> str | None:
    """The commit of the code in a folder, "-dirty" behind it when files differ; None outside a repository."""
    describe = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    # An installed package may lie inside somebody else's repository, which does not track it.
    for arguments in (("ls-files", "--error-unmatch", "."), describe):
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
        except OSError:  # no git here
            return None
        if done.returncode:
            return None
    return done.stdout.strip()


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
