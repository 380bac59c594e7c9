"""Streamed co-occurrence counts."""

import numpy as np
import pytest

from cmask_tf.vocabulary import counts as counting
from cmask_tf.vocabulary.counts import count

IMAGES = [["Hat", "dog"], ["hat", "hat", "HAT"], ["dog", "red-hat"], [], ["red hat", "hat", "dog"], [" "]]


def test_counts_by_hand():
    counts = count(IMAGES)
    assert counts.names == ["dog", "hat", "red hat"]  # equal counts go by name
    assert counts.single.dtype == np.int64 and counts.single.tolist() == [3, 3, 2]
    assert counts.pairs.toarray().tolist() == [[0, 2, 2], [2, 0, 1], [2, 1, 0]]
    assert counts.documents == 6


def test_rare_tags_are_left_out_but_their_images_count():
    counts = count(IMAGES, min_count=3)
    assert counts.names == ["dog", "hat"]
    assert counts.pairs.toarray().tolist() == [[0, 2], [2, 0]]
    assert counts.documents == 6


@pytest.mark.parametrize("block", [1, 7, 50])
def test_any_size_of_block_gives_the_same_counts(monkeypatch, block):
    rng = np.random.default_rng(0)
    images = [[f"tag {t}" for t in rng.integers(0, 12, rng.integers(0, 6))] for _ in range(80)]
    whole = count(images)
    monkeypatch.setattr(counting, "BLOCK_TAGS", block)
    parts = count(iter(images))
    assert parts.names == whole.names and (parts.single == whole.single).all()
    assert (parts.pairs != whole.pairs).nnz == 0


def test_no_images_give_no_names():
    counts = count([])
    assert counts.names == [] and counts.documents == 0 and counts.pairs.shape == (0, 0)
