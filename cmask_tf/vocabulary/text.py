"""Spellings: what counts as the same name, and what a name is called in a file.

The paper says nothing of spelling. One table (`Vocabulary.spellings`) maps every folded spelling to a
concept, the same in Python and in the serving graph.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable

from cmask_tf.errors import UserError

_LONGEST = 45  # letters of a word that has forms; the rules take seconds for one of thousands


def fold(name: str) -> str:
    """The one spelling that case, Unicode form, hyphens and spaces are reduced to.

    NFKC, lower case (`str.lower`, which the graph has too; not `casefold`), and every run of white
    space, "_" and "-" becomes one space. Folding twice changes nothing.
    """
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).lower()).strip()


def spell(name: str, folded: bool) -> str:
    """The name folded, or as written but for the white space around it."""
    return fold(name) if folded else name.strip()


def forms(name: str, aliases: Iterable[str] = ()) -> list[str]:
    """All folded spellings that mean the concept, without repeats, the concept's own name first.

    Args:
        name: the concept.
        aliases: other names of it.

    Returns:
        The name and the aliases, then plurals and singulars of the last word of each. English rules
        guess ("canvas" has a singular "canva"), so own names go before others' guessed forms.
    """
    own = [folded for folded in (fold(name), *map(fold, aliases)) if folded]
    guessed = [form for spelling in own for form in inflections(spelling)]
    return list(dict.fromkeys(own + guessed))


def inflections(spelling: str) -> list[str]:
    """Plurals and singulars of a folded name: of its last word, as English rules guess them."""
    start, space, last = spelling.rpartition(" ")
    return [start + space + form for form in _word_inflections(last)]


def slug(name: str) -> str:
    """The name in file names: "Red hat" becomes "red-hat" (lower case, letters and digits, "-").

    Raises:
        UserError: the name holds no letter and no digit.
    """
    words = re.findall(r"[^\W_]+", fold(name))
    if not words:
        raise UserError(f"concept {name!r}: a name needs at least one letter or digit")
    return "-".join(words)


@functools.cache
def _word_inflections(word: str) -> list[str]:
    if not word.isalpha() or len(word) > _LONGEST:
        return []
    engine = _engine()
    plural, singular = engine.plural_noun(word), engine.singular_noun(word)
    # "boots" is a plural already: "bootss" is nobody's spelling.
    plurals = [] if word.endswith("s") and plural == word + "s" else [plural]
    return [fold(form) for form in [*plurals, singular] if form]


@functools.cache
def _engine():
    import inflect  # a tenth of a second that most commands do not need

    return inflect.engine()
