"""A concept's name to its place in the vocabulary, in the graph: `Vocabulary.find` by stock operations.

No stock operation brings a text to NFKC. But texts have one NFKC if they have one NFKD, which is made letter
by letter: each character goes through a table of its folded, decomposed form, and the known spellings are
keys in that same form. Two things differ from Python: combining marks in another than the canonical order
are not sorted, and both small sigmas are one letter (which of them a capital stands for depends on its
place in the word).
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

import tensorflow as tf

from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.text import fold

UNKNOWN = -1
_SURROGATES = range(0xD800, 0xE000)  # no characters
_WRITTEN = " "  # before a key that is a spelling as written; nothing folded begins with it


class SpellingTable(tf.Module):
    """Every spelling that the vocabulary knows -> its entry."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(name="spelling")
        folded = character_table()
        self._characters = _table(list(folded), list(folded.values()), tf.string, "")
        known = keys(vocabulary)
        self._entries = _table(list(known), list(known.values()), tf.int32, UNKNOWN)

    def find(self, names: tf.Tensor) -> tf.Tensor:
        """The entry of each name: int32 of the shape of `names` (string), -1 where none has that spelling."""
        flat = tf.reshape(names, [-1])
        written = self._entries.lookup(_WRITTEN + tf.strings.strip(flat))
        found = tf.where(written == UNKNOWN, self._entries.lookup(self.fold(flat)), written)
        return tf.reshape(found, tf.shape(names))

    def fold(self, names: tf.Tensor) -> tf.Tensor:
        """The form that keys have: string [N] to string [N]. Bytes that are not UTF-8 become U+FFFD."""
        letters = tf.strings.unicode_split(names, "UTF-8")
        other = self._characters.lookup(letters.flat_values)
        letters = letters.with_flat_values(tf.where(other == "", letters.flat_values, other))
        joined = tf.strings.reduce_join(letters, axis=-1)
        return tf.strings.strip(tf.strings.regex_replace(joined, " +", " "))


@functools.cache
def character_table() -> dict[str, str]:
    """What becomes of each character that `text.fold` or the decomposition changes."""
    characters = (chr(code) for code in range(sys.maxunicode + 1) if code not in _SURROGATES)
    forms = ((character, _decompose(character)) for character in characters)
    return {character: form for character, form in forms if form != character}


def keys(vocabulary: Vocabulary) -> dict[str, int]:
    """The spellings of a vocabulary in the graph's form, each with its entry; the first owner keeps it."""
    table: dict[str, int] = {}
    if not vocabulary.folded:
        table = {_WRITTEN + spelling: entry for spelling, entry in vocabulary.own_spellings.items()}
    for spelling, entry in vocabulary.spellings().items():
        if spelling == fold(spelling):
            table.setdefault(re.sub(" +", " ", _decompose(spelling)).strip(), entry)
    for nothing in ("", _WRITTEN):  # a tag of hyphens alone folds to what pads a request
        table.pop(nothing, None)
    return table


def _decompose(text: str) -> str:
    """NFKD of the text folded but for runs of spaces."""
    lower = unicodedata.normalize("NFKC", text).lower()
    return unicodedata.normalize("NFKD", re.sub(r"[\s_-]", " ", lower)).replace("ς", "σ")


def _table(names: list[str], values: list, dtype: tf.DType, default) -> tf.lookup.StaticHashTable:
    pairs = tf.lookup.KeyValueTensorInitializer(names, values, tf.string, dtype)
    return tf.lookup.StaticHashTable(pairs, default)
