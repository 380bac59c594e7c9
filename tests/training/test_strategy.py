"""Hosts: which rows each decodes, and that together they make one host's steps; two real workers do.

Run as a script it is one of the workers: `test_strategy.py RECORDS`, with TF_CONFIG.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.data import pipelines, schema
from cmask_tf.data.order import Share
from cmask_tf.data.sources import Annotated
from cmask_tf.data.topics import Topics
from cmask_tf.training import strategy

COUNT, BATCH, SIZE = 23, 11, 8  # batches of 11, 11 and 1: fewer rows than workers at the end


def test_a_single_host_has_every_row(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert strategy.share(strategy.make_strategy(["CPU:0"])).whole


@pytest.mark.parametrize(
    ("task", "expected"),
    [(("chief", 0), Share(0, 2, 6)), (("worker", 0), Share(2, 4, 6)), (("worker", 1), Share(4, 6, 6))],
)
def test_the_chief_is_the_first_host_and_workers_follow(monkeypatch, task, expected):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "evaluator": ["d:1"]}
    config = {"cluster": cluster, "task": {"type": task[0], "index": task[1]}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    assert strategy.share(SimpleNamespace(num_replicas_in_sync=6, cluster_resolver=resolver)) == expected


def sums(where, records) -> list[list[float]]:
    """Each step's [rows of the global batch, mean over it of the tag, mean of the pixels]."""
    tf.random.set_seed(1)  # what ran before may have set another; shuffling depends on it
    spelling = {str(number): number for number in range(COUNT)}
    topics = Topics(spelling, np.ones(COUNT), np.arange(COUNT, dtype=np.float32)[:, None])
    batches = pipelines.embedding_batches(
        SimpleNamespace(files=[records]), topics, SIZE, BATCH, seed=1, epoch=0, share=strategy.share(where)
    )

    def replica(rows, count, weight):
        tag = weight * tf.reduce_sum(rows["topic"])
        return tag, weight * tf.reduce_sum(tf.reduce_mean(rows["image"], (1, 2, 3))), count

    elements = strategy.distribute(batches, where, True)

    @tf.function(input_signature=[elements.element_spec])
    def step(element):
        tag, pixels, count = where.run(replica, args=element)
        means = [where.reduce("SUM", value, axis=None) for value in (tag, pixels)]
        return [tf.cast(where.experimental_local_results(count)[0], tf.float32), *means]

    return [[float(value) for value in step(element)] for element in elements]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def test_two_workers_make_the_batches_of_one_host(tmp_path):
    records = str(tmp_path / "photos.tfrecord")
    with tf.io.TFRecordWriter(records) as writer:
        for number in range(COUNT):
            encoded = tf.io.encode_png(tf.fill([9, 9, 3], tf.cast(10 * number, tf.uint8))).numpy()
            photo = Annotated(tmp_path, "", 9, 9, (), (str(number),))
            writer.write(schema.encode(photo, encoded))
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    children = []
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        children.append(
            subprocess.Popen([sys.executable, __file__, records], env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=(tmp_path / f"{index}.log").open("w"))
        )  # fmt: skip
    expected = sums(strategy.make_strategy(["CPU:0"]), records)
    assert [rows for rows, _, _ in expected] == [11, 11, 1]
    for index, child in enumerate(children):
        output, _ = child.communicate(timeout=200)
        assert child.returncode == 0, (tmp_path / f"{index}.log").read_text()[-3000:]
        for found, row in zip(json.loads(output.splitlines()[-1]), expected, strict=True):
            assert found == pytest.approx(row, rel=1e-5)


if __name__ == "__main__":
    print(json.dumps(sums(strategy.make_strategy(), sys.argv[1])))
