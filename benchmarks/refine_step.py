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
units (of the first layer) that this happens to. Rounding decides as well about a teacher's cosine that lies
at the threshold; the fast form's gradients are compared once more with the literal form's own targets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
from refine_step_child import CHILDREN, GRADIENTS, NETWORK_SIZE  # noqa: E402


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
        apart = {}
        if len(found) == 2:
            apart = differences(Path(work), "fast") | {
                f"{name}, same targets": values for name, values in differences(Path(work), "same").items()
            }
    rows, counted = [], {form: flops(sizes, batch, form) for form in ("literal", "fast")}
    for form, count in counted.items():
        cells = ["does not fit"] * 4
        if form in found:
            one = found[form]
            cells = [f"{one['seconds']:.2f}", f"{count / one['seconds'] / one['matmul']:.2f}"]
            cells += [f"{one['peak']:.2f}", f"{one['peak'] - one['held']:.2f}"]
        rows.append([str(batch), form, f"{count / 1e9:.1f}", *cells])
    cells = ["", "", "", ""]
    if apart:
        literal, fast = found["literal"], found["fast"]
        added = [one["peak"] - one["held"] for one in (literal, fast)]
        cells = [f"{literal['seconds'] / fast['seconds']:.1f}", "", f"{literal['peak'] / fast['peak']:.1f}"]
        cells.append(f"{added[0] / max(added[1], 1e-9):.1f}")
    rows.append([str(batch), "times less", f"{counted['literal'] / counted['fast']:.1f}", *cells])
    if network:
        teacher = counted["literal"] + batch * network["flops"]
        less = f"{teacher / counted['fast']:.1f}"
        rows.append([str(batch), "times less, with the teacher's own network", less, *[""] * 4])
    for name, values in apart.items():
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


def differences(work: Path, form: str) -> dict[str, dict[str, float]]:
    """Of the loss and gradients of a form and the literal one, the norm of the difference over the norm: all,
    and without what turned.
    """

    def both(name: str) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.load(work / f"{one}-{name}.npy", mmap_mode="r") for one in ("literal", form))

    literal, fast = (np.load(work / f"{one}-active.npy") for one in ("literal", "fast"))
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


if __name__ == "__main__":
    main()
