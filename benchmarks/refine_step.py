"""A step of Stage 2 at the paper's size: the literal form against the one that forms only what it needs.

    python benchmarks/refine_step.py --batch 32 128

The network of the student, backbone and head, is the same in both forms. The rest starts from its dense
embedding e and ends with the gradients of e and of the refinement network: coarse maps, refinement, teacher,
losses. Both forms run `training.refine_loss` on random embeddings, each in a process of its own; the targets
that the fast form reads are computed before, as `training.teacher_cache` does.

Floating-point operations are counted from the shapes, matrix products only, two for a multiplication and an
addition. Memory is the peak of the step's process (VmHWM), and what the step adds to what the process held
before it: TensorFlow, word vectors, weights and inputs. A step that would not fit is counted and not run.

A few of the millions of hidden units lie so close to zero that rounding decides whether their ReLU lets them
through, another way in each form. Gradients are compared as they are, and without the places (of e) and the
units (of the first layer) that this happens to.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

GRADIENTS = ("e", "first kernel", "first bias", "second kernel", "second bias")
NETWORK_SIZE = 300  # px


def main(argv: list[str] | None = None) -> None:
    """Prints the tables."""
    sizes = arguments(argv)
    if sizes.child:
        print(json.dumps(CHILDREN[sizes.child](sizes)))
        return
    given = f"V {sizes.concepts:,}, D {sizes.dim:,}, bottleneck {sizes.bottleneck:,}, N {sizes.maps}, "
    given += f"J {sizes.boxed}, {sizes.annotated} annotated, maps of {sizes.grid} x {sizes.grid}"
    print(f"{given}; {os.cpu_count()} cores.\n")
    network = child(sizes, "network") if sizes.network_batch else None
    rows = [row for batch in sizes.batch for row in of_batch(sizes, batch, network)]
    columns = [
        "batch",
        "the rest of a step",
        "GFLOP",
        "s",
        "of matmul peak",
        "peak memory, GB",
        "the step's, GB",
    ]
    table(columns, rows)
    if network:
        of_network(sizes, network)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--concepts", type=int, default=18_000, help="V")
    parser.add_argument("--dim", type=int, default=4096, help="D")
    parser.add_argument("--bottleneck", type=int, default=2000)
    parser.add_argument("--maps", type=int, default=800, help="N of Eqn. 2")
    parser.add_argument("--boxed", type=int, default=750, help="concepts with boxes")
    parser.add_argument("--annotated", type=int, default=8, help="concepts of a photo")
    parser.add_argument("--grid", type=int, default=10, help="rows and columns of a map")
    parser.add_argument(
        "--repetitions", type=int, default=3, help="steps that are timed, after one that is not"
    )
    parser.add_argument("--network-batch", type=int, default=8,
                        help="photos for timing ResNet-50 and the head; 0: not at all")  # fmt: skip
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def table(columns: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def of_batch(sizes: argparse.Namespace, batch: int, network: dict | None) -> list[list[str]]:
    """The rows of a batch: both forms, and how many times less the fast one takes."""
    found = {}
    with tempfile.TemporaryDirectory() as work:
        child(sizes, "targets", batch, work)
        for form in ("literal", "fast"):
            if form == "fast" or literal_bytes(sizes, batch) < available():
                found[form] = child(sizes, form, batch, work)
        apart = differences(Path(work)) if len(found) == 2 else None
    rows, counted = [], {form: flops(sizes, batch, form) for form in ("literal", "fast")}
    for form, count in counted.items():
        cells = ["does not fit"] * 4
        if form in found:
            one = found[form]
            cells = [f"{one['seconds']:.2f}", f"{count / one['seconds'] / one['matmul']:.2f}"]
            cells += [f"{one['peak']:.2f}", f"{one['peak'] - one['held']:.2f}"]
        rows.append([str(batch), form, f"{count / 1e9:.1f}", *cells])
    cells = ["", "", "", ""]
    if apart is not None:
        literal, fast = found["literal"], found["fast"]
        added = [one["peak"] - one["held"] for one in (literal, fast)]
        cells = [f"{literal['seconds'] / fast['seconds']:.1f}", "", f"{literal['peak'] / fast['peak']:.1f}"]
        cells.append(f"{added[0] / max(added[1], 1e-9):.1f}")
    rows.append([str(batch), "times less", f"{counted['literal'] / counted['fast']:.1f}", *cells])
    if network:
        teacher = counted["literal"] + batch * network["flops"]
        less = f"{teacher / counted['fast']:.1f}"
        rows.append([str(batch), "times less, with the teacher's own network", less, *[""] * 4])
    for name, values in (apart or {}).items():
        text = ", ".join(f"{part} {value:.1e}" for part, value in values.items())
        rows.append([str(batch), f"apart, relative, {name}: {text}", *[""] * 5])
    return rows


def of_network(sizes: argparse.Namespace, network: dict) -> None:
    """The student's backbone and head, the same in both forms."""
    print(f"\nThe student's ResNet-50 and head at {NETWORK_SIZE} px, in batches of {sizes.network_batch}; "
          "backward counted as twice forward.\n")  # fmt: skip
    rows = []
    for name, times in (("forward and backward", 3), ("forward, as the teacher", 1)):
        count, seconds = times * network["flops"], network[name]
        rows.append(
            [name, f"{count / 1e9:.1f}", f"{seconds:.2f}", f"{count / seconds / network['matmul']:.2f}"]
        )
    table(["a photo", "GFLOP", "s", "of matmul peak"], rows)


