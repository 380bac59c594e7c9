"""The vocabulary directory: words, their vectors and what the vectors were made from.

`concepts.tsv` (name, count, idf, kind, aliases), `vectors.npy` (float32 [V, D]), `eigenvalues.npy`,
`cooccurrence.npz` (sparse counts, for second-order neighbours), `spellings.json` (every spelling that is
understood -> index of its concept) and `meta.json`.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse
from tqdm import tqdm

from cmask_tf.errors import UserError
from cmask_tf.vocabulary import table
from cmask_tf.vocabulary.neighbours import second_order, unit
from cmask_tf.vocabulary.text import fold, forms

FILES = ("concepts.tsv", "vectors.npy", "eigenvalues.npy", "cooccurrence.npz", "spellings.json", "meta.json")


@dataclass
class Vocabulary:
    """V words in order, with their vectors.

    Attributes:
        names: folded names.
        counts: int64 [V], images that have the word.
        idf: float32 [V], -log p(w).
        kinds: one of `table.KINDS` for each word.
        aliases: other folded names of each word.
        vectors: float32 [V, D], rows of W (supplement 2.1).
        eigenvalues: float32 [D], descending.
        cooccurrence: int32 CSR [V, V], images that have both words.
        meta: "variant", "dimension", "documents", "version", "notes" (list of str) and what else there is:
            "null", "merged" (see `build`) and "added" (see `new_words`).
        inflected: what `spellings` returns, once it was worked out (English inflection is slow).
    """

    names: list[str]
    counts: np.ndarray
    idf: np.ndarray
    kinds: list[str]
    aliases: list[list[str]]
    vectors: np.ndarray
    eigenvalues: np.ndarray
    cooccurrence: scipy.sparse.csr_matrix
    meta: dict = field(default_factory=dict)
    inflected: dict[str, int] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dim(self) -> int:
        """D, the length of a word vector."""
        return self.vectors.shape[1]

    @property
    def documents(self) -> int:
        """Number of images that were counted."""
        return self.meta["documents"]

    @property
    def single(self) -> np.ndarray:
        """`counts`, under the name that `Counts` has for it: neighbours take either."""
        return self.counts

    @property
    def pairs(self) -> scipy.sparse.csr_matrix:
        """`cooccurrence`, under the name that `Counts` has for it."""
        return self.cooccurrence

    @classmethod
    def load(cls, directory: str | Path) -> Vocabulary:
        """Reads a vocabulary directory.

        Raises:
            UserError: a file is missing or broken, or the files do not belong together.
        """
        directory = Path(directory)
        for name in FILES:
            if not (directory / name).is_file():
                raise UserError(f"{directory / name}: no such file; expected a vocabulary directory")
        try:
            vocabulary = cls(
                *table.read(directory / "concepts.tsv"),
                np.load(directory / "vectors.npy"),
                np.load(directory / "eigenvalues.npy"),
                scipy.sparse.load_npz(directory / "cooccurrence.npz").tocsr(),
                json.loads((directory / "meta.json").read_text(encoding="utf-8")),
                json.loads((directory / "spellings.json").read_text(encoding="utf-8")),
            )
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{directory}: broken vocabulary: {' '.join(str(error).split())}") from None
        vocabulary._check(directory)
        return vocabulary

    def save(self, directory: str | Path) -> None:
        """Writes the directory, in one rename; an older vocabulary of that name is replaced.

        Raises:
            UserError: the directory holds something else.
        """
        directory = Path(directory).resolve()
        check_target(directory)
        partial, old = (directory.with_name(directory.name + end) for end in (".partial", ".old"))
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        table.write(partial / "concepts.tsv", self.names, self.counts, self.idf, self.kinds, self.aliases)
        np.save(partial / "vectors.npy", self.vectors)
        np.save(partial / "eigenvalues.npy", self.eigenvalues)
        _save_pairs(partial / "cooccurrence.npz", self.cooccurrence)
        for name, value in (("spellings.json", self.spellings()), ("meta.json", self.meta)):
            text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
            (partial / name).write_text(text, encoding="utf-8")
        if directory.exists():
            os.replace(directory, old)
        os.replace(partial, directory)
        shutil.rmtree(old, ignore_errors=True)

    def find(self, name: str) -> int | None:
        """The index of a concept by any of its spellings, or None."""
        folded = fold(name)
        exact = self.own_spellings.get(folded)
        return self.spellings().get(folded) if exact is None else exact

    def index(self, name: str) -> int:
        """The index of a concept by any of its spellings.

        Raises:
            UserError: no concept has this spelling; the message lists the nearest names.
        """
        found = self.find(name)
        if found is None:
            near = ", ".join(self.nearest_spellings(name))
            raise UserError(f"unknown concept {name!r}; the nearest names are: {near}")
        return found

    def nearest_spellings(self, text: str, k: int = 3) -> list[str]:
        """Up to k names that are spelled most like `text`, itself or by an alias, best first."""
        # More than k, because several spellings may belong to one concept.
        close = difflib.get_close_matches(fold(text), self.own_spellings, n=4 * k, cutoff=0.0)
        found = dict.fromkeys(self.names[self.own_spellings[spelling]] for spelling in close)
        return list(found)[:k]

    def nearest(self, name_or_vector: str | np.ndarray, k: int = 5) -> list[tuple[str, float]]:
        """The k words with the largest cosine of word vectors, best first, a named word itself left out.

        Args:
            name_or_vector: any spelling, or float [D].
        """
        own = self.index(name_or_vector) if isinstance(name_or_vector, str) else None
        query = np.asarray(name_or_vector, np.float32) if own is None else self.vectors[own]
        if query.shape != (self.dim,):
            raise UserError(f"word vector: expected {self.dim} numbers, not an array of shape {query.shape}")
        return self._best(unit(self.vectors) @ unit(query), own, k)

    def substitutes(self, name: str, k: int = 5) -> list[tuple[str, float]]:
        """The k words with the largest second-order similarity: what could take the word's place."""
        own = self.index(name)
        return self._best(second_order(self, np.array([own]), np.arange(len(self)))[0], own, k)

    def spellings(self) -> dict[str, int]:
        """Every folded spelling and the index of its concept.

        Names go before aliases, aliases before plurals and singulars that English rules guess, and
        frequent concepts before rare ones.
        """
        if self.inflected is None:
            self.inflected = self._inflect()
        return self.inflected

    @cached_property
    def own_spellings(self) -> dict[str, int]:
        """Every name and alias, folded, and the index of its concept; nothing that English rules guess."""
        spellings = {fold(name): i for i, name in enumerate(self.names)}
        for i, aliases in enumerate(self.aliases):
            for alias in aliases:
                spellings.setdefault(fold(alias), i)
        return spellings

    def _inflect(self) -> dict[str, int]:
        spellings = dict(self.own_spellings)
        words = zip(self.names, self.aliases, strict=True)
        progress = tqdm(words, desc="spellings", total=len(self), unit=" words", delay=2)
        for i, (name, aliases) in enumerate(progress):
            for form in forms(name, aliases):
                spellings.setdefault(form, i)
        return spellings

    def _best(self, scores: np.ndarray, own: int | None, k: int) -> list[tuple[str, float]]:
        order = [i for i in np.argsort(-scores, kind="stable") if i != own][:k]
        return [(self.names[i], float(scores[i])) for i in order]

    def _check(self, directory: Path) -> None:
        words, dim = len(self.names), self.eigenvalues.shape[0]
        shapes = (
            ("vectors.npy", self.vectors, (words, dim)),
            ("cooccurrence.npz", self.cooccurrence, (words, words)),
        )
        for name, array, expected in shapes:
            if array.shape != expected:
                raise UserError(f"{directory / name}: expected shape {expected}, not {array.shape}")
        places = self.inflected.values() if isinstance(self.inflected, dict) else [-1]
        if not all(isinstance(i, int) and 0 <= i < words for i in places):
            raise UserError(f"{directory / 'spellings.json'}: expected spellings and places in concepts.tsv")
        if len(set(self.names)) < words:
            raise UserError(f"{directory / 'concepts.tsv'}: a name occurs twice")
        if not isinstance(self.meta, dict) or not isinstance(self.meta.get("documents"), int):
            raise UserError(f"{directory / 'meta.json'}: expected a number of documents")


def _save_pairs(path: Path, pairs: scipy.sparse.csr_matrix) -> None:
    """What `scipy.sparse.save_npz` writes, in a fifth of the time: quick compression is as small here."""
    arrays = {name: getattr(pairs, name) for name in ("indices", "indptr", "data")}
    arrays |= {"format": np.array(b"csr"), "shape": np.array(pairs.shape)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def check_target(directory: Path) -> None:
    """Refuses to replace anything but a vocabulary or an empty directory, before any work.

    Raises:
        UserError: something else lies there.
    """
    if directory.is_dir() and (not any(directory.iterdir()) or (directory / "concepts.tsv").is_file()):
        return
    if directory.exists():
        raise UserError(f"{directory}: exists and is not a vocabulary; choose another directory")
