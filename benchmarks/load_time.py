"""How long a model takes to load, each time in a fresh process that has imported TensorFlow.

    python benchmarks/load_time.py [--model DIR|PRESET] [--rounds N]

Prints a Markdown table of two ways, by turns in one run: batch normalizations folded as the files are read,
which is what `ConceptSegmenter.load` does, and networks built with them and folded afterwards.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmask_tf import model_directory  # noqa: E402

WAYS = ("folded afterwards", "folded as it is read")


def load_once(way: str, model: Path) -> float:
    """Seconds of one load in this process."""
    from cmask_tf.segmenter import ConceptSegmenter

    load_parts = model_directory.load_parts
    if way == WAYS[0]:
        model_directory.load_parts = lambda path, inference: load_parts(path)
    began = time.perf_counter()
    ConceptSegmenter.load(model)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="DIR|PRESET")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--once", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = model_directory.locate(args.model)
    if args.once:
        print(load_once(args.once, model))
        return
    seconds = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--model", str(model), "--once", way]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds[way].append(float(done.stdout.split()[-1]))
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    print("| batch normalization | seconds (median) | ratio |\n| --- | --- | --- |")
    for way, value in medians.items():
        print(f"| {way} | {value:.2f} | {value / medians[WAYS[0]]:.2f} |")


if __name__ == "__main__":
    main()
