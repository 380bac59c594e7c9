"""Which nouns name objects, stuff and parts: a table worked out of WordNet 3.1 (supplement 6).

The table is `kinds.tsv.gz` beside this module, 'kind<tab>noun<tab>...' a line, made once by

    python -m cmask_tf.data.paper.wordnet DICT     # DICT: WordNet's folder with index.noun and data.noun

The paper gives no rule; ours takes the first of a noun's senses, in WordNet's order, that can be seen:
- part: a part of a body or a plant, or what WordNet calls a part of something that can be seen;
- stuff: a substance, weather, water, land, sky, grass, a road, a floor, a wall, a fabric (`_STUFF`);
- object: any other animal, person, plant, food, artefact or natural object.

WordNet is copyright Princeton University and may be used and distributed freely with its notice, which is
`WORDNET-LICENSE` beside the table.
"""

from __future__ import annotations

import functools
import gzip
import sys
from pathlib import Path

TABLE = Path(__file__).with_name("kinds.tsv.gz")
# Lexicographer files of data.noun.
_TOPS, _ANIMAL, _ARTIFACT, _BODY, _FOOD, _OBJECT, _PERSON, _PHENOMENON, _PLANT, _SUBSTANCE = (
    3, 5, 6, 8, 13, 17, 18, 19, 20, 27,
)  # fmt: skip
_VISIBLE = {_TOPS, _ANIMAL, _ARTIFACT, _BODY, _FOOD, _OBJECT, _PERSON, _PLANT, _SUBSTANCE}
# (first word, lexicographer file) of synsets that are stuff with all that is below them.
_STUFF = {
    ("body_of_water", _OBJECT), ("geological_formation", _OBJECT), ("land", _OBJECT), ("ground", _OBJECT),
    ("sky", _OBJECT), ("soil", _SUBSTANCE), ("atmosphere", _OBJECT), ("grass", _PLANT), ("vegetation", 14),
    ("way", _ARTIFACT), ("paved_surface", _ARTIFACT), ("floor", _ARTIFACT), ("wall", _ARTIFACT),
    ("ceiling", _ARTIFACT), ("fabric", _ARTIFACT), ("horizontal_surface", _ARTIFACT),
    ("atmospheric_phenomenon", _PHENOMENON),
}  # fmt: skip
_PARTS = {("plant_part", _PLANT), ("body_part", _BODY)}
_WHOLE = {("clothing", _ARTIFACT), ("headdress", _ARTIFACT), ("person", _TOPS)}  # a vest is part of a suit
_HAVE_PARTS = {_ANIMAL, _ARTIFACT, _BODY, _PLANT}


@functools.cache
def kinds() -> dict[str, str]:
    """Folded noun -> "object", "stuff" or "part"."""
    with gzip.open(TABLE, "rt", encoding="utf-8") as file:
        rows = (line.rstrip("\n").split("\t") for line in file)
        return {noun: kind for kind, *nouns in rows for noun in nouns}


def kind_of(name: str) -> str:
    """The kind of a folded name; of its last words when the whole is no noun of WordNet's; else "unknown"."""
    from cmask_tf.vocabulary.text import forms

    words = name.split()
    for start in range(len(words)):
        for form in forms(" ".join(words[start:])):
            if form in kinds():
                return kinds()[form]
    return "unknown"


def work_out(folder: Path) -> dict[str, str]:
    """Folded noun -> kind, from WordNet's index.noun and data.noun."""
    synsets = _synsets(Path(folder) / "data.noun")
    found = {}
    for line in _lines(Path(folder) / "index.noun"):
        fields = line.split()
        senses = [synsets[offset] for offset in fields[-int(fields[2]) :]]
        kind = _kind(senses, synsets)
        if kind:
            found[fields[0].replace("_", " ").replace("-", " ")] = kind
    return found


def _kind(senses: list[tuple], synsets: dict[str, tuple]) -> str | None:
    visible = [sense for sense in senses if _above(sense, synsets) & _STUFF or sense[1] in _VISIBLE]
    weather = [sense for sense in senses if sense[1] == _PHENOMENON]
    if not visible:
        return "stuff" if weather else None
    word, file, _, holonyms = visible[0]
    above = _above(visible[0], synsets)
    if above & _STUFF or file == _SUBSTANCE:
        return "stuff"
    wholes = {synsets[offset][1] for offset in holonyms}
    part = file == _BODY or above & _PARTS or (wholes & _HAVE_PARTS and not above & _WHOLE)
    return "part" if part else "object"


def _above(sense: tuple, synsets: dict[str, tuple]) -> set[tuple[str, int]]:
    """(first word, file) of a synset and of everything that it is a kind of."""
    found, todo = set(), [sense]
    while todo:
        word, file, hypernyms, _ = todo.pop()
        if (word, file) not in found:
            found.add((word, file))
            todo += [synsets[offset] for offset in hypernyms]
    return found


def _synsets(path: Path) -> dict[str, tuple[str, int, list[str], list[str]]]:
    """Offset -> (first word, lexicographer file, offsets of hypernyms, of what it is a part of)."""
    found = {}
    for line in _lines(path):
        fields = line.split(" | ")[0].split()
        words = int(fields[3], 16)
        start = 5 + 2 * words
        pointers = [fields[i : i + 4] for i in range(start, start + 4 * int(fields[start - 1]), 4)]
        hypernyms = [offset for symbol, offset, *_ in pointers if symbol in ("@", "@i")]
        holonyms = [offset for symbol, offset, *_ in pointers if symbol == "#p"]
        found[fields[0]] = fields[4], int(fields[1]), hypernyms, holonyms
    return found


def _lines(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [line for line in file if not line.startswith(" ")]


def main(folder: str) -> None:
    """Writes the table anew."""
    nouns: dict[str, list[str]] = {}
    for noun, kind in work_out(Path(folder)).items():
        nouns.setdefault(kind, []).append(noun)
    text = "".join("\t".join((kind, *sorted(nouns[kind]))) + "\n" for kind in sorted(nouns))
    TABLE.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main(sys.argv[1])
