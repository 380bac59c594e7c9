"""The embedded server on an exported model: what it adds to the graph, and what overload does to it.

    python benchmarks/serving.py --model-base-path BASE --concept sky

All in one run, on gRPC's `segment_encoded` with a JPEG of one megapixel:

- **overhead**: one call over gRPC against the same call of the graph in this process, in turns, medians.
- **batching**: requests a second from eight callers with --max_batch_size 8 against 1, in turns.
- **half load**: the median and the 99th percentile at half of that rate, as multiples of the single call.
- **overload**: four times that rate; what was answered, what was refused and how, and the memory.
- **memory**: the resident memory over many requests, in ten parts.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import grpc
import numpy as np
from matplotlib import cbook
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from cmask_tf.errors import UserError
from cmask_tf.serving import tensors, version_folder
from cmask_tf.serving.servable import Servable

ROOT = Path(__file__).resolve().parent.parent
MODEL = "benchmark"
CALLERS = 8
SIGNATURE = "segment_encoded"


class Served:
    """A server process and a connection to it."""

    def __init__(self, base: Path, batch: int):
        command = [sys.executable, ROOT / "serving" / "server.py", "--model_base_path", base, "--port=0",
                   "--rest_api_port=0", f"--model_name={MODEL}", f"--max_batch_size={batch}"]  # fmt: skip
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if '"event": "serving"' in line:
                break
        else:
            raise UserError(f"{base}: the server did not start")
        ports = json.loads(line)
        self._rest = ports["rest"]
        # Somebody must read the log, or the server would wait for a full pipe.
        threading.Thread(target=collections.deque, args=(self._process.stderr, 0), daemon=True).start()
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{ports['grpc']}",
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        self.predict = prediction_service_pb2_grpc.PredictionServiceStub(self.channel).Predict

    def memory(self) -> float:
        """Resident MiB, as the metrics page tells."""
        url = f"http://127.0.0.1:{self._rest}/monitoring/prometheus/metrics"
        for line in urllib.request.urlopen(url, timeout=30).read().decode().splitlines():
            if line.startswith("process_resident_memory_bytes "):
                return float(line.split()[1]) / 2**20
        raise UserError(f"{url}: no process_resident_memory_bytes")

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_) -> None:
        self.channel.close()
        self._process.terminate()
        self._process.wait(60)


def jpeg(pixels: int) -> bytes:
    """A photo of about so many pixels."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB")
    scale = (pixels / (photo.width * photo.height)) ** 0.5
    out = io.BytesIO()
    photo.resize((round(photo.width * scale), round(photo.height * scale))).save(out, "JPEG", quality=90)
    return out.getvalue()


