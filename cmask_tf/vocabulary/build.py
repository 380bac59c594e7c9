"""Tag lists in, a Vocabulary out (supplement 2.1 and the idf of 4.1).

Beyond the paper: names that are given as aliases, and a singular and its plural, are counted as one
concept; no null vector leaves;
words whose vectors are equal, which no network could tell apart, become aliases of the most frequent
one. Whatever was changed is told in `meta["notes"]`.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import scipy.sparse

from cmask_tf.errors import UserError
from cmask_tf.faults import Faults
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.counts import Counts, Spelling, count, count_files
from cmask_tf.vocabulary.neighbours import unit
from cmask_tf.vocabulary.pmi import (
    BLOCK_ROWS,
    DEFAULT,
    SMOOTHING,
    VARIANTS,
    fill_null_vectors,
    pmi_matrix,
    word_vectors,
)
from cmask_tf.vocabulary.table import KINDS
from cmask_tf.vocabulary.tag_files import tag_files
from cmask_tf.vocabulary.text import spell
from cmask_tf.vocabulary.topics import idf

EQUAL = 1 - 1e-4  # cosine from which two vectors are one word, here and in the serving graph
TOLD = 20  # plurals that a note names


def build(
    tag_lists: Iterable[Sequence[str]],
    dim: int,
    variant: str = DEFAULT,
    min_count: int = 1,
    kinds: dict[str, str] | None = None,
    aliases: dict[str, list[str]] | None = None,
    folded: bool = True,
) -> Vocabulary:
    """Builds a vocabulary from the tags of each image, read once.

    Memory: see `counts.count` and `pmi.word_vectors`; at V = 18,000 and dim = 4,096 below 5 GB.

    Args:
        tag_lists: the tags of each image.
        dim: D, the length of a word vector; at most the number of positive eigenvalues.
        variant: "pmi" or "ppmi".
        min_count: tags in fewer images are left out.
        kinds: kind of a concept by name; "unknown" for the others.
        aliases: other names of a concept by its name; they are counted as the concept.
        folded: tags that differ in case, white space, hyphens or number are one concept, the most frequent
            of singular and plural with the other as its alias; names of `kinds` or `aliases` stay apart.
            When False, names stay as written.

    Raises:
        UserError: an unknown variant or kind, no tags, or too many dimensions (it names how many there are).
    """
    request = _Request(dim, variant, min_count, kinds, aliases, folded)
    return _vocabulary(count(tag_lists, min_count, request.spelling), request, [])


def build_files(
    paths: Iterable[str | Path],
    dim: int,
    variant: str = DEFAULT,
    min_count: int = 1,
    kinds: dict[str, str] | None = None,
    aliases: dict[str, list[str]] | None = None,
    folded: bool = True,
    strict: bool = False,
    processes: int | None = None,
    counting: Callable[..., Counts] | None = None,
    or_fewer: bool = False,
) -> Vocabulary:
    """Builds a vocabulary from files of tags; lines that were skipped are told in `meta["notes"]`.

    Args:
        paths: files, folders and globs, as `tag_files` takes them.
        strict: the first bad line is an error.
        processes: for counting; the machine's cores when None. More than one needs a script that has
            `if __name__ == "__main__"`.
        counting: what counts, with the arguments of `counts.count_files`, which it is by default.
        or_fewer: when the tags give fewer dimensions than `dim`, all that they give.

    Raises:
        UserError: as for `build`; a file that cannot be read, or too many bad lines.
    """
    request = _Request(dim, variant, min_count, kinds, aliases, folded, or_fewer)
    faults = Faults(strict)
    counts = (counting or count_files)(tag_files(paths), min_count, request.spelling, faults, processes)
    return _vocabulary(counts, request, _skipped(faults))


def read_aliases(path: str | Path) -> dict[str, list[str]]:
    """Aliases in Visual Genome's form: a concept a line, its own name first, commas between.

    Raises:
        UserError: the file is missing or not text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected a text file in UTF-8 ({error})") from None
    table: dict[str, list[str]] = {}
    for line in lines:
        name, *others = (part.strip() for part in line.split(","))
        if name:
            table.setdefault(name, []).extend(other for other in others if other)
    return table


