"""What gRPC and REST share: one prediction from its target to its arrays, counted and written down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from grpc import StatusCode

from cmask_tf.serving import limits, log
from cmask_tf.serving.batching import Arrays, Batcher
from cmask_tf.serving.metrics import Metrics
from cmask_tf.serving.options import ServerOptions
from cmask_tf.serving.servable import Servable, Signature, check_inputs
from cmask_tf.serving.status import Refused, invalid, refusal
from cmask_tf.serving.versions import Versions

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Target:
    """ModelSpec: which model, and which version or label of it (the latest by default)."""

    name: str
    version: int | None = None
    label: str | None = None


class Predictor:
    """Runs requests, and knows how many are running."""

    def __init__(self, options: ServerOptions, versions: Versions, batcher: Batcher, metrics: Metrics):
        self.options = options
        self.versions = versions
        self.metrics = metrics
        self._batcher = batcher
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    async def predict(
        self,
        target: Target,
        find: Callable[[Servable], Signature],
        read: Callable[[Signature], Arrays],
        wanted: list[str],
        record: dict,
    ) -> tuple[int, Arrays]:
        """One prediction.

        Args:
            target: the model.
            find: gives the signature; gRPC and REST refuse an unknown one with different codes.
            read: makes the inputs' arrays from the request.
            wanted: the outputs to answer with, all when empty.
            record: gets what the log says of the request.

        Returns:
            The version that ran, and the outputs by name.

        Raises:
            Refused: with the status code.
            tf.errors.OpError: the graph's own.
        """
        if self._draining:
            raise Refused(StatusCode.UNAVAILABLE, "the server is shutting down")
        with self._counted(), self.versions.hold(target.name, target.version, target.label) as servable:
            signature = find(servable)
            record.update(model=target.name, version=servable.version, signature=signature.name)
            _check_filter(signature, wanted)
            inputs = check_inputs(signature, read(signature))
            if "concepts" in inputs:
                record["concepts"] = log.cut(inputs["concepts"].flat)
            record["rows"] = rows = limits.check(signature, inputs, self.options)
            outputs = await self._batcher.submit(servable, signature.name, inputs, rows)
            return servable.version, {name: outputs[name] for name in wanted or sorted(outputs)}

    async def drain(self, seconds: float) -> bool:
        """Refuses what is new and waits for what runs; False when it did not end in time."""
        self._draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._running += 1
        self._idle.clear()
        self.metrics.in_flight.set(self._running)
        try:
            yield
        finally:
            self._running -= 1
            self.metrics.in_flight.set(self._running)
            if not self._running:
                self._idle.set()

    @contextlib.contextmanager
    def recorded(self, api: str, method: str, peer: str) -> Iterator[dict]:
        """Counts and logs one request; the block fills the record and may raise.

        Raises:
            Refused: in place of any error but a cancellation.
        """
        record = {"api": api, "method": method, "peer": peer}
        code, start = StatusCode.OK, time.perf_counter()
        try:
            yield record
        except asyncio.CancelledError:
            code = StatusCode.CANCELLED
            raise
        except Exception as error:
            refused = refusal(error)
            code, record["error"] = refused.code, refused.message
            raise refused from error
        finally:
            seconds = time.perf_counter() - start
            self.metrics.request(api, method, code.name, seconds)
            log.line("request", **record, code=code.name, ms=round(seconds * 1000, 1))


def _check_filter(signature: Signature, wanted: list[str]) -> None:
    for name in wanted:
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name[:80]} Outputs expected to be in the set "
                f"{{{','.join(sorted(signature.outputs))}}}."
            )
    if len(set(wanted)) < len(wanted):
        raise invalid("duplicate output tensor alias")
