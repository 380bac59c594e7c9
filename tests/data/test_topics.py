"""Soft topic targets of Stage 1's batches: the paper's sum over a photo's tags, or over a sample of them."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import reference
import tensorflow as tf
from PIL import Image

from cmask_tf.data import pipelines, schema, topics
from cmask_tf.data.sources import Annotated

V, D = 30, 6
SPELLING = {f"tag{i}": i for i in range(V)} | {"tags0": 0}
P = np.random.default_rng(0).uniform(0.01, 0.5, V)
VECTORS = np.random.default_rng(1).standard_normal((V, D), np.float32)
TAGS = [
    ("tag3", "dog", "tag7", "tag0", "tags0"),
    ("tag5",),
    ("dog",),
    (),
    tuple(f"tag{i}" for i in range(20)),
]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder, file = tmp_path_factory.mktemp("photos"), io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")
    path = str(folder / "photos.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for tags in TAGS:
            writer.write(schema.encode(Annotated(folder, "", 8, 8, (), tags), file.getvalue()))
    return SimpleNamespace(files=[path])


def batch(records, vectors=VECTORS, idf=None, **options):
    options = {"seed": 0, "epoch": 0, **options}
    made = topics.Topics(SPELLING, -np.log(P) if idf is None else idf, vectors)
    (found,) = pipelines.embedding_batches(records, made, 8, len(TAGS), **options)
    assert found.keys() == {"image", "topic"}
    return found["topic"].numpy()


def test_a_topic_is_the_papers_sum_over_known_tags_each_once(records):
    found = batch(records, train=False)
    assert found.dtype == np.float32 and found.shape == (len(TAGS), D)
    for topic, ids in zip(found, ([3, 7, 0], [5], [], [], range(20)), strict=True):
        np.testing.assert_allclose(topic, reference.soft_topic(ids, P, VECTORS), atol=1e-5)


def drawn(records, **options):
    """bool [photos, V]: which tags are in each photo's topic; photos in the order of their number of tags."""
    found = batch(records, np.eye(V, dtype=np.float32), np.ones(V), **options)
    assert set(np.unique(found)) <= {0, 1}
    return found[np.argsort(found.sum(1), kind="stable")] == 1


def test_a_sample_of_the_tags_is_drawn_anew_each_epoch_from_the_seed(records):
    first = drawn(records, tags=4)
    assert first.sum(1).tolist() == [0, 0, 1, 3, 4]
    np.testing.assert_array_equal(first, drawn(records, tags=4))
    assert (first[-1] != drawn(records, tags=4, epoch=1)[-1]).any()
    assert (first[-1] != drawn(records, tags=4, seed=1)[-1]).any()


def test_every_tag_is_drawn_as_often_as_any_other(records):
    ids, epochs = tf.range(20), 600
    counts = np.zeros(20)
    for epoch in range(epochs):
        chosen = topics.sample(ids, 5, tf.constant([3, epoch])).numpy()
        assert len(set(chosen)) == 5
        counts[chosen] += 1
    assert np.abs(counts / epochs - 5 / 20).max() < 0.08  # 4.5 standard deviations


def test_validation_takes_all_tags(records):
    assert drawn(records, tags=4, train=False).sum(1).tolist() == [0, 0, 1, 3, 20]


def test_a_pipelines_graph_does_not_hold_the_vectors(records):
    made = topics.Topics(SPELLING, np.ones(V), np.ones((V, 50_000), np.float32))
    dataset = pipelines.embedding_batches(records, made, 8, 2, seed=0, epoch=0)
    held, waiting = 0, [dataset]
    while waiting:
        one = waiting.pop()
        held += sum(len(f.function.graph.as_graph_def().SerializeToString()) for f in one._functions())
        waiting += one._inputs()
    assert 0 < held < 1_000_000 < made.dim * V * 4
