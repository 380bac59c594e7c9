"""The figures of a system take as much memory for many photos as for few."""

import tracemalloc
from pathlib import Path

import numpy as np

from cmask_tf.evaluation.evaluate import Photo, Scores
from cmask_tf.evaluation.examples import ExampleFile
from cmask_tf.evaluation.systems import Prediction

NAMES = ("dress", "hair", "cape")
ABOUT = {name: {"level": "mask", "kind": "object"} for name in NAMES}
SHAPE = (8, 12)


class Noise:
    def answers(self, name):
        return True

    def predict(self, path, image, names):
        rng = np.random.default_rng(int(path.stem))
        for name in names:
            probability, attention = rng.random((2, *SHAPE), np.float32)
            score = float(rng.random())
            yield Prediction(name, probability, attention, score, score >= 0.5)


def peak(photos: int, folder: Path) -> int:
    """The most bytes held while photos are scored and their figures worked out."""
    folder.mkdir()
    image, truth = np.zeros((*SHAPE, 3), np.uint8), np.eye(*SHAPE, dtype=bool)
    with open(folder / "examples.csv", "w") as file:
        tracemalloc.start()
        try:
            scores = Scores(Noise(), "noise", ABOUT, NAMES, photos, folder)
            rows = ExampleFile(file, ABOUT)
            for number in range(photos):
                path = Path(f"{number}.png")
                truths = {name: truth for name in NAMES[: number % 4]}
                for pair in scores.add(Photo(number, path, image, truths)):
                    rows.add(path, pair)
            figures = scores.figures(dict.fromkeys(NAMES, 1.0))
            chosen = scores.ranking.chosen()
            found = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert figures["presence"]["pairs"] == 3 * photos
    assert len(chosen) == 5
    return found


def test_memory_is_flat_in_the_number_of_photos(tmp_path, monkeypatch):
    monkeypatch.setattr("cmask_tf.evaluation.curves._CHUNK", 64)
    peak(20, tmp_path / "warm")  # what is imported and cached on the way
    few, many = peak(200, tmp_path / "few"), peak(2000, tmp_path / "many")
    # One float a photo more would be 14,400 bytes.
    assert many - few < 4000, (few, many)
