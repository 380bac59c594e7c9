"""Counters for Prometheus."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

PATH = "/monitoring/prometheus/metrics"  # TensorFlow Serving's default
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
disable_created_metrics()  # a time stamp beside each counter, which nobody asked for
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        made = {"registry": self._registry}
        self._requests = Counter(
            "cmask_requests", "Requests by transport, method and status", ["api", "method", "code"], **made
        )
        self._seconds = Histogram(
            "cmask_request_seconds", "From the request's arrival to its answer", ["api", "method"],
            buckets=_SECONDS, **made,
        )  # fmt: skip
        self._rows = Histogram(
            "cmask_batch_rows", "Rows in a run of the graph", ["signature"], buckets=_ROWS, **made
        )
        self._run = Histogram(
            "cmask_run_seconds", "A run of the graph", ["signature"], buckets=_SECONDS, **made
        )
        self.in_flight = Gauge("cmask_requests_in_flight", "Predictions that have begun", **made)
        self._version = Gauge("cmask_model_version", "The version that serves", ["model"], **made)

    def request(self, api: str, method: str, code: str, seconds: float) -> None:
        """Counts one request that has been answered."""
        self._requests.labels(api, method, code).inc()
        self._seconds.labels(api, method).observe(seconds)

    def version(self, model: str, version: int | None) -> None:
        """Says which version serves; 0 when none does."""
        self._version.labels(model).set(version or 0)

    @contextlib.contextmanager
    def run(self, signature: str, rows: int) -> Iterator[None]:
        """Measures one run of the graph."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._rows.labels(signature).observe(rows)
            self._run.labels(signature).observe(time.perf_counter() - start)

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)
