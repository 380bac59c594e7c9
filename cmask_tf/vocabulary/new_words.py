"""Words that were not in the tag corpus join a vocabulary; nothing that is in it changes.

Their vectors come from tag lines (`fold_in`), from a text embedding (`text_embedding`) or from the caller
(`read_vectors`). Old words keep their places, vectors, counts and co-occurrence; new ones follow. A word
that no tag line was counted for has count 0 and no co-occurrence: second-order neighbours rebuild its row
from its vector. `meta["added"]` tells how each word came in.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.build import EQUAL
from cmask_tf.vocabulary.counts import Counts
from cmask_tf.vocabulary.neighbours import unit
from cmask_tf.vocabulary.text import fold, forms


@dataclass(frozen=True)
class NewCounts:
    """What tag lines say of K new words, beside a vocabulary of V.

    Attributes:
        single: int64 [K], images that have the word; 0 where no lines were counted.
        pairs: int32 CSR [K, V + K], images that have both words: the vocabulary's, then the new ones.
    """

    single: np.ndarray
    pairs: scipy.sparse.csr_matrix

    @classmethod
    def none(cls, new: int, words: int) -> NewCounts:
        """No lines were counted."""
        pairs = scipy.sparse.csr_matrix((new, words + new), dtype=np.int32)
        return cls(np.zeros(new, np.int64), pairs)


def new_names(vocabulary: Vocabulary, words: Sequence[str]) -> list[str]:
    """The folded names, without repeats.

    A spelling that English rules only guess ("glass" from "glasses") is free: own names go before it.

    Raises:
        UserError: no word, an empty name, or one that the vocabulary has, as a name or an alias.
    """
    taken = vocabulary.own_spellings
    names = list(dict.fromkeys(fold(word) for word in words))
    if not names:
        raise UserError("no word to add")
    for name in names:
        if not name:
            raise UserError("an empty name was given for a word")
        if name in taken:
            raise UserError(f"word {name!r}: in the vocabulary already, as {vocabulary.names[taken[name]]!r}")
    return names


def corpus_rows(vocabulary: Vocabulary) -> np.ndarray:
    """The words whose vectors are rows of W = U S^(1/2): neither added later, nor null in it. int64 [B]."""
    other = {*vocabulary.meta.get("added", {}), *vocabulary.meta.get("null", [])}
    return np.array([i for i, name in enumerate(vocabulary.names) if name not in other], np.int64)


def extended_counts(vocabulary: Vocabulary, names: Sequence[str], new: NewCounts) -> Counts:
    """The counts of V + K words; the number of images stays that of the corpus (see `fold_in`)."""
    words = len(vocabulary)
    cross = new.pairs[:, :words]
    pairs = scipy.sparse.bmat([[vocabulary.cooccurrence, cross.T], [cross, new.pairs[:, words:]]], "csr")
    single = np.concatenate([vocabulary.counts, new.single])
    return Counts(
        [*vocabulary.names, *names], single, pairs.astype(np.int32, copy=False), vocabulary.documents
    )


def add_words(
    vocabulary: Vocabulary,
    names: Sequence[str],
    vectors: np.ndarray,
    how: Sequence[dict],
    counts: NewCounts | None = None,
) -> Vocabulary:
    """A vocabulary with new words at its end.

    A word whose vector equals another's (cosine above 1 - 1e-4), which no network could tell from it, becomes
    its alias. That, and nothing else, is added to `meta["notes"]`.

    Args:
        vocabulary: stays as it is.
        names: K names from `new_names`.
        vectors: float [K, D].
        how: for `meta["added"]`, K JSON objects.
        counts: of the new words; without it no lines were counted.

    Raises:
        UserError: a vector has another length, holds NaN or infinity, or is null.
    """
    vectors = check_vectors(names, vectors, vocabulary.dim)
    counts = counts or NewCounts.none(len(names), len(vocabulary))
    kept, owners = _equal(vocabulary, vectors)
    words = len(vocabulary)
    everything = [*vocabulary.names, *names]
    aliases = [list(others) for others in vocabulary.aliases] + [[] for _ in kept]
    place = {words + new: words + position for position, new in enumerate(kept)}
    added, notes = dict(vocabulary.meta.get("added", {})), list(vocabulary.meta.get("notes", []))
    for new, name in enumerate(names):
        added[name] = dict(how[new])
        if new in owners:
            owner = owners[new]
            aliases[place.get(owner, owner)].append(name)
            added[name]["alias_of"] = everything[owner]
            notes.append(f"equal vectors, now an alias of {everything[owner]!r}: {name}")
    columns = np.concatenate([np.arange(words), words + np.array(kept, np.int64)])
    joined = extended_counts(
        vocabulary, [names[i] for i in kept], NewCounts(counts.single[kept], counts.pairs[kept][:, columns])
    )
    return Vocabulary(
        names=joined.names,
        counts=joined.single,
        idf=np.concatenate([vocabulary.idf, _idf(counts.single[kept], vocabulary.documents)]),
        kinds=[*vocabulary.kinds, *(["unknown"] * len(kept))],
        aliases=aliases,
        vectors=np.concatenate([vocabulary.vectors, vectors[kept]]),
        eigenvalues=vocabulary.eigenvalues,
        cooccurrence=joined.pairs,
        meta={**vocabulary.meta, "added": added, "notes": notes},
        inflected=_spellings(vocabulary, joined.names, aliases),
    )


def check_vectors(names: Sequence[str], vectors: np.ndarray, dim: int) -> np.ndarray:
    """The vectors as float32 [K, D].

    Raises:
        UserError: another shape, NaN, infinity, or a null vector; names the word.
    """
    vectors = np.asarray(vectors)
    if vectors.shape != (len(names), dim) or not np.issubdtype(vectors.dtype, np.floating):
        raise UserError(
            f"vectors: expected floating point [{len(names)}, {dim}] for {len(names)} words and this "
            f"vocabulary, not {vectors.dtype} {list(vectors.shape)}"
        )
    with np.errstate(over="ignore"):
        vectors = vectors.astype(np.float32)
    for name, vector in zip(names, vectors, strict=True):
        if not np.isfinite(vector).all():
            raise UserError(f"word {name!r}: its vector holds NaN or infinity")
        if np.linalg.norm(vector) < 1e-8:
            raise UserError(f"word {name!r}: a null vector, which has no direction")
    return vectors


def read_vectors(path: str | Path) -> tuple[list[str], np.ndarray]:
    """`names` (strings [K]) and `vectors` (float [K, E]) of an .npz file.

    Raises:
        UserError: the file is missing, or of another form.
    """
    path = Path(path)
    expected = "expected an .npz file with names (strings, one a row) and vectors (floating point)"
    try:
        with np.load(path, allow_pickle=False) as file:
            names, vectors = file["names"], file["vectors"]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or 'not an .npz file'}; {expected}") from None
    except (ValueError, KeyError, AttributeError, TypeError, EOFError, IndexError, zipfile.BadZipFile):
        raise UserError(f"{path}: {expected}") from None
    if names.dtype.kind != "U" or names.ndim != 1 or vectors.dtype.kind != "f" or vectors.ndim != 2:
        raise UserError(f"{path}: {expected}, not {names.dtype} and {vectors.dtype}")
    if len(names) != len(vectors):
        raise UserError(f"{path}: {len(names)} names and {len(vectors)} vectors; {expected}")
    return [str(name) for name in names], vectors


def _equal(vocabulary: Vocabulary, vectors: np.ndarray) -> tuple[list[int], dict[int, int]]:
    """The new words that stay, and for each other one the word (of V + K) that it equals."""
    known, directions = unit(vocabulary.vectors), unit(vectors)
    kept: list[int] = []
    owners: dict[int, int] = {}
    for new, direction in enumerate(directions):
        cosines = np.concatenate([known @ direction, directions[kept] @ direction])
        best = int(cosines.argmax())
        if cosines[best] <= EQUAL:
            kept.append(new)
        else:
            owners[new] = best if best < len(known) else len(known) + kept[best - len(known)]
    return kept, owners


def _idf(single: np.ndarray, documents: int) -> np.ndarray:
    """-log p(w), at least 0; a word that was not counted is as rare as one image."""
    return np.maximum(np.log(documents / np.maximum(single, 1)), 0).astype(np.float32)


def _spellings(vocabulary: Vocabulary, names: Sequence[str], aliases: Sequence[list[str]]) -> dict[str, int]:
    """All spellings, without inflecting the old words again."""
    changed = [
        i for i in range(len(names)) if i >= len(vocabulary) or len(aliases[i]) > len(vocabulary.aliases[i])
    ]
    spellings = dict(vocabulary.spellings())
    old = vocabulary.own_spellings
    for i in changed:
        for own in (names[i], *aliases[i]):
            if fold(own) not in old:
                spellings[fold(own)] = i
    for i in changed:
        for form in forms(names[i], aliases[i]):
            spellings.setdefault(form, i)
    return spellings
