"""What every converted form of a model costs beside its float32 SavedModel: one command, one report.

    python benchmarks/conversion_report.py --model DIR|PRESET --images DIR --masks COCO.json --out DIR
        [--photos RECORDS|FOLDER] [--concepts K] [--threads N] [--limit N] [--document FILE.md]

--images and --masks are a test split, as `cmask evaluate` takes it; --photos are those that int8's ranges
are measured on, and must be others. Writes OUT/conversion.md and conversion.json, the converted files, and a
result for each form as soon as it is there, in OUT/results: the same command again goes on where it stopped.

Of each form: the size of its files; what a fresh process takes that loads them and answers one photo for K
concepts; over all photos of the split, the form and the SavedModel in turns in one process, the times of
`encode` (from the resized photo, or the photo where the form resizes it) and of `decode` (K concepts), the
IoU of their masks and how far probabilities and scores are apart; and what `cmask evaluate` says of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import conversion_runners as runners  # noqa: E402
import conversion_tables  # noqa: E402

FEW = 2  # photos that warm up, not timed
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add = parser.add_argument
    add("--model", metavar="DIR|PRESET", help="as every command takes it")
    add("--images", metavar="DIR", type=Path, required=True, help="the photos of a test split")
    add("--masks", metavar="COCO.json", type=Path, required=True, help="their true masks")
    add(
        "--photos",
        metavar="RECORDS|FOLDER",
        type=Path,
        help="for int8's ranges; without them int8 is left out",
    )
    add("--concepts", metavar="K", type=int, default=8, help="that are decoded together (default: 8)")
    add("--threads", metavar="N", type=int, default=os.cpu_count(), help="of every runtime (default: all)")
    add("--limit", metavar="N", type=int, help="photos of the split, evenly chosen (default: all)")
    add("--out", metavar="DIR", type=Path, required=True, help="for the report and all files")
    add("--document", metavar="FILE.md", type=Path, help=f"gets the tables between {BEGIN} and {END}")
    args = parser.parse_args()

    from cmask_tf.cli import guarded

    sys.exit(guarded(lambda: report(args)))


def report(args) -> None:
    """Measures what has not been measured yet, writes the tables."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    from conversion_variants import VARIANTS

    from cmask_tf import model_directory
    from cmask_tf.export import engine
    from cmask_tf.segmenter import ConceptSegmenter

    model = model_directory.locate(args.model)
    model_directory.check(model)
    split = chosen(args.masks, args.limit)
    if args.document:
        filled_in(args.document, "")
    about = {"model": digest(model), "masks": hashlib.sha256(json.dumps(split).encode()).hexdigest()}
    about |= {"photos": len(split["images"]), "concepts": args.concepts, "threads": args.threads}
    same_run(args.out, about | {"ranges": str(args.photos)})
    annotations = args.out / "annotations.json"
    annotations.write_text(json.dumps(split), encoding="utf-8")
    segmenter, rows = ConceptSegmenter.load(model), {}
    for variant in VARIANTS:
        place = args.out / "results" / f"{variant.stem}.json"
        if place.is_file():
            rows[variant.title] = json.loads(place.read_text(encoding="utf-8"))
            continue
        rows[variant.title] = measured(variant, args, model, segmenter, annotations)
        write(place, json.dumps(rows[variant.title], indent=1))
        print(f"{variant.title}: measured", file=sys.stderr)
    reason = engine.hindrance() or "this report runs nothing on a GPU; docs/tensorrt.md tells how to compare"
    rows["TensorRT"] = {"skipped": reason}
    found = {"about": about | {"name": model.name}, "rows": rows}
    write(args.out / "conversion.json", json.dumps(found, indent=1))
    text = conversion_tables.report(found, VARIANTS)
    write(args.out / "conversion.md", text)
    if args.document:
        write(args.document, filled_in(args.document, text))
    print(text)


