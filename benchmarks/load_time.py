"""How long it takes until a model is there, each time in a fresh process: the imports, then the load.

    python benchmarks/load_time.py [--model DIR|PRESET] [--rounds N]

Prints a Markdown table of two ways, by turns in one run: batch normalizations folded as the files are read,
which is what `ConceptSegmenter.load` does, and networks built with them and folded afterwards.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmask_tf import model_directory  # noqa: E402
from cmask_tf.cli import guarded  # noqa: E402

WAYS = ("folded afterwards", "folded as it is read")
PHASES = ("import tensorflow", "import cmask_tf.segmenter", "ConceptSegmenter.load")


def once(way: str, model: Path) -> list[float]:
    """Seconds of each of PHASES in this process, which has imported neither."""
    times = [time.perf_counter()]
    import tensorflow  # noqa: F401

    times.append(time.perf_counter())
    from cmask_tf.segmenter import ConceptSegmenter

    times.append(time.perf_counter())
    load_parts = model_directory.load_parts
    if way == WAYS[0]:
        model_directory.load_parts = lambda path, inference: load_parts(path)
    ConceptSegmenter.load(model)
    times.append(time.perf_counter())
    return [after - before for before, after in zip(times, times[1:], strict=False)]


def main(args: argparse.Namespace) -> None:
    """Measures and prints the table; in the process of one measurement, its seconds."""
    model = model_directory.locate(args.model)
    model_directory.check(model)
    if args.once:
        print(json.dumps(once(args.once, model)))
        return
    seconds = {way: [] for way in WAYS}
    for _ in range(args.rounds):
        for way in WAYS:
            command = [sys.executable, __file__, "--model", str(model), "--once", way]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds[way].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"Seconds, medians of {args.rounds} processes each:\n")
    print(f"| batch normalization | {' | '.join(PHASES)} |")
    print("| --- |" + " ---: |" * len(PHASES))
    for way, rows in seconds.items():
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        print(f"| {way} | {' | '.join(f'{value:.2f}' for value in medians)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="DIR|PRESET", help="default: the preset of the package")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way (default: %(default)s)")
    parser.add_argument("--once", choices=WAYS, help=argparse.SUPPRESS)
    sys.exit(guarded(lambda: main(parser.parse_args())))