def read_kinds(path: str | Path) -> dict[str, str]:
    """Kinds of concepts from JSON: {name: kind}, or {name: {"kind": kind, ...}}.

    Raises:
        UserError: the file is missing, not JSON, or of another form.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected an object {{name: kind}}")
    kinds = {name: v.get("kind", "unknown") if isinstance(v, dict) else v for name, v in values.items()}
    for name, kind in kinds.items():
        if kind not in KINDS:
            found = f"{name!r:.80}: kind {kind!r:.80}"
            raise UserError(f"{path}: {found}: expected one of {', '.join(KINDS)}")
    return kinds


class _Request:
    """What was asked for, checked, with names spelled as the tags will be."""

    def __init__(self, dim, variant, min_count, kinds, aliases, folded, or_fewer=False):
        if variant not in VARIANTS:
            raise UserError(f"variant {variant!r}: expected one of {', '.join(VARIANTS)}")
        if dim < 1:
            raise UserError(f"{dim} dimensions were asked for: expected at least 1")
        self.dim, self.variant, self.min_count, self.or_fewer = dim, variant, min_count, or_fewer
        self.kinds = _spelled_kinds(kinds or {}, folded)
        self.aliases = {
            spell(name, folded): _spelled_aliases(name, others, folded)
            for name, others in (aliases or {}).items()
        }
        same = {
            alias: name
            for name, others in self.aliases.items()
            for alias in others
            if alias not in self.aliases
        }
        self.spelling = Spelling(folded, same, frozenset([*self.kinds, *self.aliases]))


def _vocabulary(counts: Counts, request: _Request, notes: list[str]) -> Vocabulary:
    if not counts.names:
        raise UserError(
            f"no tag occurs in {max(request.min_count, 1)} images or more: a vocabulary needs tags"
        )
    notes = [*notes, *_merge_plurals(counts.plurals, request)]
    aliases = request.aliases
    vectors, eigenvalues, null = _vectors(counts, request)
    request.dim = vectors.shape[1]
    kept, equal = _equal_vectors(vectors)
    names = [counts.names[i] for i in kept]
    others = {name: list(aliases.get(name, [])) for name in names}
    if null:
        notes = [*notes, f"null vectors, given a small one of their company's direction: {', '.join(null)}"]
    merged = {counts.names[i]: [counts.names[j] for j in same] for i, same in equal.items()}
    for owner, same in merged.items():
        notes = [*notes, f"equal vectors, now aliases of {owner!r}: {', '.join(same)}"]
        others[owner] += [alias for name in same for alias in [name, *aliases.get(name, [])]]
    unseen = sorted(set(aliases) - set(counts.names))
    if unseen:
        notes = [*notes, f"aliases were given for names that are not in the vocabulary: {', '.join(unseen)}"]
    if equal:
        # A copy of what may be gigabytes only when something is left out.
        counts.pairs, vectors = counts.pairs[kept][:, kept], vectors[kept]
    return Vocabulary(
        names=names,
        counts=counts.single[kept],
        idf=idf(counts.single[kept], counts.documents),
        kinds=[request.kinds.get(name, "unknown") for name in names],
        aliases=[others[name] for name in names],
        vectors=vectors,
        eigenvalues=eigenvalues,
        cooccurrence=counts.pairs,
        # Fold-in must know which rows are not those of U S^(1/2), and which stand for several.
        meta=_meta(counts.documents, request, notes) | {"null": null, "merged": merged},
    )


def _merge_plurals(plurals: dict[str, str], request: _Request) -> list[str]:
    """What was counted as another word is its alias, and leaves it what it was given; what to tell of it."""
    for rarer, owner in plurals.items():
        given = request.aliases.pop(rarer, [])
        request.aliases.setdefault(owner, []).extend([rarer, *given])
        if rarer in request.kinds:
            request.kinds.setdefault(owner, request.kinds[rarer])
    if not plurals:
        return []
    first = ", ".join(f"{rarer} as {owner}" for rarer, owner in list(plurals.items())[:TOLD])
    more = ", ..." if len(plurals) > TOLD else ""
    return [f"singular and plural, counted as one, {len(plurals):,} in all: {first}{more}"]


def _spelled_kinds(kinds: dict[str, str], folded: bool) -> dict[str, str]:
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise UserError(f"concept {name!r}: kind {kind!r}: expected one of {', '.join(KINDS)}")
    return {spell(name, folded): kind for name, kind in kinds.items()}


def _spelled_aliases(name: str, others: Iterable[str], folded: bool) -> list[str]:
    spelled = dict.fromkeys(spell(other, folded) for other in others)
    return [alias for alias in spelled if alias and alias != spell(name, folded)]


def _skipped(faults: Faults) -> list[str]:
    lines = faults.good + faults.bad.total()
    return [
        f"skipped {n:,} of {lines:,} lines: " + "; ".join(faults.examples[reason])
        for reason, n in faults.bad.most_common()
    ]


def _vectors(counts: Counts, request: _Request) -> tuple[np.ndarray, np.ndarray, list[str]]:
    matrix = pmi_matrix(counts, request.variant)
    with _on_disk(counts):
        vectors, eigenvalues = word_vectors(matrix, request.dim, overwrite=True, or_fewer=request.or_fewer)
    del matrix
    vectors, null = fill_null_vectors(vectors, counts.pairs)
    return vectors, eigenvalues, [counts.names[i] for i in null]


@contextlib.contextmanager
def _on_disk(counts: Counts) -> Iterator[None]:
    """Keeps the pairs in a temporary file: they and the eigenvectors' work need not share the memory."""
    with tempfile.TemporaryFile(prefix="cmask-pairs-") as file:
        starts, shape = counts.pairs.indptr, counts.pairs.shape
        np.save(file, counts.pairs.indices)
        np.save(file, counts.pairs.data)
        counts.pairs = None
        yield
        file.seek(0)
        indices, values = np.load(file), np.load(file)
        counts.pairs = scipy.sparse.csr_matrix((values, indices, starts), shape)


def _equal_vectors(vectors: np.ndarray) -> tuple[list[int], dict[int, list[int]]]:
    """The rows to keep, and for each kept row the later ones that equal it."""
    directions, owner = unit(vectors), np.arange(len(vectors))
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = directions[start : start + BLOCK_ROWS] @ directions[: start + BLOCK_ROWS].T
        for i, j in np.argwhere(block > EQUAL):
            # An owner comes before all that it owns, and argwhere goes row by row.
            if j < start + i and owner[j] == j and owner[start + i] == start + i:
                owner[start + i] = j
    equal: dict[int, list[int]] = {}
    for row in np.flatnonzero(owner != np.arange(len(owner))):
        equal.setdefault(int(owner[row]), []).append(int(row))
    return [i for i in range(len(owner)) if owner[i] == i], equal


def _meta(documents: int, request: _Request, notes: list[str]) -> dict:
    try:
        version = importlib.metadata.version("cmask-tf")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    return {
        "variant": request.variant,
        "smoothing": SMOOTHING[request.variant],
        "dimension": request.dim,
        "documents": documents,
        "min_count": request.min_count,
        "folded": request.spelling.folded,
        "version": version,
        "notes": notes,
    }
