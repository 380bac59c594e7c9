"""What a word gains from a hundred tagged photos: `cmask vocabulary add --tags`, scored on test photos.

    python benchmarks/tagged_word.py --data CCP [--model DIR|PRESET]
        [--word footwear --of shoes boots ...]

The word is a kind that the model's vocabulary has no name for, though it knows things of the kind. The first
N training photos that are tagged with one of them are tagged with the word in their place, as a person would
who sorts photos by "footwear"; no other line is read. The true mask of the word in a test photo is the union
of the masks of the things. Before, the model refuses the word; the table has beside it the best that a
single thing's name can do, and the whole photo. Every other word is compared to the bit on the first test
photos.

Prints a Markdown table. It is an error when another word's mask or score is not what it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import numpy as np  # noqa: E402
from new_concept import COMPARED, check_others, score, split  # noqa: E402

from cmask_tf import model_directory  # noqa: E402
from cmask_tf.cli import main as cmask  # noqa: E402
from cmask_tf.data.coco import load_concept_masks  # noqa: E402
from cmask_tf.errors import UserError  # noqa: E402
from cmask_tf.evaluation.evaluate import Photo, read_photos  # noqa: E402
from cmask_tf.metrics import mask_scores  # noqa: E402
from cmask_tf.segmenter import ConceptSegmenter  # noqa: E402

WORD = "footwear"
THINGS = ("shoes", "boots", "sandals", "heels", "pumps", "sneakers", "wedges", "flats", "loafers", "clogs")


def tag_lines(tags: Path, word: str, things: Sequence[str], count: int) -> list[str]:
    """The first `count` lines that name one of the things, with the word in their place.

    Raises:
        UserError: there are fewer.
    """
    found: list[str] = []
    with tags.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            others = [tag for tag in record["tags"] if tag not in things]
            if len(others) < len(record["tags"]) and len(found) < count:
                found.append(json.dumps({**record, "tags": [*others, word]}))
    if len(found) < count:
        raise UserError(f"{tags}: {len(found)} photos with one of {', '.join(things)}; expected {count}")
    return found


def unions(
    masks: Iterator[tuple[Path, dict[str, np.ndarray]]], word: str, things: Sequence[str]
) -> Iterator[tuple[Path, dict[str, np.ndarray]]]:
    """Photos and their masks, with the union of the things' as one more."""
    for path, found in masks:
        own = [found[thing] for thing in things if thing in found]
        yield path, {**found, **({word: np.logical_or.reduce(own)} if own else {})}


def stand_ins(
    segmenter: ConceptSegmenter, photos: Sequence[Photo], word: str, things: Sequence[str]
) -> dict[str, float]:
    """Mean IoU with the word's true masks of each thing's masks, and of the whole photo."""
    found: dict[str, list[float]] = {name: [] for name in (*things, "the whole photo")}
    for photo in photos:
        if word not in photo.truths:
            continue
        truth = photo.truths[word]
        masks = segmenter.segment(list(things), segmenter.encode(photo.image)).masks > 0.5
        for name, mask in zip(found, [*masks, np.ones_like(truth)], strict=True):
            found[name].append(mask_scores(mask, truth)["iou"])
    return {name: float(np.mean(values)) for name, values in found.items()}


def measure(model: Path, data: Path, word: str, things: Sequence[str], count: int) -> dict:
    """The word's figures, its neighbour, and what stands in for it.

    Returns:
        "word" (as `new_concept.score`), "neighbours" {name: similarity}, "stand_ins" {name: IoU}.
    """
    vocabulary = model_directory.load_vocabulary(model)
    known = [thing for thing in things if thing in vocabulary.names]
    truths = unions(load_concept_masks(*split(data, "test")), word, known)
    photos = list(read_photos(truths, {word, *known}))
    old = ConceptSegmenter.load(model)
    with TemporaryDirectory(prefix="cmask-") as work:
        lines, learnt = Path(work) / "tags.jsonl", Path(work) / "model"
        lines.write_text("\n".join(tag_lines(data / "tags" / "train.jsonl", word, known, count)) + "\n")
        added = ["vocabulary", "add", model, "--out", learnt, "--tags", lines, "--word", word]
        if cmask([str(part) for part in added]):
            raise UserError(f"cmask {' '.join(map(str, added))}: failed")
        new = ConceptSegmenter.load(learnt)
    check_others(old, new, photos[:COMPARED], word)
    return {"word": score(new, photos, [word])[word], "stand_ins": stand_ins(old, photos, word, known)}


def table(word: str, found: Mapping) -> str:
    """In Markdown."""
    own, others = found["word"], found["stand_ins"]
    whole = others["the whole photo"]
    best = max((name for name in others if name != "the whole photo"), key=others.get)
    return "\n".join(
        [
            "| asked for | mean IoU | presence AUC | test photos |",
            "| --- | --- | --- | --- |",
            f"| {word}, before | refused: not in the vocabulary | | {own['photos']} |",
            f"| {word}, after | {own['IoU']:.3f} | {own['presence AUC']:.3f} | {own['photos']} |",
            f"| {best} in its place, the best single word | {others[best]:.3f} | | {own['photos']} |",
            f"| the whole photo | {whole:.3f} | | {own['photos']} |",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", metavar="DIR|PRESET")
    add("--data", type=Path, required=True, metavar="CCP", help="a data folder")
    add("--word", default=WORD)
    add("--of", nargs="+", default=THINGS, metavar="THING", help="what the word is a kind of")
    add("--photos", type=int, default=100, help="N: tagged photos")
    args = parser.parse_args(argv)
    try:
        found = measure(model_directory.locate(args.model), args.data, args.word, args.of, args.photos)
    except UserError as error:
        sys.exit(f"tagged_word.py: error: {error}")
    print(table(args.word, found))
    print(f"\nAll other words: the same masks and scores to the bit, on {COMPARED} test photos.")


if __name__ == "__main__":
    main()
