"""What can be scored: anything that answers a photo and the names of concepts with masks or maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from cmask_tf.errors import UserError

_ROUNDING = 1e-4  # what resizing may add to a probability


@dataclass(frozen=True)
class Prediction:
    """What a system says of one concept in one photo of H x W pixels. None: it does not say.

    Attributes:
        name: the concept, as it was asked for.
        probability: float32 [H, W] in [0, 1]; the mask is where it is 0.5 or more (5.3).
        attention: float32 [H, W], the map before min-max at the photo's size (5.2).
        score: in [0, 1]: whether the concept is in the photo.
        present: the decision at the system's own threshold.
    """

    name: str
    probability: np.ndarray | None = None
    attention: np.ndarray | None = None
    score: float | None = None
    present: bool | None = None


class System(Protocol):
    """A row of a table."""

    def answers(self, name: str) -> bool:
        """Whether the system can be asked for a concept at all; a closed set knows its own only."""

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        """One prediction for each name, in their order.

        Args:
            path: of the photo, for systems that look their answers up.
            image: uint8 RGB [H, W, 3], as a person sees it.
            names: concepts that `answers` is true for.
        """


@dataclass(frozen=True)
class Description:
    """What a system knows of a concept where the annotations are silent.

    Attributes:
        level: mask, box, image or zero.
        kind: object, stuff, part, attribute, action or unknown.
        frequency: how many photos have the concept's tag, of those that the word vectors were made of.
    """

    level: str
    kind: str
    frequency: float


@runtime_checkable
class Describing(Protocol):
    """A System may offer this too."""

    def describe(self, name: str) -> Description:
        """Of a concept that `answers` is true for."""


class SegmenterSystem:
    """A trained model. Its attention is the mean of both scales' maps as they are given to Stage 3 but
    before min-max, each upsampled bilinearly to the photo's size."""

    def __init__(self, segmenter):
        """Args:
        segmenter: a ConceptSegmenter, or what offers its `encode`, `iterate`, `attention`, `vocabulary`
            and `concepts`.
        """
        self._segmenter = segmenter
        self._trained = {concept["name"]: concept for concept in segmenter.concepts}

    def answers(self, name: str) -> bool:
        return self._segmenter.vocabulary.find(name) is not None

    def describe(self, name: str) -> Description:
        vocabulary = self._segmenter.vocabulary
        index = vocabulary.index(name)
        concept = self._trained.get(vocabulary.names[index], {})
        kind = concept.get("kind") or vocabulary.kinds[index]
        return Description(concept.get("level", "zero"), kind, float(vocabulary.counts[index]))

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        if not names:
            return
        from cmask_tf.training.validation import upsample  # TensorFlow, which other systems do without

        features, shape = self._segmenter.encode(image), image.shape[:2]
        scales = self._segmenter.attention(names, features)
        answers = self._segmenter.iterate(names, features)
        for (name, probability, score, present), *maps in zip(answers, *scales, strict=True):
            attention = np.mean([upsample(small, shape) for small in maps], axis=0)
            yield Prediction(name, probability, attention, score, present)


def ask(
    system: System, title: str, path: Path, image: np.ndarray, names: Sequence[str]
) -> Iterator[Prediction]:
    """`predict`, and a look at what comes.

    Args:
        system: what is asked.
        title: what to call it in an error.
        path: of the photo.
        image: uint8 RGB [H, W, 3].
        names: concepts that the system answers.

    Raises:
        UserError: a prediction is missing, or of another concept, or its arrays or score are not as
            `Prediction` says.
    """
    answers = iter(system.predict(path, image, names))
    for name in names:
        prediction = next(answers, None)
        if prediction is None:
            raise UserError(f"{title}: {path}: {name}: no prediction")
        fault = _fault(prediction, name, image.shape[:2])
        if fault:
            raise UserError(f"{title}: {path}: {name}: {fault}")
        yield prediction
    if (extra := next(answers, None)) is not None:
        raise UserError(f"{title}: {path}: {extra.name}: a prediction that was not asked for")


def _fault(prediction: Prediction, name: str, shape: tuple[int, int]) -> str | None:
    """What is wrong with a prediction, or None."""
    if prediction.name != name:
        return f"expected its prediction, not that of {prediction.name}"
    for what in ("probability", "attention"):
        values = getattr(prediction, what)
        if values is None:
            continue
        if values.shape != shape:
            return f"{what}: expected [{shape[0]}, {shape[1]}], the photo's size, not {list(values.shape)}"
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            return f"{what}: not a finite number"
        if what == "probability" and not (-_ROUNDING <= low and high <= 1 + _ROUNDING):
            return f"probability: expected values in [0, 1], not {low:.4g} to {high:.4g}"
    if prediction.score is not None and not 0 <= prediction.score <= 1:
        return f"score: expected a number in [0, 1], not {prediction.score}"
    return None
