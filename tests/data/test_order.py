"""The order of an epoch: balanced, dealt to hosts, decoded in any order; checked on what gets decoded."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.data import balance
from cmask_tf.data.order import Order, Share, decoded, ordered, serialized

COUNT, FILES = 37, 3


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Records that are their own number, as text."""
    folder, files = tmp_path_factory.mktemp("numbers"), []
    for place, numbers in enumerate(np.array_split(np.arange(COUNT), FILES)):
        files.append(str(folder / f"{place}.tfrecord"))
        with tf.io.TFRecordWriter(files[-1]) as writer:
            for number in numbers:
                writer.write(str(number))
    return SimpleNamespace(files=files)


def passed(records, batch=8, seen=lambda place: None, **order):
    """The batches of a pass: [(places in the epoch, numbers of the records, rows of the global batch)].

    `seen` is called with the place of each example that is decoded.
    """
    order = Order(seed=3, **{"epoch": 0, **order})

    def decode(index, text):
        tf.py_function(lambda place: seen(int(place)), [index], [])
        return {"place": index, "number": tf.strings.to_number([text], tf.int32)}

    shapes, padding = {"place": [], "number": [None]}, {"place": np.int64(0), "number": 0}
    examples = ordered(serialized(records, order), order, batch)
    batches = decoded(examples, decode, order, batch, shapes, padding)
    if order.share.whole:
        batches = batches.map(lambda rows: (rows, tf.size(rows["place"], tf.int64)))
    options = tf.data.Options()
    options.threading.private_threadpool_size = 8  # `seen` may hold one of them up
    batches = batches.with_options(options)
    return [
        (rows["place"].numpy().tolist(), rows["number"][:, 0].numpy().tolist(), int(count))
        for rows, count in batches
    ]


def shares(hosts, replicas):
    local = replicas // hosts
    return [Share(host * local, (host + 1) * local, replicas) for host in range(hosts)]


def numbers(batches):
    return [number for _, of_batch, _ in batches for number in of_batch]


def test_files_are_read_in_turns_and_in_another_order_each_epoch(records):
    orders = [passed(records, epoch=epoch) for epoch in range(3)]
    for order in orders:
        assert sorted(numbers(order)) == list(range(COUNT))
    assert len({tuple(numbers(order)) for order in orders}) == 3
    assert numbers(passed(records, train=False)) == list(range(COUNT))


def test_before_the_shuffle_files_take_turns(tmp_path):
    files = [str(tmp_path / name) for name in "ab"]
    for file in files:
        with tf.io.TFRecordWriter(file) as writer:
            for number in range(20):
                writer.write(f"{file[-1]}{number}")
    found = list(serialized(SimpleNamespace(files=files), Order(3, 0)).as_numpy_iterator())
    turns = [text.decode()[0] for text in found]
    one, two = turns[0], turns[-1]
    assert {one, two} == {"a", "b"}
    assert turns == [one] * 16 + [two] * 16 + [one] * 4 + [two] * 4
    assert sorted(found) == sorted(f"{name}{number}".encode() for name in "ab" for number in range(20))


def test_the_passed_over_is_not_decoded(records):
    places = []
    batches = passed(records, skip=3, seen=places.append)
    assert batches == passed(records)[3:]
    assert sorted(places) == list(range(24, COUNT))


def test_without_determinism_a_slow_example_holds_nothing_up(records):
    later = threading.Event()

    def slow(place):
        if place == 0:
            later.wait(20)
        elif place == 3:
            later.set()

    batches = passed(records, deterministic=False, seen=slow)
    assert later.is_set() and batches[0][0][:2] == [1, 2]
    pairs = [pair for places, of_batch, _ in batches for pair in zip(places, of_batch, strict=True)]
    in_order = [
        pair for places, of_batch, _ in passed(records) for pair in zip(places, of_batch, strict=True)
    ]
    assert sorted(pairs) == in_order


