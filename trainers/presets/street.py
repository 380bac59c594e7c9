"""The preset `street`: every stage of `lite` on the Clothing Co-Parsing folder, and the packed result.

python trainers/presets/street.py --data CCP --out runs/street

Run it again after an interruption; a finished stage is kept in OUT/seed-S. The preset is OUT/street.
"""

import argparse
import signal
import sys
from pathlib import Path

from cmask_tf.cli import guarded
from cmask_tf.presets.packing import pack
from cmask_tf.reproduce.whole import train


def make(data: Path, out: Path, seed: int) -> None:
    """Trains what is missing below OUT, then packs it."""
    model = train(data, out, "lite", [f"seed={seed}"] if seed else [])
    size = pack(model, out / "street")
    print(f"{out / 'street'}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the stage that is running, too
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="CCP", help="the data folder")
    parser.add_argument("--out", type=Path, default=Path("runs/street"), help="receives stages and preset")
    parser.add_argument("--seed", type=int, default=0, help="of all stages (default: 0, the packaged one's)")
    given = parser.parse_args()
    sys.exit(guarded(lambda: make(given.data, given.out, given.seed)))
