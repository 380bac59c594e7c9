"""From any text embedding into the PMI space: a linear map, fitted on the words that both have.

Not in the paper, which takes word vectors from tags alone. Ridge regression (scikit-learn), its strength
chosen by leave-one-out. Whether the text knows anything of the tags is told by cross-validation over the
words, beside what the same predictions score for *other* words: that is the floor of a map that has learned
the mean word and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.neighbours import unit
from cmask_tf.vocabulary.new_words import corpus_rows, read_vectors
from cmask_tf.vocabulary.pmi import BLOCK_ROWS
from cmask_tf.vocabulary.text import fold

TOP = 10  # a true neighbour is found when it is among so many
FOLDS = 5
MIN_WORDS = 20  # fewer say nothing in five folds
_STRENGTHS = np.logspace(-3, 3, 7)  # of the penalty, for each word
_TOKEN = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class CrossValidation:
    """How well words are predicted that the map was not fitted on.

    Attributes:
        words: how many.
        cosine: mean cosine of the predicted and the true vector.
        cosine_floor: the same with the true vectors of all other words.
        found: share of words whose nearest word (PMI cosine) is among the `TOP` nearest of the prediction.
        found_floor: the same with the nearest words of all other words.
        better_than_chance: the cosine is above its floor by three standard errors.
    """

    words: int
    cosine: float
    cosine_floor: float
    found: float
    found_floor: float
    better_than_chance: bool


def read(path: str | Path, words: Iterable[str]) -> dict[str, np.ndarray]:
    """Text vectors of words, by folded name; words that are not in the file are missing.

    A word of several tokens that the file does not hold itself gets the mean of its tokens' vectors, when
    all are there. A text file is read a line at a time, and only what is needed is kept.

    Args:
        path: `.npz` with names and vectors, or text: a token and its numbers a line (GloVe), with or without
            word2vec's first line.
        words: folded names.

    Raises:
        UserError: the file is missing or of another form; names the line.
    """
    tokens = {word: _TOKEN.findall(word) for word in words}
    needed = set(tokens).union(*tokens.values())
    entries = _npz_entries(path) if Path(path).suffix == ".npz" else _text_entries(path, needed)
    found: dict[str, np.ndarray] = {}
    exact: set[str] = set()
    for token, vector in entries:
        name = fold(token)
        # Such files go from frequent to rare, so "Apple" does not replace "apple", nor a later repeat.
        if name in needed and (name not in found or (token == name and name not in exact)):
            found[name] = vector
            exact |= {name} if token == name else set()
    means = {}
    for word, parts in tokens.items():
        if word in found:
            means[word] = found[word]
        elif parts and all(part in found for part in parts):
            means[word] = np.mean([found[part] for part in parts], axis=0)
    return means


def word_vectors(
    path: str | Path, vocabulary: Vocabulary, names: Sequence[str]
) -> tuple[np.ndarray, CrossValidation]:
    """Vectors of new words: the map is fitted on the words of the tag corpus that the file has.

    Args:
        path: see `read`.
        vocabulary: V words.
        names: K folded names that it does not have.

    Returns:
        float32 [K, D], and how well the map does.

    Raises:
        UserError: the file lacks a new word, or nearly all of the vocabulary; scikit-learn is missing.
    """
    known = corpus_rows(vocabulary)
    found = read(path, [*(vocabulary.names[i] for i in known), *names])
    for name in names:
        if name not in found:
            raise UserError(f"word {name!r}: {path} has neither it nor all of its tokens")
    rows = [i for i in known if vocabulary.names[i] in found]
    if len(rows) < MIN_WORDS:
        raise UserError(
            f"{path}: has {len(rows)} of the vocabulary's {len(known)} words; expected at least {MIN_WORDS}"
        )
    model, result = fit(np.stack([found[vocabulary.names[i]] for i in rows]), vocabulary.vectors[rows])
    predicted = model.predict(np.stack([found[name] for name in names]))
    return predicted.astype(np.float32), result


def fit(text: np.ndarray, vectors: np.ndarray):
    """The linear map.

    Memory: some copies of N D float64 (18,000 words, D = 4,096: 0.6 GB each).

    Args:
        text: float [N, E], N at least `MIN_WORDS`.
        vectors: float32 [N, D], word vectors.

    Returns:
        The fitted scikit-learn model (`predict`: float [K, E] -> [K, D]), and its `CrossValidation`.
    """
    try:
        from sklearn.model_selection import KFold
    except ModuleNotFoundError:
        raise UserError("fitting a text embedding needs scikit-learn: pip install cmask-tf[train]") from None
    predicted = np.empty(vectors.shape, np.float64)
    folds = KFold(FOLDS, shuffle=True, random_state=0).split(text)
    for kept, left_out in tqdm(folds, desc="cross-validation", total=FOLDS, delay=2):
        predicted[left_out] = _model(len(kept)).fit(text[kept], vectors[kept]).predict(text[left_out])
    model = _model(len(text)).fit(text, vectors)
    return model, score(predicted, vectors)


def score(predicted: np.ndarray, vectors: np.ndarray) -> CrossValidation:
    """Compares predictions with the true vectors, and with those of other words.

    Args:
        predicted: float [N, D].
        vectors: float [N, D].
    """
    guesses, truth = unit(predicted), unit(vectors)
    words = len(truth)
    own = np.sum(guesses * truth, axis=1)
    others = (guesses @ truth.sum(axis=0) - own) / (words - 1)
    nearest = _nearest(truth, truth, 1)[:, 0]
    top = _nearest(guesses, truth, min(TOP, words - 1))
    hits = (top == nearest[:, None]).any(axis=1)
    wanted = np.bincount(nearest, minlength=words)
    # A word is never in its own list, so those that want it are no trial.
    floor = (wanted[top].sum(axis=1) - hits) / (words - 1 - wanted)
    gain = own - others
    error = gain.std(ddof=1) / np.sqrt(words)
    return CrossValidation(
        words=words,
        cosine=float(own.mean()),
        cosine_floor=float(others.mean()),
        found=float(hits.mean()),
        found_floor=float(floor.mean()),
        better_than_chance=bool(gain.mean() > 3 * error),
    )


def sentence(result: CrossValidation) -> str:
    """What a person is told."""
    near, other = f"among the first {TOP} for {result.found:.0%}", f"{result.found_floor:.0%}"
    text = (
        f"{result.words} words fitted. Of words left out ({FOLDS} folds): the mean cosine with the true "
        f"vector is {result.cosine:.2f} (another word's: {result.cosine_floor:.2f}), the true nearest word "
        f"is {near} (another word's: {other})"
    )
    return text if result.better_than_chance else text + ". This is no better than chance: do not use it"


def _model(words: int):
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(words * _STRENGTHS))


def _nearest(queries: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    """The k rows of `vectors` nearest to each query, best first, the row of its own number left out."""
    found = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), BLOCK_ROWS):
        cosines = queries[start : start + BLOCK_ROWS] @ vectors.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        found[start + rows] = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return found


def _npz_entries(path: str | Path):
    names, vectors = read_vectors(path)
    for name, vector in zip(names, vectors, strict=True):
        if not np.isfinite(vector).all():
            raise UserError(f"{path}: the vector of {name!r} holds NaN or infinity")
        yield name, vector.astype(np.float64)


def _text_entries(path: str | Path, needed: set[str]):
    """(token, float64 [E]) of the lines whose first word is needed."""
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected a text embedding") from None
    with (
        file,
        tqdm(desc=path.name, total=path.stat().st_size, unit="B", unit_scale=True, delay=2) as progress,
    ):
        dim = 0
        for number, line in enumerate(file, 1):
            progress.update(len(line))
            fields = line.split() if not dim else None
            if number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
                dim = int(fields[1])
                continue
            dim = dim or len(fields) - 1
            first = line.split(b" ", 1)[0].rstrip().decode("utf-8", "replace")
            if fold(first) in needed:
                yield _parse(line, dim, f"{path}: line {number}")


def _parse(line: bytes, dim: int, where: str) -> tuple[str, np.ndarray]:
    # From the right: some files have tokens with spaces.
    token, *numbers = line.rstrip().rsplit(b" ", dim)
    try:
        vector = np.array(numbers, np.float64)
    except ValueError:
        vector = np.zeros(0)
    if dim < 1 or vector.shape != (dim,) or not np.isfinite(vector).all():
        raise UserError(f"{where}: expected a token and {dim or 'its'} finite numbers, with spaces between")
    return token.decode("utf-8", "replace"), vector
