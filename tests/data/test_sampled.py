"""A fixed, evenly spread part of a record set."""

import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.data.order import Order, serialized
from cmask_tf.data.sampled import at_most


@pytest.fixture
def files(tmp_path):
    paths = [str(tmp_path / f"{shard}.tfrecord") for shard in range(2)]
    for shard, path in enumerate(paths):
        with tf.io.TFRecordWriter(path) as writer:
            for number in range(20):
                writer.write(str(20 * shard + number).encode())
    return paths


def read(records):
    return [int(one) for one in serialized(records, Order(0, 0, train=False)).as_numpy_iterator()]


@pytest.mark.parametrize("photos", [1, 7, 39])
def test_so_many_photos_evenly_spread_and_the_same_each_time(files, photos):
    records = at_most(files, 40, photos)
    found = read(records)
    assert records.examples == len(found) == photos
    gaps = np.diff([-1, *found, 40])
    assert gaps.min() >= 1 and gaps.max() <= 2 * 40 / photos
    assert read(records) == found


@pytest.mark.parametrize("photos", [0, 40, 500])
def test_a_small_set_is_taken_whole(files, photos):
    records = at_most(files, 40, photos)
    assert records.examples == 40 and read(records) == list(range(40))
