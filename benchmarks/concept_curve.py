"""K concepts of one photo together, the photo encoded once, against K calls that each encode it.

    python benchmarks/concept_curve.py [--photo a.jpg] [--designs paper lite]

Both designs at full size with random weights: 18,000 concepts, `paper` of 4,096 dimensions and `lite` of 512.
A call goes from pixels and word vectors to masks of the photo's size and scores: encode, resolve, then decode
in chunks. Single calls and each K take turns; times are medians. The marginal cost of a concept is the slope
between the smallest and the largest K.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

COUNTS = (1, 2, 5, 10, 20, 40, 80)
DIMS = {"paper": 4_096, "lite": 512}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photo", metavar="FILE", help="by default matplotlib's grace_hopper.jpg")
    parser.add_argument("--designs", nargs="+", choices=list(DIMS), default=list(DIMS))
    parser.add_argument("--rounds", type=int, default=5, help="times that each K is measured")
    args = parser.parse_args()
    from scaled_model import Sizes

    from cmask_tf import config
    from cmask_tf.segmenter import CHUNK

    curves = {}
    for name in args.designs:
        settings = config.load(name, ["backbone.weights=null"])
        sizes = Sizes(settings, concepts=18_000, dim=DIMS[name], boxed=750)
        curves[name] = measure(sizes, args.photo, COUNTS, args.rounds, CHUNK)
    print(report(curves))


def measure(sizes, photo: str | None, counts: tuple[int, ...], rounds: int, chunk: int) -> dict:
    """Median seconds of the photo with each number of concepts ("together"), and of a "single" call.

    Args:
        sizes: of the model, see `scaled_model`.
        photo: a file; None for the default one.
        counts: numbers of concepts.
        rounds: times that each is measured.
        chunk: concepts that are decoded together.
    """
    import scaled_model

    from cmask_tf import geometry
    from cmask_tf.models.combined import ConceptMaskModel

    image = scaled_model.read_photo(photo)
    parts, table = scaled_model.make(sizes, image, seed=0)
    model = ConceptMaskModel(sizes.settings, parts, table)
    words = table.vectors[np.arange(max(counts)) * 7 % sizes.concepts]
    del parts

    def call(count: int) -> float:
        start = time.perf_counter()
        features = model.encode(image)
        for first in range(0, count, chunk):
            parameters = model.resolve(words[first : min(first + chunk, count)])
            rows = np.zeros(len(parameters["theta"]), np.int32)
            masks, scores, _ = model.decode(features, parameters, rows)
            for small in masks.numpy():
                geometry.draw_map(small, np.empty(image.shape[1:3], np.float32))
            scores.numpy()
        return time.perf_counter() - start

    times = {count: [] for count in counts}
    single = []
    for _ in range(rounds + 1):
        for count in counts:
            single.append(call(1))
            times[count].append(call(count))
    together = [statistics.median(times[count][1:]) for count in counts]
    return {"counts": list(counts), "together": together, "single": statistics.median(single[len(counts) :])}


def report(curves: dict[str, dict]) -> str:
    """A table in Markdown for each design."""
    lines = []
    for name, curve in curves.items():
        lines += [f"`{name}`", "", "| concepts | together, s | single calls, s | times less |"]
        lines.append("| ---: | ---: | ---: | ---: |")
        for count, seconds in zip(curve["counts"], curve["together"], strict=True):
            apart = count * curve["single"]
            lines.append(f"| {count} | {seconds:.3f} | {apart:.3f} | {apart / seconds:.2f} |")
        slope = (curve["together"][-1] - curve["together"][0]) / (curve["counts"][-1] - curve["counts"][0])
        lines += [
            "",
            f"A further concept costs {1000 * slope:.1f} ms, a single call {curve['single']:.3f} s.",
        ]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
