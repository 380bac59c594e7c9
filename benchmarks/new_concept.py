"""What a word gains from a few masks: `cmask train concept` on ConceptWorld, before and after.

    cmask data world --scenes 2000 --out runs/world
    cmask reproduce --data runs/world --out runs/reproduction --config tiny --seeds 1
    python benchmarks/new_concept.py --model runs/reproduction/seed-0/model --world runs/world

For each word the first N validation photos that show it (all, where there are fewer) and as many others are
made a record set, as by `cmask data coco --ids`. `add_concept` learns the word from them, each word from the
same model. Then both models are asked for the word in every test photo: IoU is the mean over those that show
it, presence the ROC AUC over all. Everything else has to be as it was: masks and scores of all other words of
the vocabulary are compared bit by bit on the first test photos.

Prints a Markdown table. It is an error when another word's mask or score is not what it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from cmask_tf import model_directory  # noqa: E402
from cmask_tf.data import records  # noqa: E402
from cmask_tf.data.coco import load_concept_masks, read_coco  # noqa: E402
from cmask_tf.errors import UserError  # noqa: E402
from cmask_tf.evaluation.evaluate import Photo, Scores, read_photos  # noqa: E402
from cmask_tf.evaluation.systems import SegmenterSystem  # noqa: E402
from cmask_tf.segmenter import ConceptSegmenter  # noqa: E402
from cmask_tf.training.concept_photos import FEWEST  # noqa: E402
from cmask_tf.training.new_concept import add_concept, check_word  # noqa: E402

WORDS = ("van", "mug", "leg", "moon", "chimney", "handle")
COMPARED = 5  # test photos on which all other words are compared
FIGURES = ("IoU", "presence AUC")
COLUMNS = [(figure, when) for figure in FIGURES for when in ("before", "after")]


def split(world: Path, name: str) -> tuple[Path, Path]:
    """The masks and photos of a split, "val" or "test"."""
    return world / "coco" / f"concept_masks_{name}.json", world / "images" / name


def photos_of(shown: Mapping[str, set[str]], word: str, count: int) -> list[str]:
    """The first `count` photos that show a word, and the first others, as many.

    Args:
        shown: photo -> the concepts in it.

    Raises:
        UserError: none shows it.
    """
    own = [photo for photo, names in shown.items() if word in names][:count]
    if not own:
        raise UserError(f"{word!r}: no validation photo shows it")
    others = [photo for photo, names in shown.items() if word not in names]
    return own + others[: len(own)]


def write_records(world: Path, photos: Sequence[str], out: Path) -> records.RecordSet:
    """A record set of some of the validation photos, with all their masks."""
    annotations, images = split(world, "val")
    ids = out.with_suffix(".txt")
    ids.write_text("\n".join(photos), encoding="utf-8")
    inputs = {"images": images, "annotations": annotations, "ids": ids}
    records.write(partial(read_coco, annotations, images, ids=ids), out, inputs=inputs, source="coco")
    return records.RecordSet.open(out)


def score(segmenter: ConceptSegmenter, photos: Sequence[Photo], words: Sequence[str]) -> dict[str, dict]:
    """Word -> level, number of photos that show it, and FIGURES as `cmask evaluate` has them.

    Raises:
        UserError: no photo shows a word, or every one does.
    """
    system = SegmenterSystem(segmenter)
    about = {word: {key: getattr(system.describe(word), key) for key in ("level", "kind")} for word in words}
    with TemporaryDirectory(prefix="cmask-") as scratch:
        scores = Scores(system, "the model", about, words, len(photos), Path(scratch))
        for photo in photos:
            deque(scores.add(photo), maxlen=0)
        figures = scores.figures(None)
    found = {}
    for word in words:
        auc = figures["presence"]["by_concept"][word]["auc"]
        if auc is None:
            raise UserError(f"{word!r}: expected test photos that show it and others that do not")
        shown = figures["concepts"][word]
        values = dict(zip(FIGURES, (shown["iou"], auc), strict=True))
        found[word] = {"level": about[word]["level"], "photos": shown["examples"], **values}
    return found


def check_others(
    before: ConceptSegmenter, after: ConceptSegmenter, photos: Sequence[Photo], word: str
) -> None:
    """Compares the answers for all other words of the vocabulary.

    Raises:
        UserError: a bit of a mask or a score is another one.
    """
    learnt = after.vocabulary.index(word)  # the model before may not know the word
    others = [name for name in before.vocabulary.names if after.vocabulary.index(name) != learnt]
    for photo in photos:
        old, new = (one.segment(others, one.encode(photo.image)) for one in (before, after))
        for which in range(len(others)):
            bits = [(one.masks[which].tobytes(), one.scores[which].tobytes()) for one in (old, new)]
            if bits[0] != bits[1]:
                raise UserError(
                    f"{word!r} was learnt, and {others[which]!r} has another mask or score in {photo.path}"
                )


def table(rows: Sequence[Mapping]) -> str:
    """In Markdown, with the mean over the words."""
    titles = ["word", "level before", "masks", "test photos"]
    titles += [f"{figure} {when}" for figure, when in COLUMNS]
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    values = np.array([[row[when][figure] for figure, when in COLUMNS] for row in rows])
    about = [(row["word"], row["before"]["level"], row["masks"], row["before"]["photos"]) for row in rows]
    for cells, figures in zip([*about, ("mean", "", "", "")], [*values, values.mean(axis=0)], strict=True):
        lines.append("| " + " | ".join([*map(str, cells), *(f"{value:.3f}" for value in figures)]) + " |")
    return "\n".join(lines)


def measure(model: Path, world: Path, words: Sequence[str], count: int) -> list[dict]:
    """A row for each word: "word", "masks" it was learnt from, and what `score` says "before" and "after"."""
    vocabulary = model_directory.load_vocabulary(model)
    for word in words:
        check_word(model, vocabulary, word)
    shown = {path.name: set(masks) for path, masks in load_concept_masks(*split(world, "val"))}
    chosen = {word: photos_of(shown, word, count) for word in words}
    photos = list(read_photos(load_concept_masks(*split(world, "test")), set(words)))
    old = ConceptSegmenter.load(model)
    before, rows = score(old, photos, words), []
    for word in words:
        with TemporaryDirectory(prefix="cmask-") as work:
            learnt = Path(work) / "model"
            report = add_concept(
                model, write_records(world, chosen[word], Path(work) / "photos"), word, learnt
            )
            new = ConceptSegmenter.load(learnt)
        check_others(old, new, photos[:COMPARED], word)
        after = score(new, photos, [word])[word]
        rows.append({"word": word, "masks": report["photos"]["with"], "before": before[word], "after": after})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, metavar="DIR|PRESET")
    add("--world", type=Path, required=True, metavar="DIR", help="what `cmask data world` wrote")
    add("--words", nargs="+", default=WORDS, help="concepts of ConceptWorld of level image or zero")
    add("--photos", type=int, default=20, help="N: photos that show the word")
    args = parser.parse_args(argv)
    if args.photos < FEWEST:
        parser.error(f"--photos {args.photos}: expected {FEWEST} or more")
    try:
        rows = measure(model_directory.locate(args.model), args.world, args.words, args.photos)
    except UserError as error:
        sys.exit(f"new_concept.py: error: {error}")
    print(table(rows))
    print(f"\nAll other words: the same masks and scores to the bit, on {COMPARED} test photos.")


if __name__ == "__main__":
    main()
