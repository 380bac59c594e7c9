"""One label space of several sources (OIVG, section 3: "we merge the labels of the two datasets").

The paper gives no rule for what is the same label. Ours, in this order, for a folded name of a source:
1. an alias table: `aliases.txt` beside this module (COCO's and Open Images' names), then the user's file;
2. the vocabulary: any spelling that it understands (its aliases, plurals and singulars) is its word;
3. of the names that it does not have, a plural and its singular are one concept when both occur, under the
   spelling that has more photos.
Plurals that mean something else (`_APART`: "glasses") stay what they are.

An alias file has a line a concept, names between commas, the concept's own first, as Visual Genome's
object_alias.txt. "coco:", "open images:" or "visual genome:" before a name limits it to that source: Open
Images' mouse is an animal, COCO's a computer's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cmask_tf.data.sources import read_text
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.text import fold, forms

SOURCES = ("coco", "open images", "visual genome")
ALIASES = Path(__file__).with_name("aliases.txt")
_APART = {"blinds", "briefs", "clothes", "glasses", "heels", "shorts", "spectacles", "tights", "trunks"}
_SELDOM = 2  # photos from which a name's plural is looked for: English inflection is slow

Label = tuple[str, str]  # source and folded name


@dataclass(frozen=True)
class Labels:
    """The merged label space.

    Attributes:
        names: the concepts, sorted.
        of: (source, name) -> index of its concept.
        known: of each concept, whether the vocabulary has it.
    """

    names: list[str]
    of: dict[Label, int]
    known: list[bool]


def merge(photos: Mapping[Label, int], vocabulary: Vocabulary, aliases: Mapping[Label, str]) -> Labels:
    """Merges the names of all sources.

    Args:
        photos: (source, folded name) -> number of photos.
        vocabulary: the tags' words.
        aliases: what `read_aliases` returned.
    """
    called = {label: aliases.get(label, aliases.get(("", label[1]), label[1])) for label in photos}
    found = {name: _word(name, vocabulary) for name in set(called.values())}
    counts: Counter[str] = Counter()
    for label, name in called.items():
        if found[name] is None:
            counts[name] += photos[label]
    joined = _joined(counts)
    final = {label: found[name] or joined[name] for label, name in called.items()}
    names = sorted(set(final.values()))
    index = {name: number for number, name in enumerate(names)}
    words = {name for name in found.values() if name}
    return Labels(names, {label: index[name] for label, name in final.items()}, [n in words for n in names])


def read_aliases(*paths: Path) -> dict[Label, str]:
    """(source or "", folded alias) -> folded concept; the first file that has an alias decides.

    Raises:
        UserError: no such file, or a line that begins with a comma.
    """
    found: dict[Label, str] = {}
    for path in paths:
        for number, line in enumerate(read_text(path).splitlines(), 1):
            own, *others = line.split(",")
            if line.strip() and not fold(own):
                raise UserError(f"{path}:{number}: expected the concept's own name first")
            for other in filter(str.strip, others):
                source, _, name = other.partition(":")
                label = (fold(source), fold(name)) if fold(source) in SOURCES else ("", fold(other))
                found.setdefault(label, found.get(("", fold(own)), fold(own)))
    return found


def _word(name: str, vocabulary: Vocabulary) -> str | None:
    place = vocabulary.find(name)
    if place is None or (name in _APART and vocabulary.names[place] != name):
        return None
    return vocabulary.names[place]


def _joined(counts: Counter[str]) -> dict[str, str]:
    """Name -> the spelling of its concept that has most photos."""
    joined = {name: name for name in counts}
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if count < _SELDOM:
            break
        if joined[name] == name and name not in _APART:
            for form in forms(name)[1:]:
                if joined.get(form) == form and form not in _APART:
                    joined[form] = name
    return joined
