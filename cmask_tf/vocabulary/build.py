"""Tag lists in, a Vocabulary out (supplement 2.1 and the idf of 4.1).

Beyond the paper: names that are given as aliases are counted as one concept; no null vector leaves;
words whose vectors are equal, which no network could tell apart, become aliases of the most frequent
one. Whatever was changed is told in `meta["notes"]`.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.counts import Counts, count
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
from cmask_tf.vocabulary.text import fold
from cmask_tf.vocabulary.topics import idf

EQUAL = 1 - 1e-4  # cosine from which two vectors are one word, here and in the serving graph


def build(
    tag_lists: Iterable[Sequence[str]],
    dim: int,
    variant: str = DEFAULT,
    min_count: int = 1,
    kinds: dict[str, str] | None = None,
    aliases: dict[str, list[str]] | None = None,
) -> Vocabulary:
    """Builds a vocabulary from the tags of each image, read once.

    Args:
        tag_lists: the tags of each image.
        dim: D, the length of a word vector; at most the number of positive eigenvalues.
        variant: "pmi" or "ppmi".
        min_count: tags in fewer images are left out.
        kinds: kind of a concept by name; "unknown" for the others.
        aliases: other names of a concept by its name; they are counted as the concept.

    Raises:
        UserError: an unknown variant or kind, no tags, or too many dimensions (it names how many there are).
    """
    if variant not in VARIANTS:
        raise UserError(f"variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    kinds = _folded_kinds(kinds or {})
    aliases = {fold(name): _folded_aliases(name, others) for name, others in (aliases or {}).items()}
    counts = count(_canonical(tag_lists, aliases), min_count)
    if not counts.names:
        raise UserError(f"no tag occurs in {max(min_count, 1)} images or more: a vocabulary needs tags")
    vectors, eigenvalues, null = _vectors(counts, dim, variant)
    notes = (
        [f"null vectors, given a small one of their company's direction: {', '.join(null)}"] if null else []
    )
    kept, equal = _equal_vectors(vectors)
    names = [counts.names[i] for i in kept]
    others = {name: list(aliases.get(name, [])) for name in names}
    merged = {counts.names[i]: [counts.names[j] for j in same] for i, same in equal.items()}
    for owner, same in merged.items():
        notes.append(f"equal vectors, now aliases of {owner!r}: {', '.join(same)}")
        others[owner] += [alias for name in same for alias in [name, *aliases.get(name, [])]]
    unseen = sorted(set(aliases) - set(counts.names))
    if unseen:
        notes.append(f"aliases were given for names that are not in the vocabulary: {', '.join(unseen)}")
    return Vocabulary(
        names=names,
        counts=counts.single[kept],
        idf=idf(counts.single[kept], counts.documents),
        kinds=[kinds.get(name, "unknown") for name in names],
        aliases=[others[name] for name in names],
        vectors=vectors[kept],
        eigenvalues=eigenvalues,
        cooccurrence=counts.pairs[kept][:, kept],
        # Fold-in must know which rows are not those of U S^(1/2), and which stand for several.
        meta=_meta(counts.documents, dim, variant, min_count, notes) | {"null": null, "merged": merged},
    )


def read_tag_lines(path: str | Path) -> Iterator[list[str]]:
    """The tags of each line of a JSONL file: {"image": "a.jpg", "tags": ["red hat", "beach"]}.

    Raises:
        UserError: names the file and the line number; also when the file is missing.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(tqdm(file, desc="counting tags", unit=" images", delay=2), 1):
                if line.strip():
                    yield _tags_of(line, f"{path}: line {number}")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected a file of tag lines") from None


def read_aliases(path: str | Path) -> dict[str, list[str]]:
    """Aliases in Visual Genome's form: a concept a line, its own name first, commas between.

    Raises:
        UserError: the file is missing or not text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
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
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected an object {{name: kind}}")
    kinds = {name: v.get("kind", "unknown") if isinstance(v, dict) else v for name, v in values.items()}
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise UserError(f"{path}: {name}: kind {kind!r}: expected one of {', '.join(KINDS)}")
    return kinds


def _tags_of(line: bytes, where: str) -> list[str]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    tags = record.get("tags") if isinstance(record, dict) else None
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise UserError(f'{where}: expected {{"image": ..., "tags": [list of strings]}}')
    return tags


def _folded_kinds(kinds: dict[str, str]) -> dict[str, str]:
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise UserError(f"concept {name!r}: kind {kind!r}: expected one of {', '.join(KINDS)}")
    return {fold(name): kind for name, kind in kinds.items()}


def _folded_aliases(name: str, others: Iterable[str]) -> list[str]:
    return [alias for alias in dict.fromkeys(map(fold, others)) if alias and alias != fold(name)]


def _canonical(tag_lists: Iterable[Sequence[str]], aliases: dict[str, list[str]]) -> Iterator[Sequence[str]]:
    own = {alias: name for name, others in aliases.items() for alias in others if alias not in aliases}
    if not own:
        yield from tag_lists
        return
    for tags in tag_lists:
        yield [own.get(tag, tag) for tag in map(fold, tags)]


def _vectors(counts: Counts, dim: int, variant: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Word vectors, eigenvalues and the words whose vectors were null."""
    words = len(counts.names)
    with tqdm(total=1, desc=f"eigenvectors of {words} x {words}", disable=words < 2048) as progress:
        vectors, eigenvalues = word_vectors(pmi_matrix(counts, variant), dim)
        progress.update()
    vectors, null = fill_null_vectors(vectors, counts.pairs)
    return vectors, eigenvalues, [counts.names[i] for i in null]


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


def _meta(documents: int, dim: int, variant: str, min_count: int, notes: list[str]) -> dict:
    try:
        version = importlib.metadata.version("cmask-tf")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    return {
        "variant": variant,
        "smoothing": SMOOTHING[variant],
        "dimension": dim,
        "documents": documents,
        "min_count": min_count,
        "version": version,
        "notes": notes,
    }
