"""The paper's graph as it is written against ours: equal masks, time, memory, share of the machine.

    python benchmarks/paper_graph.py [--photo a.jpg]

18,000 concepts of 4,096 dimensions, a bottleneck of 2,000, ResNet-50 at 300 and 700 px, the five-channel
Inception-V2 at 224 px; random weights, scaled so that every attention map spans at least half of its range.
The literal graph forms 18,000 coarse and 18,000 refined maps at both scales, with batch normalizations where
the paper has them. Both are SavedModels that take a photo and a word vector and give a mask of the photo's
size and a score; ours also with its tables in float16 and with its networks in bfloat16. Each is made, timed
and weighed in a process of its own, except that the timed calls take turns in one process.

It takes some minutes, up to 6 GB of memory and 4 GB of disk below --work.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

GRAPHS = ("literal", "ours", "float16 tables", "bfloat16")
CUBE = 4096  # of the matrix product that the machine is measured by


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--photo", metavar="FILE", help="by default matplotlib's grace_hopper.jpg")
    parser.add_argument("--work", metavar="DIR", type=Path, help="for the SavedModels, removed at the end")
    parser.add_argument("--rounds", type=int, default=9, help="calls of each graph that are timed")
    args = parser.parse_args()
    from scaled_model import Sizes

    from cmask_tf import config

    sizes = Sizes(config.paper(), concepts=18_000, dim=4_096, boxed=750)
    work = Path(tempfile.mkdtemp(prefix="paper-graph-", dir=args.work))
    try:
        counts = apart(export_all, sizes, args.photo, work)
        memory = {name: apart(memory_of, work, name) for name in ("", *GRAPHS[:3])}
        agreement, times = apart(compare, work, args.rounds)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(report(counts, memory, agreement, times))


def apart(function: Callable, *given):
    """Calls a function in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


# --- making the graphs ---


def export_all(sizes, photo: str | None, work: Path) -> dict[str, float]:
    """Writes a SavedModel of each graph, its attention maps, and the photo and words that all are asked.

    Returns:
        By graph the floating point operations of a photo and a word.
    """
    import scaled_model
    from graph_forms import Literal, Ours, attention_maps, export, operations

    from cmask_tf import model_directory
    from cmask_tf.models.combined import ConceptMaskModel
    from cmask_tf.models.precision import precision

    settings, counts = sizes.settings, {}
    image = scaled_model.read_photo(photo)
    parts, table = scaled_model.make(sizes, image, seed=0)
    words = asked(sizes, table.vectors)
    np.savez(work / "asked.npz", image=image, words=words)

    def write(name: str, graph: Literal | Ours) -> None:
        counts[name] = operations(graph)
        np.savez(work / f"{name}.npz", *attention_maps(graph, image, words))
        export(graph, work / name)

    write("literal", Literal(settings, parts, table))
    write("ours", Ours(ConceptMaskModel(settings, parts, table)))
    write("float16 tables", Ours(ConceptMaskModel(settings, parts, table, tables="float16")))
    with precision("mixed_bfloat16"):
        half = model_directory.copies(settings, parts)
    write("bfloat16", Ours(ConceptMaskModel(settings, half, table)))
    return counts


def asked(sizes, vectors: np.ndarray) -> np.ndarray:
    """Eight words float32 [8, D], on all three paths of the paper's mixing (4.4).

    Three concepts with boxes, three with tags alone, and two words outside the vocabulary.
    """
    import scaled_model

    inside = [0, 1, sizes.boxed - 1, sizes.boxed, sizes.boxed + 1, sizes.concepts - 1]
    return np.concatenate([vectors[inside], scaled_model.outside_words(sizes, 2)])


# --- what runs in a process of its own ---


def memory_of(work: Path, name: str) -> dict[str, float]:
    """GiB of a process that loads a SavedModel and answers three times: at most, and at the end.

    Without a name, of a process that has imported TensorFlow and read the photo.
    """
    import tensorflow as tf

    asked, disk = np.load(work / "asked.npz"), 0.0
    image, word = tf.constant(asked["image"]), tf.constant(asked["words"][:1])
    if name:
        graph = tf.saved_model.load(work / name)
        for _ in range(3):
            graph.segment(image=image, word_vector=word)
        disk = sum(f.stat().st_size for f in (work / name).rglob("*") if f.is_file())
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    found = {key: int(lines[key].split()[0]) / 2**20 for key in ("VmHWM", "VmRSS")}
    return {**found, "disk": disk / 2**30}


