"""The V concepts that Stage 2 has as inputs and outputs, and the level of each (section 3).

A concept's level is the strongest annotation that the training records hold of it: `mask`, `box` or
`image` (tags alone). Words of the vocabulary without any, the `zero` ones, are never trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cmask_tf.data.records import RecordSet
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary


def trained_concepts(records: Path, vocabulary: Vocabulary) -> list[dict[str, str]]:
    """The trained concepts in the vocabulary's order: `[{"name", "level", "kind"}]`.

    Args:
        records: what `cmask data prepare` wrote: `tags/`, `boxes/`, `masks/`.
        vocabulary: words outside it are left out, since they have no vector.
    """
    names = {
        "image": RecordSet.open(records / "tags").tags,
        "box": RecordSet.open(records / "boxes").concepts,
        "mask": RecordSet.open(records / "masks").concepts,
    }
    levels = {vocabulary.find(name): level for level, found in names.items() for name in found}
    kinds = _kinds(records, vocabulary)
    return [
        {"name": vocabulary.names[i], "level": levels[i], "kind": kinds.get(i, vocabulary.kinds[i])}
        for i in range(len(vocabulary))
        if i in levels
    ]


def _kinds(records: Path, vocabulary: Vocabulary) -> dict[int, str]:
    file = records / "concepts.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    return {vocabulary.find(name): entry["kind"] for name, entry in known.items() if entry.get("kind")}


def trained_spellings(concepts: Sequence[dict[str, str]], vocabulary: Vocabulary) -> dict[str, int]:
    """Every folded spelling of a trained concept -> its index among the trained ones."""
    column = {vocabulary.index(concept["name"]): i for i, concept in enumerate(concepts)}
    return {form: column[i] for form, i in vocabulary.spellings().items() if i in column}


def with_level(concepts: Sequence[dict[str, str]], *levels: str) -> list[int]:
    """The indices of the concepts of these levels."""
    return [i for i, concept in enumerate(concepts) if concept["level"] in levels]


def check_supervision(concepts: Sequence[dict[str, str]], records: Path) -> None:
    """Stage 2 needs boxes and Stage 3 masks of at least one known concept each."""
    if not with_level(concepts, "mask"):
        raise UserError(f"{records / 'masks'}: no concept with masks is in the vocabulary")
    if not with_level(concepts, "mask", "box"):
        raise UserError(f"{records / 'boxes'}: no concept with boxes is in the vocabulary")
