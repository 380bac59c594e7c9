"""Repeat factors: photos of rare concepts come more often, and every epoch has the same length."""

import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.data import balance, schema
from cmask_tf.data.sources import Annotated, Object

BOX = (0.0, 0.0, 1.0, 1.0)


def write(folder, contents, shards=2):
    """Photos that have these objects; a name with a star is a crowd."""
    files = []
    for shard in range(shards):
        files.append(str(folder / f"{shard}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for names in contents[shard::shards]:
                objects = tuple(Object(n.strip("*"), BOX, crowd="*" in n) for n in names)
                writer.write(schema.encode(Annotated(folder, "", 1, 1, objects, ()), b""))
    return files


def test_factors_by_hand():
    """Concept 0 in 4 photos of 8, concept 1 in 2, concept 2 in 1; t = 1/2."""
    photos, ids = [0, 1, 2, 3, 3, 4, 5], [0, 0, 0, 0, 1, 1, 2]
    factors = balance.repeat_factors(np.array(photos), np.array(ids), 8, 0.5)
    np.testing.assert_allclose(factors, [1, 1, 1, 2**0.5, 2**0.5, 2, 1, 1])


def test_concepts_are_counted_once_a_photo_without_crowds_and_unknown_names(tmp_path):
    contents = [("hat", "hat"), ("bag*",), ("dog",), ("bag", "hat")] + [()] * 4
    files = write(tmp_path, contents)
    records = balance.balanced(files, {"hat": 3, "bag": 1}, 0.5, tmp_path / "work" / "cache.npz")
    assert records.starts == [0, 4]
    in_order = contents[::2] + contents[1::2]
    expected = {"bag": 2.0, "hat": 2**0.5}  # on 1 and on 2 photos of 8
    for names, factor in zip(in_order, records.factors, strict=True):
        assert factor == pytest.approx(max([expected.get(n, 1) for n in names], default=1))


def test_the_pass_over_the_records_is_kept(tmp_path):
    files = write(tmp_path, [("hat",), (), ("bag",), ()])
    first = balance.balanced(files, {"hat": 0}, 0.9, tmp_path / "cache.npz")
    again = balance.balanced(["gone"] * 2, {"hat": 0}, 0.9, tmp_path / "cache.npz")
    np.testing.assert_array_equal(first.factors, again.factors)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.tfrecord", "1.tfrecord", "cache.npz"]


def test_copies_add_up_keep_every_photo_and_average_to_the_factors():
    factors = np.concatenate([np.ones(50), np.random.default_rng(0).uniform(1, 4, 50)])
    records = balance.Balanced([], [], factors)
    copies = np.array([records.copies(np.random.default_rng(seed)) for seed in range(2000)])
    assert (copies.sum(axis=1) == records.examples).all()
    assert abs(records.examples - factors.sum()) <= 1
    assert (copies[:, :50] == 1).all()
    assert ((copies == np.floor(factors)) | (copies == np.floor(factors) + 1)).all()
    np.testing.assert_allclose(copies.mean(axis=0), factors, atol=0.06)


def test_without_rare_concepts_every_photo_comes_once():
    records = balance.Balanced([], [], np.ones(7))
    assert records.examples == 7
    assert records.copies(np.random.default_rng(0)).tolist() == [1] * 7