def compare(work: Path, rounds: int) -> tuple[dict, dict]:
    """How far each graph is from the literal one, and the seconds of a call, graph by graph in turns.

    Returns:
        agreement: by graph "apart" (the largest difference of a mask's probabilities), "attention" and
            "score" (likewise), "iou" (the smallest of the eight masks at 0.5) and "span" (the smallest of
            their attention maps').
        times: by graph, and for "matmul" and "matmul bfloat16", a list of `rounds` seconds.
    """
    import tensorflow as tf

    graphs = {name: tf.saved_model.load(work / name) for name in GRAPHS}
    given = np.load(work / "asked.npz")
    image, words = (tf.constant(given[name]) for name in ("image", "words"))
    answers = {}
    for name, graph in graphs.items():
        found = [graph.segment(image=image, word_vector=w) for w in tf.split(words, len(words))]
        answers[name] = [np.concatenate([f[key] for f in found]) for key in ("mask", "score")]
        answers[name] += np.load(work / f"{name}.npz").values()
    agreement = {name: differences(found, answers["literal"]) for name, found in answers.items()}
    calls = {
        name: lambda graph=graph: graph.segment(image=image, word_vector=words[:1])["mask"].numpy()
        for name, graph in graphs.items()
    }
    return agreement, seconds({**calls, **products(CUBE)}, rounds)


def differences(found: list[np.ndarray], expected: list[np.ndarray]) -> dict[str, float]:
    """See `compare`; both are masks, scores, attention at both scales."""
    apart = [float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True)]
    ours, theirs = found[0] > 0.5, expected[0] > 0.5
    iou = (ours & theirs).sum((1, 2)) / np.maximum((ours | theirs).sum((1, 2)), 1)
    span = min(float(np.ptp(maps, axis=(1, 2)).min()) for maps in found[2:])
    named = dict(zip(("apart", "score"), apart, strict=False))
    return {**named, "attention": max(apart[2:]), "iou": float(iou.min()), "span": span}


def products(cube: int) -> dict[str, Callable]:
    """Matrix products of the machine's best speed."""
    import tensorflow as tf

    square = tf.random.normal([cube, cube])
    half = tf.cast(square, tf.bfloat16)

    @tf.function
    def product(given: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.matmul(given, given))

    return {"matmul": lambda: product(square).numpy(), "matmul bfloat16": lambda: product(half).numpy()}


def seconds(calls: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Of each call, in turns, after a round that is not counted."""
    times = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in times.items()}


# --- the report ---


def report(counts: dict, memory: dict, agreement: dict, times: dict, cube: int = CUBE) -> str:
    """Tables in Markdown; ratios of times are the medians of the ratios within a round."""

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    rows = []
    for name in GRAPHS:
        count = counts[name]
        peak = "matmul bfloat16" if name == "bfloat16" else "matmul"
        share = count / (2 * cube**3) / ratio(name, peak)
        row = [name, f"{statistics.median(times[name]):.3f}", f"{ratio('literal', name):.2f}"]
        row += [f"{count / 1e9:.1f}", f"{share:.2f}"]
        apart = agreement[name]
        row += [f"{apart[key]:.1e}" for key in ("apart", "attention", "score")]
        rows.append([*row, f"{apart['iou']:.4f}", f"{apart['span']:.2f}"])
    head = ["graph", "s", "times faster", "GFLOP", "of matmul peak"]
    head += ["mask apart", "attention apart", "score apart", "least IoU", "least span of attention"]
    speeds = [2 * cube**3 / statistics.median(times[f"matmul{x}"]) / 1e9 for x in ("", " bfloat16")]
    peaks = f"Matrix products reached {speeds[0]:.0f} GFLOP/s in float32 and {speeds[1]:.0f} in bfloat16."
    return "\n".join([table(head, rows), "", peaks, "", memory_table(memory)])


def memory_table(memory: dict) -> str:
    """GiB of each process, and how many times less than the literal graph's."""
    rows = []
    for name, found in memory.items():
        row = [name or "TensorFlow alone", *(f"{found[key]:.2f}" for key in ("disk", "VmHWM", "VmRSS"))]
        less = [memory["literal"][key] / found[key] for key in ("VmHWM", "VmRSS")]
        rows.append([*row, *([f"{x:.2f}" for x in less] if name else ["", ""])])
    return table(["process", "SavedModel", "VmHWM", "VmRSS", "VmHWM less", "VmRSS less"], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    main()
