"""Where the time of a photo goes in `lite`: its parts, and 1 to 80 concepts, at batch 1.

    python benchmarks/lite_latency.py [--model DIR] [--photo a.jpg] [--json FILE]

Without a model directory `lite` with random weights and 50 concepts, whose times are the same. A whole call
goes from the JPEG file to masks of the photo's size and scores: `ConceptSegmenter.encode` and `segment`. The
parts of it are timed alone; together they take less than their sum, since the networks share the processors.
Beside them whole calls with `bfloat16=True`, and the same networks as the paper writes the system: every
coarse and refined map is formed, batch normalizations are layers, attention is drawn at full size, the
photo's maps are copied for each concept.

All calls take turns with a matrix product of 4096 x 4096 in float32, by which the machine is measured. Of
four calls in a row the shortest counts: a process that does nothing else finds its caches like that. The
targets are 65 ms for a photo with one concept and 4 ms for a further one where that product takes 0.6 s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

COUNTS = (1, 8, 32, 80)
CUBE = 4096
IN_A_ROW = 4
TARGETS = {"one concept": 65.0, "a further concept": 4.0}  # ms where the product takes as long as this:
PRODUCT = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", metavar="DIR", type=Path, help="a model directory of `lite`'s design")
    parser.add_argument("--photo", metavar="FILE", help="by default matplotlib's grace_hopper.jpg")
    parser.add_argument("--rounds", type=int, default=11, help="times that each part is measured")
    parser.add_argument("--json", metavar="FILE", type=Path, help="the figures, for machines")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.model or random_model(Path(folder)), args.photo, COUNTS, args.rounds, CUBE)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    print(report(found))


def random_model(folder: Path, settings=None) -> Path:
    """Writes a model directory with random weights that the default photo scales; by default `lite`."""
    import scaled_model

    from cmask_tf import config, model_directory
    from cmask_tf.vocabulary.build import build

    settings = settings or config.load("lite", ["backbone.weights=null"])
    rng = np.random.default_rng(0)
    names = [f"word {number}" for number in range(50)]
    shown = rng.random((600, 50)) < rng.uniform(0.1, 0.5, 50)
    vocabulary = build([[n for n, s in zip(names, row, strict=True) if s] for row in shown], dim=16)
    sizes = scaled_model.Sizes(settings, concepts=50, dim=16, boxed=30)
    parts, _ = scaled_model.make(sizes, scaled_model.read_photo(None), seed=0)
    words = vocabulary.names
    concepts = [{"name": n, "level": "box" if i < 30 else "image"} for i, n in enumerate(words)]
    mixing = {"neighbours": settings.mixing.neighbours, "theta": {"image": 0.8, "zero": 0.8}}
    mixing["p"] = dict.fromkeys(words[30:], words[0])
    thresholds, provenance = {"pooled": 0.0, "concepts": {}}, {"seed": 0}
    model_directory.save(
        folder / "model", settings, vocabulary, concepts, parts, mixing, thresholds, provenance=provenance
    )
    return folder / "model"


def measure(model: Path, photo: str | None, counts: tuple[int, ...], rounds: int, cube: int) -> dict:
    """Times in ms (medians), and ratios that are medians of the ratios within a round.

    Returns:
        "parts": by part "ms", and where they are counted "gflop" and "peak", the share of the product's
        rate; "whole": by number of concepts and by form "ms" and "times" (the literal form's ms by it);
        "further": by form ms of a further concept; "apart": by form the largest difference of a mask's
        probability from the literal one's; "product": its seconds; "targets": ms, scaled to this machine.
    """
    from matplotlib import cbook
    from paper_graph import products

    from cmask_tf.segmenter import ConceptSegmenter

    file = Path(photo or cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    segmenter = ConceptSegmenter.load(model)
    product = {"product": products(cube)["matmul"]}
    calls, flops = calls_of_parts(segmenter, file)
    times = seconds(product | calls, rounds)
    parts = {name: {"ms": _ms(times[name])} for name in calls}
    for name, count in flops.items():
        rate = count / (2 * cube**3) / _ratio(times[name], times["product"])
        parts[name] |= {"gflop": count / 1e9, "peak": rate}
    forms = wholes(segmenter, model, file)
    names = segmenter.vocabulary.names
    words = {count: [names[i % len(names)] for i in range(count)] for count in counts}
    masks = {form: call(words[max(counts)]) for form, call in forms.items()}
    apart = {form: float(np.abs(found - masks["literal"]).max()) for form, found in masks.items()}
    calls = {(n, form): partial(call, words[n]) for n in counts for form, call in forms.items()}
    times = seconds(product | calls, rounds)
    whole, further = {}, {}
    for count in counts:
        of_forms = {form: times[count, form] for form in forms}
        whole[count] = {
            form: {"ms": _ms(t), "times": _ratio(of_forms["literal"], t)} for form, t in of_forms.items()
        }
    few, many = min(counts), max(counts)
    for form in forms:
        further[form] = (whole[many][form]["ms"] - whole[few][form]["ms"]) / (many - few)
    taken = statistics.median(times["product"])
    targets = {name: ms * taken / PRODUCT for name, ms in TARGETS.items()}
    return {"parts": parts, "whole": whole, "further": further, "apart": apart,
            "product": taken, "targets": targets}  # fmt: skip


def seconds(calls: dict, rounds: int) -> dict[str, list[float]]:
    """Of each call, the shortest of `IN_A_ROW`; all in turns."""
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            row = []
            for _ in range(IN_A_ROW):
                start = time.perf_counter()
                call()
                row.append(time.perf_counter() - start)
            times[name].append(min(row))
    return times


def calls_of_parts(segmenter, file: Path) -> tuple[dict[str, Callable], dict[str, float]]:
    """What is timed alone, and floating point operations of the parts that are networks."""
    import tensorflow as tf
    from graph_forms import counted

    from cmask_tf import geometry
    from cmask_tf.imageio import read_image
    from cmask_tf.models import segmentation

    model, image = segmenter.model, read_image(file)
    squares = {size: geometry.resize_image(image[None], size) for size in {*model.sizes, model.size}}
    features = segmenter.encode(image)

    def scale(square: tf.Tensor) -> tuple:
        maps = model.backbone(square, training=False)
        e = tf.nn.l2_normalize(model.head(maps["c5"], training=False), -1)
        return e, maps, tf.nn.relu(tf.tensordot(e, model.fold_matrix, 1) + model.fold_bias)

    maps = model.backbone(squares[model.size], training=False)  # for the photo's attention as well

    def pyramid(square: tf.Tensor) -> dict:
        return segmentation.encode(model.segmentation_encoder, square, maps, training=False)

    calls = {"JPEG to pixels": lambda: read_image(file)}
    calls["resize to the networks' sizes"] = lambda: [geometry.resize_image(image[None], s) for s in squares]
    flops = {}
    networks = [(f"attention at {size} px", scale, size) for size in dict.fromkeys(model.sizes)]
    for name, function, size in [*networks, (f"Stage 3's encoder at {model.size} px", pyramid, model.size)]:
        flops[name] = counted(function, tf.TensorSpec([1, size, size, 3]))
        graph = tf.function(function)
        calls[name] = lambda graph=graph, size=size: tf.nest.flatten(graph(squares[size]))[0].numpy()
    calls["encode (resize, attention, Stage 3's encoder)"] = lambda: (
        segmenter.encode(image).maps["c5"].numpy()
    )
    for count in (1, 16):
        vectors = segmenter.vocabulary.vectors[np.arange(count) % len(segmenter.vocabulary)]
        parameters, rows = model.resolve(vectors), tf.zeros(count, tf.int32)
        masks = model.decode(features.maps, parameters, rows)[0].numpy()
        out = np.empty((count, *image.shape[:2]), np.float32)
        asked = features.maps, parameters, rows
        calls[f"resolve {count}"] = lambda vectors=vectors: model.resolve(vectors)["theta"].numpy()
        calls[f"attention of {count}"] = lambda a=asked: model.attention(*a)[0][0].numpy()
        calls[f"decode {count} (attention, masks, scores)"] = lambda a=asked: model.decode(*a)[0].numpy()
        pairs = list(zip(masks, out, strict=True))
        calls[f"draw {count} at the photo's size"] = lambda p=pairs: [geometry.draw_map(*one) for one in p]
    given = {k: tf.TensorSpec([1, *v.shape[1:]]) for k, v in model.segmentation_decoder.input.items()}
    flops["decode 1 (attention, masks, scores)"] = counted(
        lambda maps: model.segmentation_decoder(maps, training=False), given
    )
    flops["decode 16 (attention, masks, scores)"] = 16 * flops["decode 1 (attention, masks, scores)"]
    return calls, flops


def wholes(segmenter, model: Path, file: Path) -> dict[str, Callable]:
    """By form: words -> masks float32 [K, H, W] of the photo in a file."""
    import tensorflow as tf
    from graph_forms import Literal, squares_of

    from cmask_tf import geometry, model_directory
    from cmask_tf.imageio import read_image
    from cmask_tf.models.mixing import ConceptTable
    from cmask_tf.segmenter import ConceptSegmenter

    settings = (model_directory.load_json(model / f"{name}.json") for name in ("mixing", "thresholds"))
    table = ConceptTable.build(segmenter.vocabulary, segmenter.concepts, *settings)
    literal = Literal(segmenter.config, model_directory.load_parts(model), table)
    body = tf.function(literal.body, reduce_retracing=True)

    def segment(system: ConceptSegmenter, words: list[str]) -> np.ndarray:
        return system.segment(words, system.encode(read_image(file))).masks

    def plain(words: list[str]) -> np.ndarray:
        image, vocabulary = read_image(file), segmenter.vocabulary
        vectors = np.stack([vocabulary.vectors[vocabulary.index(word)] for word in words])
        masks, scores = body(squares_of(literal, image[None]), tf.constant(vectors))
        scores.numpy()
        return geometry.resize_maps(masks[..., None], *image.shape[:2]).numpy()[..., 0]

    half = ConceptSegmenter.load(model, bfloat16=True)
    return {"float32": partial(segment, segmenter), "bfloat16": partial(segment, half), "literal": plain}


def _ms(times: list[float]) -> float:
    return 1000 * statistics.median(times)


def _ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def report(found: dict) -> str:
    """Tables in Markdown."""
    from paper_graph import table

    rows = []
    for name, part in found["parts"].items():
        counted = [f"{part['gflop']:.2f}", f"{part['peak']:.2f}"] if "peak" in part else ["", ""]
        rows.append([name, f"{part['ms']:.2f}", *counted])
    forms = list(found["apart"])
    whole = [
        [str(n), *(f"{one[f]['ms']:.1f}" for f in forms), *(f"{one[f]['times']:.2f}" for f in forms[:-1])]
        for n, one in found["whole"].items()
    ]
    whole.append(["a further one", *(f"{found['further'][form]:.2f}" for form in forms), "", ""])
    whole.append(["masks differ by", *(f"{found['apart'][form]:.1e}" for form in forms), "", ""])
    head = ["concepts", *(f"{form}, ms" for form in forms), *(f"{form}, times faster" for form in forms[:-1])]
    targets = found["targets"]
    scaled = (
        f"The matrix product takes {found['product']:.3f} s: the targets scaled to this machine are "
        f"{targets['one concept']:.0f} ms for a photo with one concept and "
        f"{targets['a further concept']:.1f} ms for a further one."
    )
    parts = table(["part", "ms", "GFLOP", "of matmul peak"], rows)
    return "\n".join([parts, "", table(head, whole), "", scaled])


if __name__ == "__main__":
    main()
