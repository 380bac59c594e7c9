"""COCO's run lengths: what pycocotools writes is taken as it is, what it would misread is a bad record."""

import numpy as np
import pytest
from pycocotools import mask as rle

from cmask_tf.data.run_lengths import bounds, from_polygons, from_rle
from cmask_tf.faults import BadRecord


def encoded(mask):
    value = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": value["counts"].decode()}


def runs(mask):
    flat = np.concatenate([[0], mask.flatten(order="F").astype(int), [2]])
    return np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat))])).tolist()


def test_pycocotools_strings_come_back_and_uncompressed_counts_become_them():
    """Noise and blocks: counts of one to four groups, growing and falling."""
    rng = np.random.default_rng(0)
    for scale in (1, 40):
        for _ in range(100):
            mask = np.kron(rng.random(rng.integers(1, 30, 2)) < rng.random(), np.ones((scale, scale), bool))
            height, width = mask.shape
            expected = encoded(mask)["counts"].encode() if mask.any() else None
            assert from_rle(encoded(mask), height, width, "f") == expected
            counts = {"size": [height, width], "counts": runs(mask)}
            assert from_rle(counts, height, width, "f") == expected


def test_every_cut_or_changed_string_is_refused_or_has_all_pixels():
    mask = np.zeros((40, 50), bool)
    mask[5:30, 7:33] = mask[2, 40:45] = True
    text = encoded(mask)["counts"]
    rng, refused = np.random.default_rng(1), 0
    changed = [text[:end] for end in range(1, len(text))]
    changed += [
        text[:at] + chr(int(rng.integers(1, 128))) + text[at + 1 :] for at in range(len(text)) for _ in "abcd"
    ]
    for counts in changed:
        try:
            kept = from_rle({"size": [40, 50], "counts": counts}, 40, 50, "f")
        except BadRecord:
            refused += 1
        else:
            assert rle.decode({"size": [40, 50], "counts": kept}).shape == (40, 50)
            assert rle.area({"size": [40, 50], "counts": kept}) <= 2000
    assert refused > 0.8 * len(changed)


@pytest.mark.parametrize(
    "counts", ["P" * 30, "0`", "é", "oooooooooooooo0", [2000.0], [1999, True], {}, "", None, 7]
)
def test_counts_that_are_none_are_bad_records(counts):
    with pytest.raises(BadRecord, match="counts|broken RLE"):
        from_rle({"size": [40, 50], "counts": counts}, 40, 50, "f")


def test_bounds_are_of_the_pixels():
    mask = np.zeros((8, 10), bool)
    mask[2:5, 3:7] = True
    assert bounds(encoded(mask)["counts"].encode(), 8, 10) == [3, 2, 4, 3]


def test_polygons_without_a_pixel_are_none():
    assert from_polygons([[1, 1, 1, 1, 1, 1]], 8, 10, "f") is None
    assert from_polygons([[1, 1, 5, 5]], 8, 10, "f") is None
    assert from_polygons([], 8, 10, "f") is None
