"""What `refine_step.py` runs in processes of their own: the network, the targets, each form of the loss."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

GRADIENTS = ("e", "first kernel", "first bias", "second kernel", "second bias")
NETWORK_SIZE = 300  # px


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
        batch |= saved_targets(sizes.work / "targets.npz")
    e, original = tf.constant(given.e), tf.constant(given.original) if literal else None
    words = tf.Variable(given.words, trainable=False)
    concepts, boxed, gamma = given.batch["concepts"], given.boxed, given.gamma
    del given
    loss = RefinementLoss(plan_of(sizes, literal), network, words, boxed, gamma, [], sizes.batch[0])
    variables, kept = network.trainable_variables, []

    @tf.function
    def gradients(batch: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(e)
            per_example, _ = loss(e, batch, original)
            total = tf.reduce_mean(per_example)
        return [total, *tape.gradient(total, [e, *variables])]

    def step() -> tf.Tensor:
        kept.clear()
        kept.extend(gradients(batch))
        return kept[0]

    def save(form: str) -> None:
        for name, value in zip(("loss", *GRADIENTS), kept, strict=True):
            np.save(sizes.work / f"{form}-{name}.npy", value.numpy())

    held = held_now()
    seconds = seconds_of(step, sizes.repetitions)
    peak = status("VmHWM")
    save(sizes.child)
    np.save(sizes.work / f"{sizes.child}-active.npy", active(loss, e).numpy())
    theirs = sizes.work / "literal-targets.npz"
    if literal:
        np.savez(theirs, **literal_targets(loss, original, concepts))
    elif theirs.exists():
        batch |= saved_targets(theirs)
        step()
        save("same")
    return {"seconds": seconds, "held": held, "peak": peak, "matmul": matmul_rate()}


def saved_targets(file: Path) -> dict:
    """Psi_N and its binary maps."""
    import tensorflow as tf

    with np.load(file) as targets:
        return {name: tf.constant(targets[name]) for name in targets.files}


def literal_targets(loss, original, concepts: np.ndarray) -> dict[str, np.ndarray]:
    """Psi_N and its binary maps as the literal form has them: from one product for the whole batch."""
    import tensorflow as tf

    maps = loss.coarse(original)
    maxima = tf.reduce_max(maps, axis=(1, 2)).numpy()
    np.put_along_axis(maxima, concepts, -np.inf, axis=1)
    matched = np.argsort(-maxima, kind="stable")[:, : loss.plan.matching_maps].astype(np.int32)
    chosen = tf.stack([tf.gather(*one, axis=2) for one in zip(maps, matched, strict=True)])
    return {"matched": matched, "binary": (chosen > loss.plan.threshold).numpy()}


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
