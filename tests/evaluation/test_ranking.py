"""Which photos a report shows."""

import numpy as np
import pytest

from cmask_tf.evaluation.ranking import Ranking

NAMES = ["worst", "lower quartile", "median", "upper quartile", "best"]


def chosen(ious: dict[int, float], folder) -> dict[int, str]:
    ranking = Ranking(100, folder)
    for number, iou in ious.items():
        ranking.add(number, iou)
    return ranking.chosen()


def test_the_worst_the_best_and_the_quartiles_between(tmp_path):
    ious = np.random.default_rng(0).permutation(9) / 8
    found = chosen(dict(enumerate(ious.tolist())), tmp_path)
    assert [ious[number] for number in found] == [0, 0.25, 0.5, 0.75, 1]
    assert list(found.values()) == [
        f"{n}, mean IoU {v:.3f}" for n, v in zip(NAMES, (0, 0.25, 0.5, 0.75, 1), strict=True)
    ]


def test_a_photo_is_shown_once_and_the_first_of_equal_ones(tmp_path):
    assert list(chosen({7: 0.5, 3: 0.5}, tmp_path)) == [3, 7]


@pytest.mark.parametrize("photos", [0, 1])
def test_few_photos_are_few_pictures(photos, tmp_path):
    assert len(chosen({5: 0.2} if photos else {}, tmp_path)) == photos
