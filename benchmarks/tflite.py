"""What TFLite's variants cost: size, time and masks beside the float32 model, on the same photos.

    python benchmarks/tflite.py MODEL PHOTOS --ranges RECORDS_OR_FOLDER

All variants are converted (`cmask export --format tflite`), then every step is run on every photo, the model
and the variants in turn; of the times the median ratio over photos is given. IoU is between the masks at 0.5,
for the words that the model finds present.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from cmask_tf.export import tflite  # noqa: E402
from cmask_tf.export.concept_file import photo_squares  # noqa: E402
from cmask_tf.export.tflite_run import runner  # noqa: E402
from cmask_tf.segmenter import ConceptSegmenter  # noqa: E402


def timed(work) -> tuple[object, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of masks [N, S, S] at 0.5, each with its like; two empty ones agree."""
    one, other = one >= 0.5, other >= 0.5
    both, either = (one & other).sum((1, 2)), (one | other).sum((1, 2))
    return np.where(either, both / np.maximum(either, 1), 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a model directory")
    parser.add_argument("photos", type=Path, help="a record set or a folder")
    parser.add_argument(
        "--ranges", type=Path, required=True, help="the same, for int8's ranges: other photos"
    )
    parser.add_argument("--count", type=int, default=20, help="photos (default 20)")
    args = parser.parse_args()
    segmenter = ConceptSegmenter.load(args.model)
    model, entries = segmenter.model, tf.range(len(segmenter.vocabulary))
    count = len(segmenter.vocabulary)
    parameters = model.resolve_entries(entries)
    given = {name: value.numpy() for name, value in parameters.items() if name != "entry"}
    rows = tf.zeros(count, tf.int32)
    with tempfile.TemporaryDirectory() as base:
        steps, sizes = {}, {}
        for variant in tflite.VARIANTS:
            ranges = args.ranges if variant == tflite.INT8 else None
            made = tflite.export(args.model, Path(base) / variant, variant, count, ranges)
            steps[variant] = [runner(made.directory / f"{name}.tflite") for name in ("encode", "decode")]
            sizes[variant] = made.sizes
        seconds = {variant: [] for variant in ("model", *steps)}
        same, scores, masks = ({variant: [] for variant in steps} for _ in range(3))
        squares = photo_squares(args.photos, sorted({*model.sizes, model.size}))()
        for number, (photo, _) in enumerate(zip(squares, range(args.count + 1), strict=False)):
            by_size = {name.removeprefix("image_"): tf.constant(value) for name, value in photo.items()}
            features, encoding = timed(lambda by_size=by_size: model.encode_squares(by_size))
            found, decoding = timed(lambda f=features: [v.numpy() for v in model.decode(f, parameters, rows)])
            times, there = {"model": (encoding, decoding)}, found[1] >= 0.5
            for variant, (encode, decode) in steps.items():
                features, encoding = timed(lambda encode=encode, photo=photo: encode(**photo))
                answer, decoding = timed(lambda decode=decode, f=features: decode(**f, **given))
                times[variant] = encoding, decoding
                same[variant] += iou(answer["mask"], found[0])[there].tolist()
                scores[variant] += np.abs(answer["score"] - found[1]).tolist()
                masks[variant].append(np.abs(answer["mask"] - found[0]).mean())
            if number:  # the first photo warms up
                for variant, pair in times.items():
                    seconds[variant].append(pair)
    print("| variant | encode MB | decode MB | encode, time | decode, time | IoU | mask | score |")
    print("| --- |" + " ---: |" * 7)
    base = np.array(seconds["model"])
    for variant in steps:
        size = [sizes[variant][f"{name}.tflite"] / 1e6 for name in ("encode", "decode")]
        ratio = np.median(np.array(seconds[variant]) / base, axis=0)
        values = np.mean(same[variant]), np.mean(masks[variant]), np.mean(scores[variant])
        print(
            f"| {variant} | {size[0]:.2f} | {size[1]:.2f} | {ratio[0]:.2f} | {ratio[1]:.2f} | "
            f"{values[0]:.4f} | {values[1]:.5f} | {values[2]:.5f} |"
        )
    print(f"{len(base)} photos, {len(same['float32'])} masks, {count} concepts at a time")


if __name__ == "__main__":
    main()
