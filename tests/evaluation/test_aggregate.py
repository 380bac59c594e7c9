"""Means over photos, then concepts, then levels and kinds (5.3)."""

import numpy as np
import pytest
import reference

from cmask_tf.evaluation.aggregate import Example, by_concept, by_group
from cmask_tf.metrics import METRICS

ABOUT = {
    "dress": {"level": "mask", "kind": "object"},
    "hair": {"level": "mask", "kind": "part"},
    "cape": {"level": "zero", "kind": "object"},
    "wallet": {"level": "zero", "kind": "object"},
}


def examples(ious: dict[str, list[float]]) -> list[Example]:
    return [
        Example(f"{i}.jpg", name, dict.fromkeys(METRICS, value))
        for name, values in ious.items()
        for i, value in enumerate(values)
    ]


def test_a_concept_with_many_photos_weighs_as_much_as_one_with_few():
    rows = by_concept(examples({"dress": [0.0] * 9, "hair": [1.0] * 3}), ABOUT)
    assert by_group(rows, "level")["mask"]["iou"] == 0.5


def test_concepts_with_fewer_than_three_photos_stay_out_of_the_level_but_are_listed():
    rows = by_concept(examples({"cape": [0.2, 0.4, 0.6], "wallet": [1.0, 1.0]}), ABOUT)
    assert rows["wallet"] == {**dict.fromkeys(METRICS, 1.0), "examples": 2, "level": "zero", "kind": "object"}
    level = by_group(rows, "level")["zero"]
    assert level["iou"] == pytest.approx(0.4)
    assert (level["concepts"], level["examples"]) == (1, 3)


def test_kinds_cut_across_levels():
    rows = by_concept(examples({"dress": [0.2] * 3, "hair": [0.4] * 3, "cape": [0.6] * 3}), ABOUT)
    kinds = by_group(rows, "kind")
    assert {kind: row["iou"] for kind, row in kinds.items()} == pytest.approx({"object": 0.4, "part": 0.4})
    assert {kind: row["concepts"] for kind, row in kinds.items()} == {"object": 2, "part": 1}


def test_means_agree_with_the_reference():
    rng = np.random.default_rng(0)
    found = examples({name: rng.random(n).tolist() for name, n in zip(ABOUT, (7, 3, 2, 5), strict=True)})
    levels = by_group(by_concept(found, ABOUT), "level")
    rows = [(example.photo, example.concept, example.scores["iou"]) for example in found]
    expected = reference.level_means(rows, {name: about["level"] for name, about in ABOUT.items()}, 3)
    assert {level: row["iou"] for level, row in levels.items()} == pytest.approx(expected, abs=1e-12)
