"""How long the measures take, beside pycocotools' decoding and IoU of the same masks.

    python benchmarks/metrics.py [--photos 5000] [--concepts 3] [--height 480] [--width 640]

Masks are random blobs, probabilities and attention smooth fields like them: what a network gives, without the
network. Both sides see the same masks in one run, one thread each. Prints seconds, the ratio and how far the
two are apart in IoU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from pycocotools import mask as rle

from cmask_tf.evaluation.evaluate import Photo, Scores, measure
from cmask_tf.evaluation.examples import ExampleFile
from cmask_tf.evaluation.systems import Prediction
from cmask_tf.metrics import METRICS, mask_scores

KINDS = 32  # different pairs; they come again and again


def blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """float32 [height, width], a smooth random field from 0 to 1."""
    coarse = rng.random((6, 8), np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(field, None, 0, 1, cv2.NORM_MINMAX)


def pairs(height: int, width: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """KINDS predictions float32 [height, width] and their true masks bool [height, width]."""
    rng, found = np.random.default_rng(0), []
    for _ in range(KINDS):
        field = blob(rng, height, width)
        found.append((np.clip(0.8 * field + 0.2 * blob(rng, height, width), 0, 1), field >= 0.6))
    return found


class Given:
    """A System that answers with predictions made beforehand."""

    def __init__(self, predictions: list[np.ndarray]):
        self._predictions, self._next = predictions, 0

    def answers(self, name):
        return True

    def predict(self, path, image, names):
        for name in names:
            values = self._predictions[self._next % KINDS]
            self._next += 1
            yield Prediction(name, values, values, 0.7, True)


def coded(mask: np.ndarray) -> dict:
    """The run lengths that a results file holds."""
    return rle.encode(np.asfortranarray(mask, np.uint8))


def timed(work: Callable[[int], object], count: int) -> tuple[float, list]:
    """Seconds for `count` calls of `work(number)`, and what the first KINDS of them returned."""
    kept, start = [], time.perf_counter()
    for number in range(count):
        result = work(number)
        if number < KINDS:
            kept.append(result)
    return time.perf_counter() - start, kept


def evaluation(given: list, photos: int, concepts: int) -> float:
    """Seconds of all that an evaluation does with predictions: checks, measures, means, rows, curves."""
    names = [f"concept {number}" for number in range(concepts)]
    about = {name: {"level": "mask", "kind": "object"} for name in names}
    image = np.zeros((*given[0][1].shape, 3), np.uint8)
    with TemporaryDirectory() as folder, open(Path(folder) / "examples.csv", "w") as file:
        start = time.perf_counter()
        system = Given([prediction for prediction, _ in given])
        scores = Scores(system, "given", about, names, photos, Path(folder))
        rows = ExampleFile(file, about)
        for number in range(photos):
            truths = {name: given[(number * concepts + k) % KINDS][1] for k, name in enumerate(names)}
            photo = Photo(number, Path(f"{number}.jpg"), image, truths)
            for pair in scores.add(photo):
                rows.add(photo.path, pair)
        scores.figures(None)
        return time.perf_counter() - start


def main() -> None:
    """Prints the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--concepts", type=int, default=3)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    given, count = pairs(args.height, args.width), args.photos * args.concepts
    masks = [(prediction >= 0.5, truth) for prediction, truth in given]
    runs = [(coded(mask), coded(truth)) for mask, truth in masks]

    def theirs(number: int) -> float:
        mask, truth = runs[number % KINDS]
        rle.decode(mask), rle.decode(truth)
        return float(rle.iou([mask], [truth], [0])[0, 0])

    def ours(number: int):
        values, truth = given[number % KINDS]
        return measure(Prediction("concept", values, values), truth)

    seconds, expected = timed(theirs, count)
    alone, _ = timed(lambda number: mask_scores(*masks[number % KINDS]), count)
    complete, rows = timed(ours, count)
    whole = evaluation(given, args.photos, args.concepts)
    print(f"{args.photos} photos of {args.width} x {args.height} x {args.concepts} concepts")
    print(f"{seconds:8.2f} s          pycocotools: both masks decoded, IoU")
    print(f"{alone:8.2f} s  {alone / seconds:5.2f} x  precision, recall, IoU of decoded masks")
    print(f"{complete:8.2f} s  {complete / seconds:5.2f} x  {', '.join(METRICS)}")
    print(f"{whole:8.2f} s  {whole / seconds:5.2f} x  an evaluation without its network and files of photos")
    apart = max(abs(row.scores["iou"] - iou) for row, iou in zip(rows, expected, strict=True))
    print(f"largest difference of an IoU: {apart:.1g}")


if __name__ == "__main__":
    main()