def request_of(inputs: dict[str, np.ndarray]) -> predict_pb2.PredictRequest:
    """The same arrays as a message."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    request.model_spec.signature_name = SIGNATURE
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tensors.write(array))
    return request


def overhead(served: Served, servable: Servable, inputs: dict, request, rounds: int) -> float:
    """Prints the ratio of the two medians; gives the seconds of one call over gRPC."""
    direct, remote = [], []
    for turn in range(rounds + 2):
        for times, call in (
            (direct, lambda: servable.run(SIGNATURE, inputs)),
            (remote, lambda: served.predict(request, timeout=600)),
        ):
            start = time.perf_counter()
            call()
            if turn >= 2:  # the first calls plan the graph
                times.append(time.perf_counter() - start)
    ratio = statistics.median(remote) / statistics.median(direct)
    print(f"overhead: gRPC / in process {ratio:.3f} (medians of {rounds} calls each)", flush=True)
    return statistics.median(remote)


def rate(served: Served, request, seconds: float) -> float:
    """Requests a second that `CALLERS` callers get who each wait for the answer."""
    end = time.perf_counter() + seconds
    counts = [0] * CALLERS

    def ask(index: int) -> None:
        while time.perf_counter() < end:
            served.predict(request, timeout=600)
            counts[index] += 1

    start = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(index,)) for index in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def batching(base: Path, batched: Served, request, seconds: float) -> float:
    """Prints the ratio of the two rates; gives the one with batches."""
    rates = {"batched": [], "alone": []}
    with Served(base, 1) as alone:
        for turn in range(4):
            for name, served in (("batched", batched), ("alone", alone)):
                found = rate(served, request, seconds / 4)
                if turn > 0:
                    rates[name].append(found)
    with_batches = statistics.mean(rates["batched"])
    ratio = with_batches / statistics.mean(rates["alone"])
    print(f"batching: rate batched / alone {ratio:.2f} ({CALLERS} callers)", flush=True)
    return with_batches


def arrivals(served: Served, request, per_second: float, seconds: float) -> list[tuple[str, float]]:
    """(status, seconds) of requests that come at random moments, whether the server keeps up or not."""
    random, results, done = np.random.default_rng(0), [], threading.Semaphore(0)

    def send() -> None:
        start = time.perf_counter()

        def ended(future) -> None:
            results.append((future.code().name, time.perf_counter() - start))
            done.release()

        served.predict.future(request, timeout=600).add_done_callback(ended)

    due = begin = time.perf_counter()
    sent = 0
    while due - begin < seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        send()
        sent += 1
        due += random.exponential(1 / per_second)
    for _ in range(sent):
        done.acquire()
    return results


def half_load(served: Served, request, full: float, single: float, seconds: float) -> None:
    """Prints the latencies as multiples of one call on the idle server."""
    results = arrivals(served, request, full / 2, seconds)
    times = [took for code, took in results if code == "OK"]
    p50, p99 = np.percentile(times, [50, 99]) / single
    refused = len(results) - len(times)
    print(f"half load: p50 {p50:.2f}, p99 {p99:.2f} of a single call's median "
          f"({len(times)} requests, {refused} refused)", flush=True)  # fmt: skip


def overload(served: Served, request, full: float, seconds: float) -> None:
    """Prints what became of four times as many requests as can be served."""
    before = served.memory()
    results = arrivals(served, request, 4 * full, seconds)
    counts = collections.Counter(code for code, _ in results)
    refusals = [took for code, took in results if code == "RESOURCE_EXHAUSTED"]
    others = sorted(set(counts) - {"OK", "RESOURCE_EXHAUSTED"})
    print(
        f"overload: {dict(counts)}; answered {counts['OK'] / seconds / full:.2f} of the full rate; "
        f"a refusal takes {np.median(refusals or [0]) * full:.2f} of the time between two answers; "
        f"memory {served.memory() / before:.3f} of before; refused otherwise: {others or 'none'}",
        flush=True,
    )
    served.predict(request, timeout=600)  # it lives


def flat_memory(served: Served, request, count: int) -> None:
    """Prints the resident memory after each tenth of the requests, of that after the first."""
    marks = []
    for _ in range(10):
        left = collections.deque(range(count // 10))

        def ask(left=left) -> None:
            while left:
                try:
                    left.pop()
                except IndexError:
                    return
                served.predict(request, timeout=600)

        threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        marks.append(served.memory())
    shown = " ".join(f"{mark / marks[0]:.3f}" for mark in marks)
    print(f"memory over {count} requests, of that after the first tenth: {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model-base-path", type=Path, required=True, help="versions of an export")
    parser.add_argument("--concept", action="append", required=True, help="a concept the model knows")
    parser.add_argument("--pixels", type=int, default=1_000_000, help="of the photo")
    parser.add_argument("--calls", type=int, default=50, help="of each kind, for the overhead")
    parser.add_argument("--seconds", type=float, default=60, help="for each rate, and for half load")
    parser.add_argument("--overload-seconds", type=float, default=120)
    parser.add_argument("--requests", type=int, default=10_000, help="for the memory")
    args = parser.parse_args()
    found = version_folder.scan(args.model_base_path)
    if not found:
        raise UserError(f"{args.model_base_path}: no versions in it")
    servable = Servable(found[max(found)].directory, max(found))
    concepts = np.array([[name.encode() for name in args.concept]], object)
    inputs = {"image_bytes": np.array([jpeg(args.pixels)], object), "concepts": concepts}
    if not servable.run(SIGNATURE, inputs)["known"].all():
        raise UserError(f"--concept: {args.concept}; expected names that the model knows")
    request = request_of(inputs)
    with Served(args.model_base_path, 8) as served:
        single = overhead(served, servable, inputs, request, args.calls)
        full = batching(args.model_base_path, served, request, args.seconds)
        half_load(served, request, full, single, args.seconds)
        overload(served, request, full, args.overload_seconds)
        flat_memory(served, request, args.requests)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"serving.py: error: {error}")
