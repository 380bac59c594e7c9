"""The figures of docs/presets/street.md: the preset and the floors on the test split, by level and concept.

    python benchmarks/street_card.py --data CCP --records RECORDS --work DIR
        [--document docs/presets/street.md]

Runs `cmask evaluate` for the preset beside whole image and position prior, and for GrabCut in the middle of
the photo; then the zero-level words once more by bare vectors, each turned away from the word's own by so
little that only the vocabulary no longer recognises it (cosine 0.9998). What DIR has already is not scored
again. The tables replace what stands between `<!-- figures -->` and `<!-- end of figures -->` of the
document.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from cmask_tf import ConceptSegmenter, presets  # noqa: E402
from cmask_tf.cli import guarded  # noqa: E402
from cmask_tf.cli import main as cmask  # noqa: E402
from cmask_tf.errors import UserError  # noqa: E402
from cmask_tf.evaluation.evaluate import evaluate  # noqa: E402
from cmask_tf.evaluation.systems import Prediction, SegmenterSystem  # noqa: E402

LEVELS = ("mask", "box", "image", "zero")
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
ASIDE = 0.02  # length of what is added to a unit vector, at a right angle
GOOD = 0.2  # IoU from which on a concept is counted


class BareVectors(SegmenterSystem):
    """The preset, asked by vectors that are no word's, for words that training never showed."""

    def answers(self, name: str) -> bool:
        return super().answers(name) and self.describe(name).level == "zero"

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        vectors = [beside(self._segmenter.vocabulary, name) for name in names]
        for name, one in zip(names, super().predict(path, image, vectors) if names else (), strict=True):
            yield Prediction(name, one.probability, one.attention, one.score, one.present)


def beside(vocabulary, name: str) -> np.ndarray:
    """float32 [D], the word's unit vector plus ASIDE of a vector at a right angle; the same each time."""
    index = vocabulary.index(name)
    own = vocabulary.vectors[index] / np.linalg.norm(vocabulary.vectors[index])
    drawn = np.random.default_rng(index).standard_normal(len(own))
    drawn -= drawn @ own * own
    return (own + ASIDE * drawn / np.linalg.norm(drawn)).astype(np.float32)


def scores(data: Path, records: Path, work: Path) -> dict[str, dict]:
    """ "street", "GrabCut" and "by vector" -> what `cmask evaluate` writes as metrics.json."""
    images, masks = data / "images" / "test", data / "coco" / "concept_masks_test.json"
    test = ["--images", str(images), "--masks", str(masks)]
    asked = {
        "street": ["--model", presets.DEFAULT, "--baselines", str(records)],
        "GrabCut": ["--floor", "grabcut"],
    }
    for name, system in asked.items():
        out = work / name
        if not (out / "metrics.json").exists() and cmask(["evaluate", *system, *test, "--out", str(out)]):
            raise UserError(f"{out}: cmask evaluate failed")
    if not (work / "by vector" / "metrics.json").exists():
        evaluate(BareVectors(ConceptSegmenter.load()), images, masks, work / "by vector")
    return {name: json.loads((work / name / "metrics.json").read_text()) for name in (*asked, "by vector")}


def level_table(found: Mapping[str, Mapping]) -> list[str]:
    """Quality by level, with the floors."""
    street = found["street"]
    floors = {**street["baselines"], "GrabCut in the middle": found["GrabCut"]}
    titles = ["level", "concepts", "precision", "recall", "IoU", "boundary IoU", "pointing game", "soft IoU"]
    lines = _head([*titles, *(f"IoU, {floor}" for floor in floors)])
    for level in LEVELS:
        own = street["levels"][level]
        cells = [level, str(own["concepts"]), *(f"{own[k]:.3f}" for k in ("precision", "recall"))]
        cells += [f"**{own['iou']:.3f}**"]
        cells += [f"{own[k]:.3f}" for k in ("boundary_iou", "pointing_game", "soft_iou")]
        cells += [f"{floor['levels'][level]['iou']:.3f}" for floor in floors.values()]
        lines.append(_row(cells))
    by_vector = found["by vector"]["levels"]["zero"]["iou"]
    good = sum(one["iou"] > GOOD for one in street["concepts"].values())
    lines += ["", f"Zero level by bare vectors in place of names: {by_vector:.3f}. "
              f"{good} of {len(street['concepts'])} concepts have an IoU above {GOOD}."]  # fmt: skip
    return lines


def presence_table(found: Mapping[str, Mapping]) -> list[str]:
    """ROC AUC by level, and the decisions."""
    street = found["street"]
    aucs: dict[str, list[float]] = {level: [] for level in LEVELS}
    for name, one in street["presence"]["by_concept"].items():
        if one["auc"] is not None:
            aucs[street["concepts"][name]["level"]].append(one["auc"])
    own = street["presence"]
    lines = _head(["", *LEVELS, "mean over concepts"])
    cells = [f"{np.mean(aucs[level]):.3f}" for level in LEVELS]
    lines.append(_row(["ROC AUC of the score", *cells, f"**{own['auc_macro']:.3f}**"]))
    lines.append(
        _row(["concepts", *(str(len(aucs[level])) for level in LEVELS), str(sum(map(len, aucs.values())))])
    )
    rates = f"precision {own['precision']:.2f}, recall {own['recall']:.2f}"
    lines += ["", f"Decisions: {rates}, Matthews correlation {own['mcc']:.2f}."]
    return lines


def concept_table(street: Mapping) -> list[str]:
    """Every concept, the best first."""
    lines = _head(["concept", "level", "precision", "recall", "IoU", "presence AUC", "test photos"])
    ranked = sorted(street["concepts"].items(), key=lambda item: -item[1]["iou"])
    for name, one in ranked:
        auc = street["presence"]["by_concept"][name]["auc"]
        cells = [name, one["level"], *(f"{one[k]:.2f}" for k in ("precision", "recall", "iou"))]
        lines.append(_row([*cells, "" if auc is None else f"{auc:.2f}", str(one["examples"])]))
    return lines


def _head(titles: Sequence[str]) -> list[str]:
    return [_row(titles), "|" + " --- |" * len(titles)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write(document: Path, lines: Sequence[str]) -> None:
    """Replaces the document's figures.

    Raises:
        UserError: it has no place for them.
    """
    text = document.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{document}: no section between {BEGIN} and {END}")
    document.write_text("\n".join([head + begin, "", *lines, "", end + tail]), encoding="utf-8")


def run(args: argparse.Namespace) -> None:
    """Scores what is missing and prints or writes the tables."""
    found = scores(args.data, args.records, args.work)
    lines = [*level_table(found), "", *presence_table(found), "", *concept_table(found["street"])]
    if args.document:
        write(args.document, lines)
    print("\n".join(lines))


def main(argv: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="CCP", help="the data folder")
    add("--records", type=Path, required=True, metavar="DIR", help="the --out of `cmask data prepare`")
    add("--work", type=Path, required=True, metavar="DIR", help="receives what `cmask evaluate` writes")
    add("--document", type=Path, metavar="FILE", help="its figures are replaced")
    args = parser.parse_args(argv)
    return guarded(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
