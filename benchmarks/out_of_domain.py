"""What a model says of photos that show nothing it knows: every concept should be reported absent.

    python benchmarks/out_of_domain.py [--model DIR|PRESET] [--json FILE]

The photos are those that scikit-image and scikit-learn carry (SciPy's raccoon has to be downloaded, and is
not among them), and noise. All words of the vocabulary are asked for, trained or not. Nothing is to be tuned
on these photos. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
from skimage import data  # noqa: E402
from sklearn.datasets import load_sample_image  # noqa: E402

from cmask_tf.cli import guarded  # noqa: E402

NAMED = 3  # of the words with the highest scores


def photos() -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 RGB [H, W, 3]) of each."""
    for name in ("cat", "coffee", "rocket"):
        yield name, getattr(data, name)()
    yield "coins", np.repeat(data.coins()[..., np.newaxis], 3, axis=2)
    for name in ("china", "flower"):
        yield name, load_sample_image(f"{name}.jpg")
    yield "noise", np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)


def measure(model: str | None) -> dict[str, dict]:
    """Photo -> "absent", the share of words with a score below 0.5, and "scores", the highest first."""
    from cmask_tf import ConceptSegmenter

    segmenter = ConceptSegmenter.load(model)
    words = segmenter.vocabulary.names
    found = {}
    for name, photo in photos():
        features = segmenter.encode(photo)
        scores = np.array([segmenter.segment([word], features).scores[0] for word in words])
        ranked = np.argsort(-scores, kind="stable")
        found[name] = {
            "absent": float((scores < 0.5).mean()),
            "scores": {words[i]: float(scores[i]) for i in ranked},
        }
    return found


def report(found: dict[str, dict]) -> str:
    """In Markdown, with the mean over the photos."""
    lines = ["| photo | reported absent | highest scores |", "| --- | ---: | --- |"]
    for name, row in found.items():
        top = ", ".join(f"{word} {score:.2f}" for word, score in list(row["scores"].items())[:NAMED])
        lines.append(f"| {name} | {row['absent']:.1%} | {top} |")
    mean = np.mean([row["absent"] for row in found.values()])
    return "\n".join([*lines, f"| mean | {mean:.1%} | |"])


def main(args: argparse.Namespace) -> None:
    """Prints the table."""
    found = measure(args.model)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(report(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="DIR|PRESET", help="default: the preset of the package")
    parser.add_argument("--json", metavar="FILE", type=Path, help="every score, for machines")
    sys.exit(guarded(lambda: main(parser.parse_args())))