def measured(variant, args, model: Path, segmenter, annotations: Path) -> dict:
    """One row: {"skipped": why}, or "sizes", "process", "ops", "turns" (but of the reference), "levels" (mean
    IoU) and "auc" (of presence)."""
    import conversion_variants as variants

    from cmask_tf.errors import UserError
    from cmask_tf.evaluation.evaluate import evaluate

    if variant.held == "int8" and args.photos is None:
        return {"skipped": "no --photos to measure ranges on"}
    try:
        files = variants.convert(variant, model, args.out / "files", args.concepts, args.photos)
    except UserError as error:
        return {"skipped": str(error)}
    first = next(photos_of(annotations, args.images)).path
    words = segmenter.vocabulary.names[: args.concepts]
    row = {"sizes": variants.sizes(variant, files), "ops": variants.in_float(variant, files)}
    row["process"] = process(variant, files, first, words, args.threads)
    steps = args.out / "files" / "steps"
    steps.mkdir(exist_ok=True)
    variants.write_steps(segmenter, steps, args.concepts)
    if variant.title == variants.REFERENCE:
        runner = runners.Steps(steps)
    else:
        runner = variants.opened(variant, files, args.threads, args.concepts)
        reference = runners.Steps(steps, runner.given)
        row["turns"] = turns(runner, reference, photos_of(annotations, args.images), segmenter.vocabulary)
    system, out = variants.ConvertedSystem(runner, segmenter), args.out / "evaluations" / variant.stem
    metrics = evaluate(system, args.images, annotations, out, title=variant.title)
    row["levels"] = {level: found["iou"] for level, found in metrics["levels"].items()}
    return row | {"auc": metrics["presence"]["auc_macro"]}