@pytest.mark.parametrize("batch", [8, 9, 17, 3])  # last batches of 5, 1, 3 and 1
@pytest.mark.parametrize(("hosts", "replicas"), [(2, 2), (2, 4), (4, 8), (5, 5)])
def test_hosts_together_have_the_global_batches_of_one(records, hosts, replicas, batch):
    batches = passed(records, batch)
    of_hosts = [passed(records, batch, share=share) for share in shares(hosts, replicas)]
    for step, (places, of_batch, rows) in enumerate(batches):
        parts = [of_host[step] for of_host in of_hosts]
        assert {part[2] for part in parts} == {rows}
        whole = list(zip(places, of_batch, strict=True))
        dealt = [pair for part in parts for pair in zip(part[0], part[1], strict=True)]
        if rows < replicas:
            assert dealt == whole * hosts
        else:
            assert sorted(dealt) == whole
            assert (
                max(len(part[0]) for part in parts) - min(len(part[0]) for part in parts) <= replicas // hosts
            )
    assert {len(of_host) for of_host in of_hosts} == {len(batches)}


def test_a_host_decodes_its_own_rows_only(records):
    first, second = [], []
    for places, share in zip((first, second), shares(2, 4), strict=True):
        passed(records, skip=1, share=share, seen=places.append, deterministic=False)
    assert sorted(first + second) == list(range(8, COUNT))
    assert {place % 4 for place in first} == {0, 1}


def test_balanced_records_come_as_often_as_their_factors_say(records):
    factors = np.where(np.arange(COUNT) % 10 == 4, 3.0, 1.0)
    factors[:2] = 1.5
    balanced = balance.Balanced(records.files, [0, 13, 25], factors)
    epochs = [passed(balanced, epoch=epoch) for epoch in range(6)]
    for epoch in epochs:
        found = np.bincount(numbers(epoch), minlength=COUNT)
        np.testing.assert_array_equal(found[2:], factors[2:])
        assert sorted(found[:2]) == [1, 2]
        assert found.sum() == balanced.examples
    assert numbers(epochs[0]) != numbers(epochs[1])
    assert passed(balanced, epoch=1, skip=2) == epochs[1][2:]
    assert numbers(passed(balanced, train=False)) == list(range(COUNT))


@pytest.mark.parametrize("share", [Share(), Share(1, 2, 2)])
@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize("balancing", [False, True])
def test_what_lies_beside_a_record_goes_with_it(records, tmp_path, balancing, epoch, share):
    """Each record's double, in files of other names: shuffled, repeated, skipped and dealt out with it."""
    beside = []
    for file in records.files:
        beside.append(str(tmp_path / f"beside-{len(beside)}"))
        with tf.io.TFRecordWriter(beside[-1]) as writer:
            for text in tf.data.TFRecordDataset(file).as_numpy_iterator():
                writer.write(text * 2)
    source = records
    if balancing:
        source = balance.Balanced(records.files, [0, 13, 25], np.where(np.arange(COUNT) % 3, 1.0, 2.5))
    for options in ({"skip": 1}, {"train": False}):
        order = Order(seed=3, epoch=epoch, share=share, **options)

        def decode(index, pair):
            return {"index": index, "one": pair[0], "double": pair[1]}

        shapes = dict.fromkeys(("index", "one", "double"), [])
        padding = {"index": np.int64(0), "one": "", "double": ""}
        examples = ordered(serialized(source, order, beside), order, 8)
        batches = decoded(examples, decode, order, 8, shapes, padding)
        batches = [rows if share.whole else rows[0] for rows in batches]
        for rows in batches:
            assert [one * 2 for one in rows["one"].numpy()] == list(rows["double"].numpy())
        alone = passed(source, epoch=epoch, share=share, **options)
        found = [int(one) for rows in batches for one in rows["one"].numpy()]
        assert found == numbers(alone) and len(found) > 10
