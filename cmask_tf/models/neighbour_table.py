"""`mixing.json`: the neighbour p(q) from which a concept without boxes borrows a map (4.4). No TensorFlow.

Beyond the paper: "nearest" is by the cosine of word vectors ("pmi"), or by second-order similarity
("second_order"), which finds substitutes instead of companions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cmask_tf.errors import UserError
from cmask_tf.vocabulary import neighbours as nearest
from cmask_tf.vocabulary.artefact import Vocabulary

BOXED = ("mask", "box")
DEFAULT_THETA = {"image": 0.5, "zero": 0.5}


def build_mixing(vocabulary: Vocabulary, concepts: Sequence[dict], neighbours: str) -> dict:
    """The contents of `mixing.json`: the nearest box-supervised concept p of every other word q.

    Args:
        vocabulary: all words, trained or not.
        concepts: the trained concepts in order, [{"name", "level"}].
        neighbours: "pmi" or "second_order".

    Returns:
        {"neighbours", "theta": {"image", "zero"}, "p": {name q: name p}}; p is empty without boxes.
    """
    empty = {"neighbours": neighbours, "theta": dict(DEFAULT_THETA), "p": {}}
    return extend_mixing(vocabulary, concepts, empty)


def extend_mixing(vocabulary: Vocabulary, concepts: Sequence[dict], mixing: Mapping) -> dict:
    """The same table with an entry for every word that has none yet; what it holds stays.

    Args:
        vocabulary: all words, those that were added later too.
        concepts: the trained concepts in order.
        mixing: `mixing.json`.
    """
    entries, names = entries_of(vocabulary, concepts), vocabulary.names
    boxed = {entry for entry, c in zip(entries, concepts, strict=True) if c["level"] in BOXED}
    candidates = np.array(sorted(boxed), np.int64)
    missing = [i for i, name in enumerate(names) if i not in boxed and name not in mixing["p"]]
    rows = np.array(missing, np.int64)
    if not len(candidates) or not missing:
        return dict(mixing)
    if mixing["neighbours"] == "pmi":
        found = nearest.pmi_neighbours(vocabulary.vectors, rows, candidates)
    else:
        found = nearest.second_order_neighbours(vocabulary, rows, candidates, vocabulary.kinds)
    new = {names[q]: names[p] for q, p in zip(rows, found, strict=True)}
    return {**mixing, "p": {**mixing["p"], **new}}


def entries_of(vocabulary: Vocabulary, concepts: Sequence[dict]) -> list[int]:
    """The vocabulary entry of each trained concept.

    Raises:
        UserError: two concepts are one word, or a concept is no word of the vocabulary.
    """
    entries = [vocabulary.index(c["name"]) for c in concepts]
    if len(set(entries)) < len(entries):
        twice = next(c["name"] for i, c in enumerate(concepts) if entries[i] in entries[:i])
        raise UserError(f"concepts.json: {twice!r} is the same word as another trained concept")
    return entries
