"""Two public-domain photos, segmented by the trained preset that the package carries.

python trainers/demo.py --out runs/demo

Prints the `cmask` command that it runs, and in the end where each photo's overlay is. Where the package
carries no preset a model is trained on ConceptWorld, and a scene segmented with it (`demo_train`).
"""

import argparse
import shlex
import sys
from pathlib import Path

import demo_train
from matplotlib import cbook

from cmask_tf import outputs, presets
from cmask_tf.cli import main as cmask

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"  # SOURCES.txt there says whose they are
CONCEPTS = ("hair", "skin", "hat", "suit", "dress", "bag")


def demo(out: Path) -> int:
    """Writes masks and overlays to `out`; returns the exit code of the command that failed, else 0."""
    if presets.DEFAULT not in presets.names():
        print(f"{presets.there_are()}: training a model on ConceptWorld", flush=True)
        return demo_train.demo(out, "tiny")
    hopper = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    photos = (PICTURES / "astronaut.jpg", hopper)
    command = ["segment", *map(str, photos)]
    for name in CONCEPTS:
        command += ["--concept", name]
    command += ["--out", str(out)]
    print(f"$ cmask {shlex.join(command)}", flush=True)
    if code := cmask(command):
        return code
    for photo in photos:
        print(f"Overlay: {outputs.overlay_path(photo, out)}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    sys.exit(demo(parser.parse_args().out))