def flops(sizes: argparse.Namespace, batch: int, form: str) -> float:
    """Of a step without the networks before e."""
    from cmask_tf.models.refinement import forms_product

    places, v, d, k = batch * sizes.grid**2, sizes.concepts, sizes.dim, sizes.bottleneck
    if (
        form == "literal"
    ):  # coarse maps: forward, backward to e, the teacher's; two layers, forward and backward
        return 2 * places * v * (3 * d + 3 * k + 3 * k)
    columns = v if v <= 2 * sizes.maps else sizes.boxed + sizes.maps
    second = 3 * places * k * columns
    if forms_product(places, v, d, k):
        return 2 * (2 * v * d * k + 3 * places * d * k + second)
    return 2 * (places * v * (2 * d + 3 * k) + second)


def literal_bytes(sizes: argparse.Namespace, batch: int) -> float:
    """What the literal form needs, roughly: 9 times V maps were seen, the embeddings, weights, gradients."""
    places = batch * sizes.grid**2
    weights = sizes.concepts * (sizes.dim + 5 * sizes.bottleneck)
    return 4.0 * (9 * places * sizes.concepts + 6 * places * sizes.dim + weights) + 1e9


def available() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def child(sizes: argparse.Namespace, name: str, batch: int = 0, work: str = "") -> dict:
    """Runs a part in a process of its own."""
    options = {"batch": batch, "work": work, "child": name}
    given = [f"--{key.replace('_', '-')}={value}" for key, value in {**vars(sizes), **options}.items()]
    done = subprocess.run([sys.executable, __file__, *given], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{name} at batch {batch} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def differences(work: Path) -> dict[str, dict[str, float]]:
    """Of loss and gradients, the norm of the difference over the norm: all, and without what turned."""

    def both(name: str) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.load(work / f"{form}-{name}.npy", mmap_mode="r") for form in ("literal", "fast"))

    literal, fast = both("active")
    turned = literal != fast  # [locations, bottleneck]
    places, units = ~turned.any(axis=1), ~turned.any(axis=0)
    everything, without = {}, {}
    for name in ("loss", *GRADIENTS):
        one, other = both(name)
        everything[name] = relative(one, other)
        if name == "e":
            one, other = (each.reshape(len(places), -1)[places] for each in (one, other))
        if name.startswith("first"):
            one, other = (each.reshape(-1, len(units))[:, units] for each in (one, other))
        without[name] = relative(one, other)
    return {"all": everything, f"without {turned.sum():,} of {turned.size:,} units": without}


