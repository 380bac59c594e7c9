"""Means over photos, then concepts, then levels and kinds (5.3)."""

import numpy as np
import pytest
import reference

from cmask_tf.evaluation.aggregate import Means, by_group
from cmask_tf.metrics import METRICS

ABOUT = {
    "dress": {"level": "mask", "kind": "object"},
    "hair": {"level": "mask", "kind": "part"},
    "cape": {"level": "zero", "kind": "object"},
    "wallet": {"level": "zero", "kind": "object"},
}


def by_concept(ious: dict[str, list[float]]) -> dict[str, dict]:
    means = Means()
    for name, values in ious.items():
        for value in values:
            means.add(name, dict.fromkeys(METRICS, value))
    return means.by_concept(ABOUT)


def test_a_concept_with_many_photos_weighs_as_much_as_one_with_few():
    rows = by_concept({"dress": [0.0] * 9, "hair": [1.0] * 3})
    assert by_group(rows, "level")["mask"]["iou"] == 0.5


def test_concepts_with_fewer_than_three_photos_stay_out_of_the_level_but_are_listed():
    rows = by_concept({"cape": [0.2, 0.4, 0.6], "wallet": [1.0, 1.0]})
    assert rows["wallet"] == {**dict.fromkeys(METRICS, 1.0), "examples": 2, "level": "zero", "kind": "object"}
    level = by_group(rows, "level")["zero"]
    assert level["iou"] == pytest.approx(0.4)
    assert (level["concepts"], level["examples"]) == (1, 3)


def test_kinds_cut_across_levels():
    rows = by_concept({"dress": [0.2] * 3, "hair": [0.4] * 3, "cape": [0.6] * 3})
    kinds = by_group(rows, "kind")
    assert {kind: row["iou"] for kind, row in kinds.items()} == pytest.approx({"object": 0.4, "part": 0.4})
    assert {kind: row["concepts"] for kind, row in kinds.items()} == {"object": 2, "part": 1}


def test_a_measure_that_a_system_does_not_have_is_none_and_takes_no_part():
    means = Means()
    for value in (0.2, 0.4, 0.6):
        means.add("dress", {"iou": value})
        means.add("hair", {"iou": value, "soft_iou": value})
    rows = means.by_concept(ABOUT)
    assert rows["dress"]["soft_iou"] is None
    level = by_group(rows, "level")["mask"]
    assert (level["iou"], level["soft_iou"]) == pytest.approx((0.4, 0.4))
    assert level["pointing_game"] is None


def test_means_agree_with_the_reference():
    rng = np.random.default_rng(0)
    ious = {name: rng.random(n).tolist() for name, n in zip(ABOUT, (7, 3, 2, 5), strict=True)}
    levels = by_group(by_concept(ious), "level")
    rows = [(i, name, value) for name, values in ious.items() for i, value in enumerate(values)]
    expected = reference.level_means(rows, {name: about["level"] for name, about in ABOUT.items()}, 3)
    assert {level: row["iou"] for level, row in levels.items()} == pytest.approx(expected, abs=1e-12)
