"""Whether a trainer would wait: each stage's pipeline against merely decoding and resizing the same files.

    python benchmarks/pipelines.py --data runs/ccp/records --attention runs/ccp/model.run/attention-masks

The bare rate parses the photo out of each record, decodes it in full and squashes it to the stage's size, on
the same cores; for Stage 3 it also decodes the concept's mask and resizes that. It neither
orders, shuffles, augments, reads boxes, tags or attention, nor joins batches. Bare rate, pipeline without and
with augmentation take turns; the table shows medians over the repetitions, and medians of the ratios
within a repetition, which a load that comes and goes disturbs less. The clock starts with the first batch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from cmask_tf import config as configs
from cmask_tf import geometry
from cmask_tf.data import attention_records, pipelines, schema
from cmask_tf.data.records import RecordSet
from cmask_tf.data.topics import Topics

KINDS = ("bare", "plain", "augmented")
DIM = 4096  # of word vectors, the paper's


def image_bytes(serialized: tf.Tensor) -> tf.Tensor:
    """The photo of a record and nothing else."""
    spec = {schema.ENCODED: tf.io.FixedLenFeature([], tf.string)}
    return tf.io.parse_single_example(serialized, spec)[schema.ENCODED]


def bare_photo(size: int, serialized: tf.Tensor) -> tf.Tensor:
    """Decodes and squashes a photo."""
    return geometry.resize_image(pipelines.decode_photo(image_bytes(serialized)), size)


def bare_pair(size: int, serialized: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and squashes a photo and the mask of one of its concepts."""
    spec = {
        schema.ENCODED: tf.io.FixedLenFeature([], tf.string),
        attention_records.LABELS: tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True),
    }
    record = tf.io.parse_single_example(serialized, spec)
    labels = tf.io.decode_png(record[attention_records.LABELS][place], channels=1)
    mask = tf.cast(geometry.resize_labels(labels, size), tf.float32)
    return geometry.resize_image(pipelines.decode_photo(record[schema.ENCODED]), size), mask


def bare(examples: tf.data.Dataset, decode: Callable, batch: int) -> tf.data.Dataset:
    """Decodes on every core and throws away; elements count a batch's examples."""
    options = tf.data.Options()
    options.autotune.enabled = False
    decoded = examples.map(decode, num_parallel_calls=os.cpu_count(), deterministic=False)
    return decoded.map(lambda *_: 0).batch(batch).map(tf.size).with_options(options)


def stages(data: Path, attention: Path | None, config: configs.Config) -> Iterator[tuple[str, dict]]:
    """(name, {kind of run: a function that makes its dataset of batches})."""
    tags, boxes = RecordSet.open(data / "tags"), RecordSet.open(data / "boxes")
    size, stride = config.attention.training_size, config.backbone.output_stride
    spelling = {name: i for i, name in enumerate(tags.tags)}
    vectors = np.random.default_rng(0).standard_normal((len(spelling), DIM), np.float32)
    topics = Topics(spelling, np.ones(len(spelling)), vectors)
    trained = {name: i for i, name in enumerate({**boxes.tags, **boxes.concepts})}

    def runs(examples: tf.data.Dataset, decode: Callable, batch: int, batches: Callable) -> dict:
        made = {"bare": partial(bare, examples, partial(decode, size), batch)}
        return made | {k: partial(batches, seed=1, epoch=0, train=k == "augmented") for k in KINDS[1:]}

    batch = config.embed.batch
    batches = partial(pipelines.embedding_batches, tags, topics, size, batch)
    yield f"1, tags, {size} px", runs(tf.data.TFRecordDataset(tags.files), bare_photo, batch, batches)
    batch = config.refine.batch
    batches = partial(pipelines.refinement_batches, boxes, trained, size, stride, batch)
    yield f"2, boxes, {size} px", runs(tf.data.TFRecordDataset(boxes.files), bare_photo, batch, batches)
    if attention is None:
        return
    size, batch, noise = config.segmentation.size, config.segment.batch, config.segment.attention_noise
    records = SimpleNamespace(files=sorted(map(str, attention.glob("*.tfrecord"))))
    pairs = attention_records.pairs(tf.data.TFRecordDataset(records.files))
    batches = partial(pipelines.segmentation_batches, records, size, batch, noise=noise)
    yield f"3, masks, {size} px", runs(pairs, bare_pair, batch, batches)


def rate(dataset: tf.data.Dataset, limit: int) -> tuple[float, float]:
    """(examples a second, processor seconds an example) after the first batch."""
    batches, count = iter(dataset), 0
    next(batches)
    clock, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        first = next(iter(batch.values())) if isinstance(batch, dict) else batch
        count += int(first) if first.shape.rank == 0 else first.shape[0]
        if count >= limit:
            break
    return count / (time.perf_counter() - clock), (time.process_time() - cpu) / count


def main() -> None:
    """Parses the arguments, takes the measurements, prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="RECORDS", help="from `cmask data prepare`"
    )
    parser.add_argument(
        "--attention", type=Path, metavar="DIR", help="attention records, from Stage 3's .run"
    )
    parser.add_argument("--config", default="lite", help="sizes and batches (default: lite)")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--examples", type=int, default=1000, help="a run, at most")
    arguments = parser.parse_args()
    config = configs.load(arguments.config)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {arguments.repetitions} repetitions.\n")
    columns = ["stage", "bare, images/s", "plain", "augmented", "plain / bare", "augmented / bare"]
    columns += ["bare / plain, processor time", "bare / augmented, processor time"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for name, runs in stages(arguments.data, arguments.attention, config):
        found = {kind: [] for kind in KINDS}
        for repetition in range(arguments.repetitions + 1):
            for kind in KINDS:
                measured = rate(runs[kind](), arguments.examples)
                if repetition:  # the first fills the file cache
                    found[kind].append(measured)
        rates = {kind: statistics.median(r for r, _ in found[kind]) for kind in KINDS}
        both = [list(zip(found[kind], found["bare"], strict=True)) for kind in KINDS[1:]]
        ratios = [statistics.median(p[0] / b[0] for p, b in pairs) for pairs in both]
        ratios += [statistics.median(b[1] / p[1] for p, b in pairs) for pairs in both]
        cells = [f"{rates[kind]:.0f}" for kind in KINDS] + [f"{ratio:.2f}" for ratio in ratios]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"\nLoad at the end {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    main()
