"""Joining requests, the bounded queue, and work that nobody waits for."""

import asyncio
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from cmask_tf.serving import batching
from cmask_tf.serving.batching import Batcher, join, split
from cmask_tf.serving.metrics import Metrics
from cmask_tf.serving.options import ServerOptions
from cmask_tf.serving.status import Refused


def request(image, *concepts):
    return {
        "image_bytes": np.array([image], object),
        "concepts": np.array([list(concepts)], object).reshape(1, len(concepts)),
    }


class Recorder:
    """In place of a servable: remembers its runs and can be held up."""

    def __init__(self):
        self.runs = []
        self.open = threading.Event()
        self.open.set()

    def run(self, signature, inputs):
        self.runs.append(inputs)
        assert self.open.wait(20)
        if b"bad" in inputs["image_bytes"].tolist():
            raise ValueError("a bad image")
        lengths = np.vectorize(len, otypes=[int])(inputs["concepts"])
        return {"length": lengths, "rows": np.arange(len(lengths))}


def drive(scenario, **options):
    """Runs `scenario(batcher, servable)` with a batcher of one thread."""
    options = {"max_batch_size": 4, "max_enqueued_batches": 2} | options

    async def main():
        batcher = Batcher(ServerOptions(model_base_path=Path("."), **options), Metrics())
        batcher.start()
        servable = Recorder()
        try:
            return await asyncio.wait_for(scenario(batcher, servable), 20)
        finally:
            servable.open.set()
            await batcher.stop()

    return asyncio.run(main())


async def busy(batcher, servable):
    """Begins a request that keeps the thread until `servable.open` is set."""
    servable.open.clear()
    first = asyncio.create_task(batcher.submit(servable, "segment_encoded", request(b"first", b"a"), 1))
    while not servable.runs:
        await asyncio.sleep(0.001)
    return first


async def begin(batcher, servable, *inputs, signature="segment_encoded"):
    tasks = [asyncio.create_task(batcher.submit(servable, signature, each, 1)) for each in inputs]
    await asyncio.sleep(0)
    return tasks


def test_join_pads_the_concepts_to_the_widest_and_split_cuts_them_again():
    requests = [request(b"x", b"red"), request(b"y", b"a", b"bc", b"def")]
    joined = join(requests)
    assert joined["image_bytes"].tolist() == [b"x", b"y"]
    assert joined["concepts"].tolist() == [[b"red", b"", b""], [b"a", b"bc", b"def"]]
    outputs = {"score": np.array([[1, 2, 3], [4, 5, 6]]), "row": np.array([7, 8])}
    first, second = split(outputs, requests)
    assert (first["score"].tolist(), first["row"].tolist()) == ([[1]], [7])
    assert (second["score"].tolist(), second["row"].tolist()) == ([[4, 5, 6]], [8])


def test_what_waits_for_a_busy_thread_runs_joined_and_each_gets_its_own():
    async def scenario(batcher, servable):
        first = await busy(batcher, servable)
        waiting = await begin(batcher, servable, request(b"x", b"red"), request(b"y", b"a", b"bc"))
        servable.open.set()
        return await first, *await asyncio.gather(*waiting), servable.runs

    _, x, y, runs = drive(scenario)
    assert [run["image_bytes"].tolist() for run in runs] == [[b"first"], [b"x", b"y"]]
    assert x["length"].tolist() == [[3]]
    assert y["length"].tolist() == [[1, 2]]


def test_a_batch_holds_max_batch_size_rows():
    async def scenario(batcher, servable):
        first = await busy(batcher, servable)
        waiting = await begin(batcher, servable, *(request(b"%d" % n, b"a") for n in range(3)))
        servable.open.set()
        await asyncio.gather(first, *waiting)
        return [len(run["image_bytes"]) for run in servable.runs]

    assert drive(scenario, max_batch_size=2) == [1, 2, 1]


def test_other_signatures_and_other_versions_are_not_joined():
    async def scenario(batcher, servable):
        first = await busy(batcher, servable)
        other = Recorder()
        waiting = await begin(batcher, servable, *[request(b"x", b"a")] * 2, signature="attention")
        waiting += await begin(batcher, other, request(b"y", b"a"))
        waiting += await begin(batcher, servable, request(b"z", b"a"))
        servable.open.set()
        await asyncio.gather(first, *waiting)
        return len(servable.runs), len(other.runs)

    assert drive(scenario, max_enqueued_batches=4) == (4, 1)


def test_a_free_thread_waits_for_more_as_long_as_batch_timeout_micros():
    async def scenario(batcher, servable):
        early = await begin(batcher, servable, request(b"x", b"a"))
        await asyncio.sleep(0.05)
        assert not servable.runs
        late = await begin(batcher, servable, request(b"y", b"a"))
        await asyncio.gather(*early, *late)
        return [len(run["image_bytes"]) for run in servable.runs]

    # Full batches do not wait: this one would take a minute, were it not full.
    assert drive(scenario, batch_timeout_micros=60_000_000, max_batch_size=2) == [2]


def test_a_full_queue_refuses_and_a_freed_place_is_taken_again():
    async def scenario(batcher, servable):
        first = await busy(batcher, servable)
        waiting = await begin(batcher, servable, request(b"x", b"a"), request(b"y", b"a"))
        with pytest.raises(Refused) as refused:
            await batcher.submit(servable, "segment_encoded", request(b"z", b"a"), 1)
        waiting[0].cancel()
        await asyncio.sleep(0)
        waiting += await begin(batcher, servable, request(b"z", b"a"))
        servable.open.set()
        await asyncio.gather(first, *waiting[1:])
        return refused.value.code, [run["image_bytes"].tolist() for run in servable.runs]

    code, runs = drive(scenario, max_batch_size=1, max_enqueued_batches=2)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert runs == [[b"first"], [b"y"], [b"z"]], "what was cancelled never ran"


def test_a_request_that_fails_does_not_fail_those_it_was_joined_with():
    async def scenario(batcher, servable):
        first = await busy(batcher, servable)
        waiting = await begin(batcher, servable, request(b"x", b"ab"), request(b"bad", b"a"))
        servable.open.set()
        await first
        return await asyncio.gather(*waiting, return_exceptions=True)

    good, bad = drive(scenario)
    assert good["length"].tolist() == [[2]]
    assert isinstance(bad, ValueError)


def test_stop_cancels_what_waits():
    async def scenario(batcher, servable):
        first = await busy(batcher, servable)
        waiting = await begin(batcher, servable, request(b"x", b"a"))
        await batcher.stop()
        done = await asyncio.gather(first, *waiting, return_exceptions=True)
        return [type(each) for each in done]

    assert drive(scenario) == [asyncio.CancelledError] * 2


def test_the_joinable_signature_is_the_one_whose_images_are_strings():
    assert batching.JOINABLE == "segment_encoded"
