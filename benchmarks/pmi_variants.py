"""Which PMI the word vectors are made of: variants compared on images that were not counted.

    python benchmarks/pmi_variants.py tate=tate.jsonl ccp=all_tags_for_pmi.jsonl world=all_tags_for_pmi.jsonl

A fifth of the images is held out, several times over. From the others' counts come word vectors, of as
many dimensions as --share of the words, and from the vectors cosines. The measures:

- rank: Spearman's correlation of cosine and held-out PMI, over pairs in at least 3 held-out images.
- AUC: how often a pair of tags of one held-out image has a larger cosine than two tags drawn by chance.
- AUC, unseen: the same among pairs that are together in no counted image.
- substitutes: how often the nearest word by second order is found again from the bare word vector.

All settings of a corpus are scored on the same words: those frequent enough for its largest minimum
count. Prints a Markdown table, mean and standard deviation over the splits; the best of each column is
bold, and whatever is within one standard deviation of a paired difference from it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import scipy.stats  # noqa: E402
from tqdm import tqdm  # noqa: E402

from cmask_tf.vocabulary.counts import Counts, count  # noqa: E402
from cmask_tf.vocabulary.neighbours import second_order, second_order_of_vectors, unit  # noqa: E402
from cmask_tf.vocabulary.pmi import pmi_matrix, word_vectors  # noqa: E402
from cmask_tf.vocabulary.tag_files import tag_lines  # noqa: E402
from cmask_tf.vocabulary.text import fold  # noqa: E402

SETTINGS = [("pmi", k) for k in (0.1, 0.5, 1.0, 2.0, 5.0)] + [("ppmi", k) for k in (0.0, 0.5, 2.0)]
MEASURES = ("rank", "AUC", "AUC, unseen", "substitutes")
TOGETHER = 3  # held-out images from which a pair's PMI is scored
CHANCE_PAIRS = 200_000


def main(argv=None) -> None:
    """Reads the corpora, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", nargs="+", metavar="NAME=FILE", help="tag files")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--share", type=float, default=4096 / 18000, help="dimensions over words")
    parser.add_argument("--min-counts", type=int, nargs="+", default=[10, 40])
    args = parser.parse_args(argv)
    print(f"| corpus | minimum count | words | D | variant | smoothing | {' | '.join(MEASURES)} |")
    print("| --- " * (6 + len(MEASURES)) + "|")
    for corpus in args.corpora:
        name, _, file = corpus.partition("=")
        images = [tags for _, _, tags in tag_lines(file)]
        for row in compare(images, args.splits, args.share, args.min_counts, name):
            print(f"| {name} | {' | '.join(row)} |", flush=True)


def compare(images: list, splits: int, share: float, min_counts: list[int], name: str) -> list[list[str]]:
    """The rows of one corpus."""
    combinations = list(itertools.product(min_counts, SETTINGS))
    scores = np.full((len(combinations), splits, len(MEASURES)), np.nan)
    sizes = {}
    progress = tqdm(total=splits * len(combinations), desc=name, leave=False)
    for split in range(splits):
        held = np.random.default_rng(split).random(len(images)) < 0.2
        counted = [tags for tags, out in zip(images, held, strict=True) if not out]
        held_out = [tags for tags, out in zip(images, held, strict=True) if out]
        judged = set(count(counted, max(min_counts)).names)
        for minimum in min_counts:
            counts = count(counted, minimum)
            examples = Examples(counts, held_out, judged, split)
            dim = max(round(share * len(counts.names)), 2)
            sizes[minimum] = f"{len(counts.names):,}", f"{dim:,}"
            for variant, smoothing in SETTINGS:
                vectors, _ = word_vectors(pmi_matrix(counts, variant, smoothing), dim, overwrite=True)
                at = combinations.index((minimum, (variant, smoothing)))
                scores[at, split] = examples.scores(vectors)
                progress.update()
    progress.close()
    cells = _cells(scores)
    return [
        [str(minimum), *sizes[minimum], variant, f"{smoothing:g}", *cells[i]]
        for i, (minimum, (variant, smoothing)) in enumerate(combinations)
    ]


class Examples:
    """Pairs of judged words from held-out images and by chance, and what the counts say of them."""

    def __init__(self, counts: Counts, held_out: list, judged: set[str], seed: int):
        self.counts, rng = counts, np.random.default_rng(seed)
        place = {name: i for i, name in enumerate(counts.names) if name in judged}
        self.words = np.array(sorted(place.values()))
        known = [[place[tag] for tag in {fold(tag) for tag in tags} if tag in place] for tags in held_out]
        held = count([[f"{i:06d}" for i in row] for row in known])
        order = np.array([int(name) for name in held.names])
        upper = held.pairs.tocoo()
        keep = order[upper.row] < order[upper.col]
        self.pairs = np.stack([order[upper.row[keep]], order[upper.col[keep]]])
        self.times = upper.data[keep]
        single = np.zeros(len(counts.names))
        single[order] = held.single
        expected = single[self.pairs[0]] * single[self.pairs[1]] / len(held_out)
        self.pmi = np.log(self.times / expected)
        chance = rng.choice(len(single), (2, CHANCE_PAIRS), p=single / single.sum())
        self.chance = chance[:, chance[0] != chance[1]]
        self.substitutes = self._nearest(second_order(counts, self.words, self.words))

    def scores(self, vectors: np.ndarray) -> list[float]:
        """The measures, in the order of `MEASURES`."""
        directions = unit(vectors)
        together, chance = (
            np.sum(directions[a] * directions[b], axis=1) for a, b in (self.pairs, self.chance)
        )
        often = self.times >= TOGETHER
        new, new_chance = self._unseen(self.pairs), self._unseen(self.chance)
        found = self._nearest(second_order_of_vectors(vectors[self.words], vectors, self.counts, self.words))
        return [
            float(scipy.stats.spearmanr(together[often], self.pmi[often]).statistic),
            _auc(together, chance, self.times),
            _auc(together[new], chance[new_chance], self.times[new]),
            float(np.mean(found == self.substitutes)),
        ]

    def _nearest(self, similarity: np.ndarray) -> np.ndarray:
        np.fill_diagonal(similarity, -np.inf)
        return similarity.argmax(axis=1)

    def _unseen(self, pairs: np.ndarray) -> np.ndarray:
        return np.asarray(self.counts.pairs[pairs[0], pairs[1]]).ravel() == 0


def _auc(positive: np.ndarray, negative: np.ndarray, weights: np.ndarray) -> float:
    """P(positive > negative), halves for equal ones, positives weighted; NaN without either."""
    if len(positive) == 0 or len(negative) == 0:
        return float("nan")
    negative = np.sort(negative)
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(np.average(below / (2 * len(negative)), weights=weights))


def _cells(scores: np.ndarray) -> list[list[str]]:
    """Text of [settings, splits, measures]."""
    columns = []
    for values in np.moveaxis(scores, 2, 0):
        mean = values.mean(axis=1)
        if np.isnan(mean).any():  # no pair of tags is unseen
            columns.append(["-"] * len(mean))
            continue
        gaps = values[mean.argmax()] - values
        near = gaps.mean(axis=1) <= gaps.std(axis=1)
        texts = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, values.std(axis=1), strict=True)]
        columns.append([f"**{text}**" if bold else text for text, bold in zip(texts, near, strict=True)])
    return [list(row) for row in zip(*columns, strict=True)]


if __name__ == "__main__":
    main()
