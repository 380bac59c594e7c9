"""What the training loop adds to its networks: Stages 1 and 3 against bare forward and backward passes.

    python benchmarks/train_throughput.py --config lite

The loop's side is what `cmask train` runs: its losses, the dealing of batches to replicas, reading and
checking every term, the progress line, TensorBoard. Its batches lie ready in memory (benchmarks/pipelines.py
tells what making them costs). The bare side is one `tf.function`: the same networks on random tensors, the
mean square of their output, `tape.gradient`, the same optimisers. Both sides train the same variables.

Blocks of steps take turns; the table has the medians, and the medians of the ratios within a round, which a
load that comes and goes disturbs less; it disturbs processor time least. FLOPs are three times those of the
forward pass (TensorFlow's profiler counts these); their share of the machine is against a 4,096-cube float32
matrix product in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

from cmask_tf import config as configs
from cmask_tf import model_directory
from cmask_tf.models.embedding import embed_photo
from cmask_tf.training import loop
from cmask_tf.training.averages import Averages
from cmask_tf.training.checkpoints import Position
from cmask_tf.training.embedding import EmbeddingTask
from cmask_tf.training.loss_scale import LossScale
from cmask_tf.training.optimizers import groups, make_optimizers
from cmask_tf.training.segmentation import SegmentationTask
from cmask_tf.training.strategy import distribute, make_strategy

STEPS = 1_000_000  # of an epoch that never ends
CUBE = 4096


class Stage1(EmbeddingTask):
    """The networks and the loss of Stage 1, without records."""

    steps_per_epoch = STEPS
    by_photo = False

    def __init__(self, config: configs.Config, batch: int):
        dim = config.embedding.hidden[-1]
        self.plan = config.embed
        self.models = model_directory.build_parts(config, dim, 1, ("backbone", "embedding"))
        size = config.attention.training_size
        self.batch = {
            "image": tf.random.uniform([batch, size, size, 3], 0, 255),
            "topic": tf.random.normal([batch, dim]),
        }

    def network(self, batch: dict) -> tf.Tensor:
        return embed_photo(self.models["backbone"], self.models["embedding"], batch["image"], training=True)


class Stage3(SegmentationTask):
    """The networks and the loss of Stage 3, without records."""

    steps_per_epoch = STEPS

    def __init__(self, config: configs.Config, batch: int):
        parts = ("segmentation_encoder", "segmentation_decoder")
        self.plan, size = config.segment, config.segmentation.size
        self.by_photo = config.segmentation.design == "lite"
        self.models = model_directory.build_parts(config, 1, 1, parts)
        self.attention_parts = model_directory.build_parts(config, 1, 1, ("backbone",))
        mask = tf.random.uniform([batch, size, size, 1]) < 0.2
        self.batch = {
            "image": tf.random.uniform([batch, size, size, 3], 0, 255),
            "attention": tf.random.uniform([batch, size, size, 2]),
            "mask": tf.cast(mask, tf.float32),
            "weight": tf.ones([batch, size, size, 1]),
        }

    def network(self, batch: dict) -> tf.Tensor:
        return self.logits(batch["image"], batch["attention"], training=True)


def bare_steps(task: Stage1 | Stage3, optimizers: dict) -> Callable[[int], None]:
    """A function that makes so many steps, to the end."""
    trained = groups(task.models)

    @tf.function
    def step(batch: dict) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(task.network(batch)))
        gradients = tape.gradient(loss, trained)
        for name, optimizer in optimizers.items():
            optimizer.apply(gradients[name], trained[name])
        return loss

    def run(count: int) -> None:
        for _ in range(count):
            loss = step(task.batch)
        float(loss)

    return run


def loop_steps(
    task: Stage1 | Stage3, optimizers: dict, strategy: tf.distribute.Strategy, watch: loop.Watch
) -> Callable[[int], None]:
    """Likewise, by the training loop."""
    elements = distribute(tf.data.Dataset.from_tensors(task.batch).repeat(), strategy, deterministic=False)
    averages, scale = Averages(task.models, task.plan.ema), LossScale(task.models.values())
    step = loop._make_step(task, task.plan, optimizers, averages, scale, strategy, elements.element_spec)
    ready = iter(elements)

    def run(count: int) -> None:
        for _ in watch.steps(step, islice(ready, count)):
            pass

    return run


def step_flops(task: Stage1 | Stage3) -> int:
    """Of the forward pass, and twice as many of the backward pass, which a frozen backbone does not have."""
    frozen = 0
    if task.by_photo:
        frozen = forward_flops(task.attention_parts["backbone"], task.batch["image"])
    return 3 * forward_flops(task.network, task.batch) - 2 * frozen


def forward_flops(network: Callable, given) -> int:
    """A multiplication and an addition count as two."""
    graph = tf.function(network).get_concrete_function(given).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    builder = tf.compat.v1.profiler.ProfileOptionBuilder(options).with_empty_output()
    return tf.compat.v1.profiler.profile(graph, options=builder.build()).total_float_ops


def matmul_peak() -> float:
    """FLOP/s of a float32 matrix product, the best of five."""
    square = tf.random.normal([CUBE, CUBE])
    product, seconds = tf.function(lambda: tf.reduce_sum(square @ square)), []
    for _ in range(6):
        start = time.perf_counter()
        float(product())
        seconds.append(time.perf_counter() - start)
    return 2 * CUBE**3 / min(seconds[1:])


def measure(task: Stage1 | Stage3, rounds: int, steps: int) -> Iterator[tuple[float, float, float, float]]:
    """Each round's seconds a step, bare and by the loop, and seconds of processor time, likewise.

    Who begins a round ends the next.
    """
    strategy = make_strategy()
    optimizers = make_optimizers(task.models, task.plan, STEPS)
    position = Position({"steps_per_epoch": STEPS})
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(loop.Watch(task, task.plan, position, optimizers, Path(folder))) as watch,
    ):
        runs = [bare_steps(task, optimizers), loop_steps(task, optimizers, strategy, watch)]
        for run in runs:
            run(2)  # traces, and fills caches
        for number in range(rounds):
            seconds = {run: timed(run, steps) for run in (runs if number % 2 else runs[::-1])}
            clocks, processors = zip(*(seconds[run] for run in runs), strict=True)
            yield *clocks, *processors


def timed(run: Callable[[int], None], steps: int) -> tuple[float, float]:
    """Seconds a step, and processor seconds."""
    clock, processor = time.perf_counter(), time.process_time()
    run(steps)
    return (time.perf_counter() - clock) / steps, (time.process_time() - processor) / steps


def main() -> None:
    """Parses the arguments, takes the measurements, prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="lite", help="paper, lite, tiny or tiny-lite (default: lite)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="of each side in a round")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    config = configs.load(arguments.config)
    peak = matmul_peak()
    rows = []
    for name, stage in (("1", Stage1), ("3", Stage3)):
        task = stage(config, arguments.batch)
        flops = step_flops(task)
        found = list(measure(task, arguments.rounds, arguments.steps))
        bare, looped = (statistics.median(side) for side in list(zip(*found, strict=True))[:2])
        ratios = sorted(real / alone for alone, real, _, _ in found)
        processor = statistics.median(real / alone for _, _, alone, real in found)
        cells = [name, f"{1e3 * bare:.0f}", f"{1e3 * looped:.0f}", f"{statistics.median(ratios):.3f}"]
        cells += [f"{ratios[0]:.3f} to {ratios[-1]:.3f}", f"{processor:.3f}", f"{flops / 1e9:.0f}"]
        cells += [f"{flops / bare / peak:.2f}", f"{flops / looped / peak:.2f}"]
        rows.append(cells)
        keras.backend.clear_session()
    print(f"\nConfig {config.name}, batch {arguments.batch}, {os.cpu_count()} cores;", end=" ")
    print(f"{arguments.rounds} rounds of {arguments.steps} steps a side;", end=" ")
    print(f"matrix product {peak / 1e9:.0f} GFLOP/s; load {os.getloadavg()[0]:.1f}\n")
    columns = ["stage", "bare, ms a step", "loop, ms a step", "loop / bare", "in the rounds"]
    columns += ["loop / bare, processor time", "GFLOP a step"]
    columns += ["bare, of the matrix product", "loop, of the matrix product"]
    for row in (columns, ["---"] * len(columns), *rows):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