def relative(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm((one - other).ravel()) / np.linalg.norm(one.ravel()))


# --- what runs in a process of its own ---


def matmul_rate() -> float:
    """Of float32 matrix products at this moment, operations a second."""
    import tensorflow as tf

    square = tf.random.normal([4096, 4096])
    return 2 * 4096**3 / seconds_of(tf.function(lambda: tf.reduce_sum(tf.matmul(square, square))), 3)


def seconds_of(function: Callable, repetitions: int) -> float:
    """The median time of a call, after one that is not counted."""
    times = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        float(function())
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def network_child(sizes: argparse.Namespace) -> dict:
    """Time and operations a photo of ResNet-50 and head, forward alone and with backward."""
    import tensorflow as tf

    from cmask_tf import config
    from cmask_tf.models.backbone import build_backbone
    from cmask_tf.models.embedding import build_head, embed_map

    paper = config.paper()
    backbone = build_backbone(paper.backbone)
    head = build_head(2048, paper.embedding, sizes.dim)
    weights = [*backbone.trainable_variables, *head.trainable_variables]
    images = tf.random.uniform([sizes.network_batch, NETWORK_SIZE, NETWORK_SIZE, 3], maxval=255.0)

    def forward(training: bool) -> tf.Tensor:
        return tf.reduce_sum(embed_map(backbone, head, images, training)[0])

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            total = forward(True)
        return tf.add_n([tf.reduce_sum(gradient) for gradient in tape.gradient(total, weights)])

    alone = tf.function(lambda: forward(False))
    graph = alone.get_concrete_function().graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    counted = profiler.profile(graph, options=options.with_empty_output().build()).total_float_ops
    return {
        "flops": counted / sizes.network_batch,
        "matmul": matmul_rate(),
        "forward, as the teacher": seconds_of(alone, sizes.repetitions) / sizes.network_batch,
        "forward and backward": seconds_of(step, sizes.repetitions) / sizes.network_batch,
    }


def inputs(sizes: argparse.Namespace) -> SimpleNamespace:
    """Word vectors, and what a batch has in both forms; places of a photo are alike, as in photos."""
    rng = np.random.default_rng(0)
    batch, grid = sizes.batch[0], sizes.grid

    def embeddings() -> np.ndarray:
        photo = rng.standard_normal((batch, 1, 1, sizes.dim), np.float32)
        return photo + rng.standard_normal((batch, grid, grid, sizes.dim), np.float32)

    words = rng.standard_normal((sizes.concepts, sizes.dim), np.float32)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    boxed = np.sort(rng.permutation(sizes.concepts)[: sizes.boxed]).astype(np.int32)
    concepts = np.stack([rng.permutation(boxed)[: sizes.annotated] for _ in range(batch)])
    corners = np.sort(rng.integers(0, grid + 1, (2, 2, batch, sizes.annotated)), axis=1)
    cells = np.arange(grid)
    rows, columns = ((cells >= side[0, ..., None]) & (cells < side[1, ..., None]) for side in corners)
    targets = np.einsum("bar,bac->brca", rows, columns).astype(np.float32)
    gamma = rng.uniform(0.5, 1.0, (sizes.boxed, sizes.boxed)) * (rng.uniform(size=(sizes.boxed,) * 2) < 0.5)
    np.fill_diagonal(gamma, 0.0)
    return SimpleNamespace(
        words=words, e=embeddings(), original=embeddings(), boxed=boxed, gamma=gamma.astype(np.float32),
        batch={"concepts": concepts, "targets": targets},
    )  # fmt: skip