def process(variant, files: Path, photo: Path, words: list[str], threads: int) -> dict[str, float]:
    """What a process of its own takes, see `conversion_runners.main`."""
    kind = variant.kind
    if kind == runners.ONNX and variant.held == "float16":
        kind += ".float16"
    # -P: the modules beside the script are not to be found by their short names.
    command = [
        sys.executable,
        "-P",
        runners.__file__,
        kind,
        str(files),
        str(photo),
        "|".join(words),
        str(threads),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def turns(runner, reference, photos, vocabulary) -> dict:
    """The form and the reference on every photo, one after the other, who begins in turns.

    Asked are the concepts that are in the photo, filled up with others to whole groups.

    Returns:
        "encode", "decode": medians over the photos of {"ms", "reference_ms", "times"}; of decode per
        concept. "iou": mean of the masks at 0.5 of the photos' own concepts, of which there are "masks".
        "mask", "score": {"apart": mean difference, "largest", "spread": the reference's standard deviation}.
    """
    times = {"encode": [], "decode": []}
    spans = {"mask": Span(), "score": Span()}
    ious, known, both = [], ({}, {}), (runner, reference)
    for number, photo in enumerate(photos):
        own = [vocabulary.names[i] for name in photo.truths if (i := vocabulary.find(name)) is not None]
        words = filled(own, vocabulary.names, runner.concepts)
        given = [one.prepare(photo.image) for one in both]
        features, encoding = in_turns([partial(both[i].encode, given[i]) for i in (0, 1)], number)
        for i in (0, 1):  # the parameters of words that are new
            new = {*runners.groups(words, runner.concepts)} - {*known[i]}
            known[i].update({some: both[i].parameters(some) for some in new})
        asked = [partial(runners.ask, both[i], features[i], words, known[i]) for i in (0, 1)]
        ((masks, scores), (theirs, levels)), decoding = in_turns(asked, number)
        if number >= FEW:
            times["encode"].append(encoding)
            times["decode"].append([seconds / len(words) for seconds in decoding])
        spans["mask"].add(masks, theirs)
        spans["score"].add(scores, levels)
        ious += iou(masks[: len(own)] >= 0.5, theirs[: len(own)] >= 0.5)
    found = {name: span.found() for name, span in spans.items()}
    found |= {step: medians(np.array(pairs)) for step, pairs in times.items()}
    return found | {"iou": float(np.mean(ious)), "masks": len(ious)}


def in_turns(calls: list, number: int) -> tuple[list, list[float]]:
    """Answers and seconds of two calls; the first one begins where `number` is even."""
    answers, seconds = [None, None], [0.0, 0.0]
    for i in (0, 1) if number % 2 == 0 else (1, 0):
        start = time.perf_counter()
        answers[i] = calls[i]()
        seconds[i] = time.perf_counter() - start
    return answers, seconds


def medians(pairs: np.ndarray) -> dict[str, float]:
    """Of seconds [N, 2], a form's and the reference's."""
    if not len(pairs):
        return {"ms": float("nan"), "reference_ms": float("nan"), "times": float("nan")}
    ours, theirs = 1e3 * np.median(pairs, axis=0)
    return {
        "ms": float(ours),
        "reference_ms": float(theirs),
        "times": float(np.median(pairs[:, 0] / pairs[:, 1])),
    }


class Span:
    """Running difference of two arrays, and the spread of the second."""

    def __init__(self) -> None:
        self._count, self._apart, self._most, self._sum, self._squares = 0, 0.0, 0.0, 0.0, 0.0

    def add(self, found: np.ndarray, expected: np.ndarray) -> None:
        apart, expected = np.abs(found - expected), expected.astype(np.float64)
        self._count += apart.size
        self._apart += float(apart.sum(dtype=np.float64))
        self._most = max(self._most, float(apart.max()))
        self._sum += float(expected.sum())
        self._squares += float((expected**2).sum())

    def found(self) -> dict[str, float]:
        mean = self._sum / self._count
        spread = max(self._squares / self._count - mean**2, 0.0) ** 0.5
        return {"apart": self._apart / self._count, "largest": self._most, "spread": spread}


def iou(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """Of bool masks [N, S, S], each with its like; two empty ones agree."""
    both, either = (ours & theirs).sum((1, 2)), (ours | theirs).sum((1, 2))
    return np.where(either, both / np.maximum(either, 1), 1.0).tolist()


def filled(own: list[str], names: list[str], size: int) -> list[str]:
    """A photo's own words and others, so many that they make whole groups."""
    missing = -len(own) % size if own else size
    others = [name for name in names if name not in own]
    words = own + others[:missing]
    return words + words[-1:] * (-len(words) % size)


def photos_of(annotations: Path, images: Path) -> Iterator:
    """`evaluate.Photo` of every photo of the split."""
    from cmask_tf.data.coco import coco_categories, load_concept_masks
    from cmask_tf.evaluation.evaluate import read_photos

    return read_photos(load_concept_masks(annotations, images), set(coco_categories(annotations)))


def chosen(masks: Path, limit: int | None) -> dict:
    """The annotations of at most `limit` photos, evenly chosen.

    Raises:
        UserError: the file is no JSON of COCO's form.
    """
    from cmask_tf.errors import UserError

    try:
        split = json.loads(masks.read_text(encoding="utf-8"))
        images = split["images"]
        if limit is not None and limit < len(images):
            images = [
                images[i] for i in np.unique(np.linspace(0, len(images) - 1, limit).round().astype(int))
            ]
        kept = {image["id"] for image in images}
        annotations = [a for a in split["annotations"] if a["image_id"] in kept]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{masks}: expected a COCO instances file ({error})") from None
    return {**split, "images": images, "annotations": annotations}


def filled_in(document: Path, text: str) -> str:
    """A document with a text between its marks.

    Raises:
        UserError: it has none.
    """
    from cmask_tf.errors import UserError

    old = document.read_text(encoding="utf-8") if document.is_file() else ""
    if BEGIN not in old or END not in old.split(BEGIN, 1)[1]:
        raise UserError(f"{document}: expected the marks {BEGIN} and {END}")
    before, rest = old.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END, 1)[1].rstrip()}"


def same_run(out: Path, key: dict) -> None:
    """Raises a UserError where `out` holds the results of something else."""
    from cmask_tf.errors import UserError

    place = out / "run.json"
    if not place.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out}: exists and is no report of conversions; give another --out")
        return write(place, json.dumps(key))
    known = json.loads(place.read_text(encoding="utf-8"))
    other = sorted(name for name in key if known.get(name) != key[name])
    if other:
        raise UserError(f"{out}: holds a report with another {', '.join(other)}; give another --out")


def digest(folder: Path) -> str:
    """Of all files of a directory."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return total.hexdigest()


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.rename(path)


if __name__ == "__main__":
    main()
