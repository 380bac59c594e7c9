"""Two public-domain photos, segmented by the trained preset that the package carries.

python trainers/demo.py --out runs/demo

Prints the `cmask` command that it runs, and in the end where each photo's overlay is.
"""

import argparse
import shlex
import sys
from pathlib import Path

from matplotlib import cbook

from cmask_tf import outputs
from cmask_tf.cli import main as cmask

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"  # SOURCES.txt there says whose they are
CONCEPTS = ("hair", "skin", "hat", "suit", "dress", "bag")


def demo(out: Path) -> int:
    """Writes masks and overlays to `out`; returns the command's exit code."""
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