def plan_of(sizes: argparse.Namespace, literal: bool):
    """The paper's terms, at c = 1 and with a threshold that random embeddings reach: every term counts."""
    from cmask_tf.config import RefinementTraining

    threshold = 1.5 / sizes.dim**0.5
    return RefinementTraining(
        literal=literal, matching_weight=1.0, matching_maps=sizes.maps, threshold=threshold
    )


def targets_child(sizes: argparse.Namespace) -> dict:
    """Writes Psi_N and its maps for the fast form."""
    from cmask_tf.training.teacher_cache import Teacher

    given, plan = inputs(sizes), plan_of(sizes, literal=False)

    def backbone(e, training):
        return {"c5": e}

    def head(e, training):
        return e

    teacher = Teacher({"backbone": backbone, "embedding": head}, given.words, plan.threshold)
    matched, binary = [], []
    for e, concepts in zip(given.original, given.batch["concepts"], strict=True):
        maxima, above = teacher.maps(e[None])
        maxima[0, concepts] = -np.inf
        matched.append(np.argsort(-maxima[0], kind="stable")[: sizes.maps])
        binary.append(above[0][..., matched[-1]])
    np.savez(sizes.work / "targets.npz", matched=np.array(matched, np.int32), binary=np.array(binary))
    return {}


def form_child(sizes: argparse.Namespace) -> dict:
    """Time and memory of one form; writes its loss and gradients."""
    import keras
    import tensorflow as tf

    from cmask_tf.models.refinement import build_refinement
    from cmask_tf.training.refine_loss import RefinementLoss

    literal, given = sizes.child == "literal", inputs(sizes)
    keras.utils.set_random_seed(0)
    network = build_refinement(sizes.concepts, sizes.bottleneck)
    batch = {name: tf.constant(value) for name, value in given.batch.items()}
    if literal:
        batch["tags"] = tf.fill([sizes.batch[0], 1], -1)
    else:
        with np.load(sizes.work / "targets.npz") as targets:
            batch |= {name: tf.constant(targets[name]) for name in targets.files}
    e, original = tf.constant(given.e), tf.constant(given.original) if literal else None
    words = tf.Variable(given.words, trainable=False)
    loss = RefinementLoss(
        plan_of(sizes, literal), network, words, given.boxed, given.gamma, [], sizes.batch[0]
    )
    del given
    variables, kept = network.trainable_variables, []

    @tf.function
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(e)
            per_example, _ = loss(e, batch, original)
            total = tf.reduce_mean(per_example)
        return [total, *tape.gradient(total, [e, *variables])]

    def step() -> tf.Tensor:
        kept.clear()
        kept.extend(gradients())
        return kept[0]

    held = held_now()
    seconds = seconds_of(step, sizes.repetitions)
    peak = status("VmHWM")
    saved = dict(zip(("loss", *GRADIENTS), kept, strict=True)) | {"active": active(loss, e)}
    for name, value in saved.items():
        np.save(sizes.work / f"{sizes.child}-{name}.npy", value.numpy())
    return {"seconds": seconds, "held": held, "peak": peak, "matmul": matmul_rate()}


def active(loss, e):
    """Which hidden units are not zero: bool [locations, bottleneck]."""
    import tensorflow as tf

    from cmask_tf.models.refinement import hidden_maps

    if loss.plan.literal:
        hidden = loss.network.get_layer("bottleneck")(loss.coarse(e))
    else:
        hidden = hidden_maps(loss.network, e, tf.convert_to_tensor(loss.words), loss.forms_product(e))
    return tf.reshape(hidden > 0, [-1, hidden.shape[-1]])


def held_now() -> float:
    """The memory that is held, GB; lets the kernel forget the peak so far."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(field: str) -> float:
    """A field of /proc/self/status in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e9


CHILDREN = {
    "network": network_child,
    "targets": targets_child,
    "literal": form_child,
    "fast": form_child,
}


if __name__ == "__main__":
    main()
