"""One visitor's photo and what was found in it, kept so that nothing is computed twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.web.engines import MOST_WORDS, Engine, Found, Photo

MOST_KEPT = 4 * MOST_WORDS  # answers of a photo; the oldest go first


@dataclass(frozen=True)
class Thresholds:
    """What counts as inside a mask, and what as there at all: probabilities in 0..1."""

    mask: float = 0.5
    presence: float = 0.5


@dataclass(frozen=True)
class Row:
    """A word as it is shown.

    Attributes:
        name: the word.
        score: 0 to 1.
        present: whether the score reaches the threshold.
        mask: bool [h, w], the size of the photo's preview.
        area: the mask's part of the picture, 0 to 1.
    """

    name: str
    score: float
    present: bool
    mask: np.ndarray
    area: float


@dataclass
class Visit:
    """A photo that a visitor has opened, and the answers so far.

    Attributes:
        photo: the photo.
        names: the words that are shown, in order.
        everything: whether nobody named them: what is not there is then not shown.
    """

    photo: Photo
    names: list[str] = field(default_factory=list)
    everything: bool = False
    _found: dict[str, Found] = field(default_factory=dict)

    def ask(self, engine: Engine, words: Sequence[str]) -> None:
        """Shows words; without any, those that are likely there. Only new ones cost a decoding.

        Raises:
            UserError: too many words, none for a server, or the server's errors.
        """
        if len(words) > MOST_WORDS:
            raise UserError(f"{len(words)} words; expected at most {MOST_WORDS} at a time")
        if not words and not engine.finds_all:
            raise UserError("a server has to be asked for words: type at least one")
        names = list(words) or engine.likely(self.photo)
        new = [name for name in names if name not in self._found]
        if new:
            self._found |= {found.name: found for found in engine.find(self.photo, new)}
        self.names, self.everything = names, not words
        for name in list(self._found):
            if len(self._found) <= MOST_KEPT:
                break
            if name not in names:
                del self._found[name]

    def found(self, name: str) -> Found:
        """The answer to a word that is shown."""
        return self._found[name]

    def rows(self, thresholds: Thresholds) -> list[Row]:
        """What is shown at these thresholds, without the model."""
        rows = []
        for name in self.names:
            found = self._found[name]
            present = found.score >= thresholds.presence
            if present or not self.everything:
                mask = self.preview(name) >= thresholds.mask
                rows.append(Row(name, found.score, present, mask, float(mask.mean())))
        return rows

    def preview(self, name: str) -> np.ndarray:
        """The probabilities of a word in the size of the photo's preview: float32 [h, w]."""
        size = self.photo.preview.shape[1::-1]
        return cv2.resize(self._found[name].small, size, interpolation=cv2.INTER_LINEAR)


def open_visit(engine: Engine, path: Path) -> Visit:
    """Opens a visitor's photo.

    Raises:
        UserError: one line about the file.
    """
    return Visit(engine.open(path))


def look_up(vocabulary: Vocabulary | None, words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """What was typed, as names of the vocabulary.

    Args:
        vocabulary: None takes every word as it is: a server will tell.
        words: any spellings.

    Returns:
        Names, each once; and the nearest names of each word that is unknown.
    """
    words = [word.strip() for word in words if word.strip()]
    if vocabulary is None:
        return list(dict.fromkeys(words)), {}
    places = {word: vocabulary.find(word) for word in words}
    names = dict.fromkeys(vocabulary.names[place] for place in places.values() if place is not None)
    unknown = [word for word, place in places.items() if place is None]
    return list(names), {word: vocabulary.nearest_spellings(word) for word in unknown}
