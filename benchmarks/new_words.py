"""How good a word's vector is when the word was not in the tag corpus: fold-in against building it again.

    python benchmarks/new_words.py --tags CORPUS.jsonl --dim 512 --min-count 40 --words 30

A word is left out: the photos that carry it leave the corpus, which is built without them. Some of them (5,
20, all) come back as new photos, from which the word is folded in. The truth is the vocabulary of the whole
corpus, where the word was among the eigenvectors. *Built again* is what fold-in saves: the corpus without the
word's photos, and those same new photos, counted together and their eigenvectors computed anew; with all
photos that is the truth itself.

- cosine: with the word's true vector, after the rotation that takes the other words' vectors to their true
  ones best. Its floor is the mean over the true vectors of all other words.
- companion: share of words whose true nearest word by PMI cosine is among the first three found.
- substitute: the same by second-order similarity.

A second table shows what `cmask vocabulary add --text-embedding` prints for a text embedding that is made up:
a linear map of the word vectors to 300 dimensions plus noise so many times as strong as the signal, or noise
alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import tqdm  # noqa: E402
from scipy.linalg import orthogonal_procrustes  # noqa: E402

from cmask_tf.vocabulary.artefact import Vocabulary  # noqa: E402
from cmask_tf.vocabulary.build import build  # noqa: E402
from cmask_tf.vocabulary.counts import count  # noqa: E402
from cmask_tf.vocabulary.fold_in import count_new, fold_in, pmi_rows  # noqa: E402
from cmask_tf.vocabulary.neighbours import unit  # noqa: E402
from cmask_tf.vocabulary.new_words import add_words  # noqa: E402
from cmask_tf.vocabulary.tag_files import tag_lines  # noqa: E402
from cmask_tf.vocabulary.text import fold  # noqa: E402
from cmask_tf.vocabulary.text_embedding import TOP, fit  # noqa: E402

PHOTOS = (5, 20, None)  # of a new word; None is all
NOISE = (0.3, 1.0, 3.0, None)  # over the signal; None is noise alone
TEXT_DIM = 300
FIRST = 3
Score = tuple[float, float, bool, bool]


def folded_in(vocabulary: Vocabulary, photos: Sequence[Sequence[str]], word: str) -> Vocabulary:
    """The vocabulary with the word at its end."""
    counts, _ = count_new(photos, vocabulary, [word])
    vectors = fold_in(vocabulary, pmi_rows(vocabulary, [word], counts))
    return add_words(vocabulary, [word], vectors, [{}], counts)


def compare(found: Vocabulary, truth: Vocabulary, word: str) -> Score | None:
    """Cosine, its floor, and whether the true companion and the true substitute are among the first three.

    None where the word has become another's alias.
    """
    if word not in found.names:
        return None
    shared = [name for name in truth.names if name in set(found.names) and name != word]
    here, there = (v.vectors[[v.names.index(n) for n in [word, *shared]]] for v in (found, truth))
    rotation, _ = orthogonal_procrustes(here[1:], there[1:])
    cosines = unit(there) @ unit(here[0] @ rotation)
    hits = []
    for near in (Vocabulary.nearest, Vocabulary.substitutes):
        best = next(name for name, _ in near(truth, word, k=len(truth)) if name in set(shared))
        order = [name for name, _ in near(found, word, k=len(found)) if name in set(shared)]
        hits.append(best in order[:FIRST])
    return float(cosines[0]), float(cosines[1:].mean()), *hits


def leave_out(lines, truth: Vocabulary, word: str, seed: int) -> dict[tuple[int | None, str], Score]:
    """Scores of one word by (photos, way)."""
    carrying = [tags for tags in lines if word in tags]
    rest = [tags for tags in lines if word not in tags]
    without = build(rest, truth.dim, truth.meta["variant"])
    order = np.random.default_rng(seed).permutation(len(carrying))
    scores = {}
    for photos in PHOTOS:
        chosen = [carrying[i] for i in order[:photos]]
        again = truth if photos is None else build(rest + chosen, truth.dim, truth.meta["variant"])
        for way, found in (("fold-in", folded_in(without, chosen, word)), ("built again", again)):
            if score := compare(found, truth, word):
                scores[photos, way] = score
    return scores


def print_fold_in(scores: Sequence[dict[tuple[int | None, str], Score]], chance: float) -> None:
    print("| photos of the new word | way | cosine | its floor | companion | substitute | chance of either |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for photos in PHOTOS:
        for way in ("fold-in", "built again"):
            found = np.array([s[photos, way] for s in scores if (photos, way) in s], float)
            cosine, floor, companion, substitute = found.mean(axis=0)
            hits = f"{companion:.0%} | {substitute:.0%} | {chance:.1%}"
            print(f"| {photos or 'all'} | {way} | {cosine:.2f} | {floor:.2f} | {hits} |")


def print_text(truth: Vocabulary, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signal = truth.vectors @ rng.normal(size=(truth.dim, TEXT_DIM))
    print(
        f"| noise of the text | cosine | another word's | among the first {TOP} | another word's | better |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for noise in NOISE:
        text = rng.normal(size=signal.shape) * signal.std()
        result = fit(text if noise is None else signal + noise * text, truth.vectors)[1]
        found = (
            f"{result.found:.0%} | {result.found_floor:.0%} | {'yes' if result.better_than_chance else 'no'}"
        )
        print(f"| {noise or 'noise alone'} | {result.cosine:.2f} | {result.cosine_floor:.2f} | {found} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tags", required=True)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--variant", default="pmi")
    parser.add_argument("--min-count", type=int, default=1)
    parser.add_argument("--words", type=int, default=1000, help="how many words are left out, one at a time")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lines = [list(dict.fromkeys(map(fold, tags))) for _, _, tags in tag_lines(args.tags)]
    kept = set(count(lines, args.min_count).names)
    lines = [[tag for tag in tags if tag in kept] for tags in lines]
    truth = build(lines, args.dim, args.variant)
    # Words of most photos leave no corpus behind.
    able = [i for i in range(len(truth)) if 20 <= truth.counts[i] <= len(lines) / 2 and not truth.aliases[i]]
    chosen = np.random.default_rng(args.seed).permutation(able)[: args.words]
    scores = [leave_out(lines, truth, truth.names[i], args.seed) for i in tqdm.tqdm(chosen, unit="word")]
    print(f"{len(truth)} words, {len(lines)} photos, {truth.dim} dimensions, {len(chosen)} words left out\n")
    print_fold_in(scores, FIRST / (len(truth) - 1))
    print()
    print_text(truth, args.seed)


if __name__ == "__main__":
    main()
