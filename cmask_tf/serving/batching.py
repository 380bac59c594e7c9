"""Requests wait in a bounded queue and run joined along dimension 0, as TensorFlow Serving batches them.

The queue lives on the event loop; the graph runs in `num_batch_threads` threads. A request whose
caller is gone (cancelled, or past its deadline: its task is cancelled then too) leaves the queue at once.
"""

from __future__ import annotations

import asyncio
import collections
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from grpc import StatusCode

from cmask_tf.serving.metrics import Metrics
from cmask_tf.serving.options import ServerOptions
from cmask_tf.serving.servable import Servable
from cmask_tf.serving.status import Refused

# Each image is one string here, so that requests of any image sizes join.
JOINABLE = "segment_encoded"
PADDED = "concepts"  # its dimension 1 is K, padded with "", which the graph ignores

Arrays = dict[str, np.ndarray]


class _Task:
    def __init__(self, inputs: Arrays, rows: int, future: asyncio.Future):
        self.inputs = inputs
        self.rows = rows
        self.future = future


class _Batch:
    """Tasks that one run of the graph will serve; `due` is when it stops waiting for more."""

    def __init__(self, servable: Servable, signature: str, due: float):
        self.servable = servable
        self.signature = signature
        self.due = due
        self.tasks: list[_Task] = []

    @property
    def rows(self) -> int:
        return sum(task.rows for task in self.tasks)

    def takes(self, servable: Servable, signature: str, rows: int, most: int) -> bool:
        same = self.servable is servable and self.signature == signature == JOINABLE
        return same and self.rows + rows <= most


class Batcher:
    """The queue and the threads that empty it."""

    def __init__(self, options: ServerOptions, metrics: Metrics):
        self._options = options
        self._metrics = metrics
        self._queue: collections.deque[_Batch] = collections.deque()
        self._wake = asyncio.Event()
        self._pool = ThreadPoolExecutor(options.num_batch_threads, "predict")
        self._runners: list[asyncio.Task] = []

    def start(self) -> None:
        """Begins to run batches; call it on the event loop."""
        self._runners = [asyncio.create_task(self._serve()) for _ in range(self._options.num_batch_threads)]

    async def stop(self) -> None:
        """Ends; what still waits is cancelled."""
        for batch in list(self._queue):
            for task in list(batch.tasks):
                task.future.cancel()
        for runner in self._runners:
            runner.cancel()
        await asyncio.gather(*self._runners, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def submit(self, servable: Servable, signature: str, inputs: Arrays, rows: int) -> Arrays:
        """Waits for the outputs of one request.

        Args:
            servable: what runs it; requests of two versions are never joined.
            signature: the signature's name.
            inputs: arrays that fit it, each [rows, ...].
            rows: the size of dimension 0.

        Raises:
            Refused: RESOURCE_EXHAUSTED, the queue is full.
            tf.errors.OpError: the graph refused the request.
        """
        task = _Task(inputs, rows, asyncio.get_running_loop().create_future())
        batch = self._place(servable, signature, rows)
        batch.tasks.append(task)
        task.future.add_done_callback(lambda _: self._forget(batch, task))
        self._wake.set()
        return await task.future

    def _place(self, servable: Servable, signature: str, rows: int) -> _Batch:
        for batch in self._queue:
            if batch.takes(servable, signature, rows, self._options.max_batch_size):
                return batch
        if len(self._queue) >= self._options.max_enqueued_batches:
            raise Refused(
                StatusCode.RESOURCE_EXHAUSTED,
                "The batch scheduling queue to which this task was submitted is full",
            )
        wait = self._options.batch_timeout_micros * 1e-6 if signature == JOINABLE else 0
        batch = _Batch(servable, signature, asyncio.get_running_loop().time() + wait)
        self._queue.append(batch)
        return batch

    def _forget(self, batch: _Batch, task: _Task) -> None:
        """Takes a task that nobody waits for out of a batch that has not begun."""
        if batch in self._queue:
            batch.tasks.remove(task)
            if not batch.tasks:
                self._queue.remove(batch)

    async def _serve(self) -> None:
        while True:
            await self._run_next()

    async def _run_next(self) -> None:
        # A function of its own: while it waits no thread holds on to the batch before, and its version.
        batch = await self._next()
        await self._run(batch.servable, batch.signature, batch.tasks)

    async def _next(self) -> _Batch:
        """The oldest batch that is full or has waited long enough."""
        while True:
            now = asyncio.get_running_loop().time()
            for batch in self._queue:
                if batch.due <= now or batch.rows >= self._options.max_batch_size:
                    self._queue.remove(batch)
                    return batch
            self._wake.clear()
            soonest = min((batch.due for batch in self._queue), default=None)
            try:
                async with asyncio.timeout_at(soonest):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _run(self, servable: Servable, signature: str, tasks: list[_Task]) -> None:
        """Runs tasks joined; when that fails each alone, so that no request fails for another's sake."""
        rows = sum(task.rows for task in tasks)
        try:
            with self._metrics.run(signature, rows):
                outputs = await asyncio.get_running_loop().run_in_executor(
                    self._pool, _run_joined, servable, signature, [task.inputs for task in tasks]
                )
        except asyncio.CancelledError:
            for task in tasks:
                task.future.cancel()
            raise
        except Exception as error:
            if len(tasks) > 1:
                for task in tasks:
                    if not task.future.done():
                        await self._run(servable, signature, [task])
            elif not tasks[0].future.done():
                tasks[0].future.set_exception(error)
            return
        for task, output in zip(tasks, outputs, strict=True):
            if not task.future.done():
                task.future.set_result(output)


def _run_joined(servable: Servable, signature: str, requests: list[Arrays]) -> list[Arrays]:
    if len(requests) == 1:
        return [servable.run(signature, requests[0])]
    return split(servable.run(signature, join(requests)), requests)


def join(requests: list[Arrays]) -> Arrays:
    """Concatenates requests along dimension 0, with `concepts` [B, K] padded to the widest by b""."""
    widest = max(inputs[PADDED].shape[1] for inputs in requests)
    joined = {}
    for name in requests[0]:
        arrays = [inputs[name] for inputs in requests]
        if name == PADDED:
            arrays = [
                np.pad(array, [(0, 0), (0, widest - array.shape[1])], constant_values=b"") for array in arrays
            ]
        joined[name] = np.concatenate(arrays)
    return joined


def split(outputs: Arrays, requests: list[Arrays]) -> list[Arrays]:
    """Undoes `join` for outputs [B, K, ...] or [B]: each request gets its own rows and its own K."""
    parts, start = [], 0
    for inputs in requests:
        rows, concepts = inputs[PADDED].shape
        own = {name: array[start : start + rows] for name, array in outputs.items()}
        parts.append({name: array[:, :concepts] if array.ndim > 1 else array for name, array in own.items()})
        start += rows
    return parts
