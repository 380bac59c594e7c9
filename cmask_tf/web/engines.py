"""Who answers the page: the model in this process, or a server of it. Both open a photo and find words in it.

What an engine keeps of a photo is in its `Photo`, so that visitors share nothing but the model.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from cmask_tf.errors import UserError
from cmask_tf.imageio import fit_image, read_image
from cmask_tf.overview import PIXELS

if TYPE_CHECKING:
    from cmask_tf.segmenter import ConceptSegmenter
    from cmask_tf.serving.client import SegmentClient
    from cmask_tf.vocabulary.artefact import Vocabulary

MAX_PIXELS = 25_000_000  # of a photo: what a camera of 24 megapixels makes
MOST_WORDS = 32  # that one question may hold
GRID = 320  # the longer side of what is kept of a server's mask beside its PNG
FAINTEST = 0.05  # the lowest score that is of interest where nobody named the word


class WrongQuestion(UserError):
    """The server cannot be used, or a word is unknown to it: with another photo it would be the same."""


@dataclass(frozen=True)
class Photo:
    """A photo that an engine has opened.

    Attributes:
        path: the file, read again for what needs all of its pixels.
        height: in pixels, as a person sees it.
        width: in pixels.
        preview: uint8 RGB [h, w, 3], the longer side `overview.PIXELS`.
        content: what the engine needs to answer: features, or the bytes to send.
    """

    path: Path
    height: int
    width: int
    preview: np.ndarray
    content: object


@dataclass(frozen=True)
class Found:
    """What a model says of one word in one photo; a threshold is somebody else's.

    Attributes:
        name: the word.
        score: 0 to 1, whether it is there.
        small: float32 [h, w], the probabilities on a grid of the engine's choice.
        png: the probabilities at the photo's size, 8 bits; None where `small` is all there is to know.
        attention: float32 [h, w] of each scale; none from a server.
    """

    name: str
    score: float
    small: np.ndarray
    png: bytes | None = None
    attention: tuple[np.ndarray, ...] = ()

    def probability(self, height: int, width: int) -> np.ndarray:
        """The mask at the photo's size: float32 [height, width]."""
        if self.png is not None:
            return _levels(self.png)
        from cmask_tf import geometry

        mask = np.empty((height, width), np.float32)
        geometry.draw_map(self.small, mask)
        return mask


class LocalEngine:
    """The model in this process.

    Args:
        segmenter: the model.
    """

    finds_all = True  # it can be asked what is there, without words

    def __init__(self, segmenter: ConceptSegmenter):
        self.vocabulary: Vocabulary | None = segmenter.vocabulary
        self._segmenter = segmenter
        self._one_at_a_time = (
            threading.Lock()
        )  # a photo of 25 megapixels takes a gigabyte while it is encoded

    def open(self, path: Path) -> Photo:
        """Reads and encodes a photo.

        Raises:
            UserError: it cannot be read, or has more than MAX_PIXELS.
        """
        image = read(path)
        with self._one_at_a_time:
            features = self._segmenter.encode(image)
        return Photo(path, *image.shape[:2], fit_image(image, PIXELS), features)

    def likely(self, photo: Photo) -> list[str]:
        """The words with the highest scores, best first: at most MOST_WORDS, none below FAINTEST."""
        with self._one_at_a_time:
            scores = self._segmenter.scores(photo.content)
        best = np.argsort(-scores, kind="stable")[:MOST_WORDS]
        return [self.vocabulary.names[i] for i in best if scores[i] >= FAINTEST]

    def find(self, photo: Photo, names: Sequence[str]) -> list[Found]:
        """One answer a word of the vocabulary; nothing of the photo is computed again."""
        with self._one_at_a_time:
            decoded = list(self._segmenter.decode(names, photo.content))
            scales = zip(*self._segmenter.attention(names, photo.content), strict=True)
        return [
            Found(name, score, small, attention=maps)
            for (name, small, score), maps in zip(decoded, scales, strict=True)
        ]


class ServerEngine:
    """A running server.

    Args:
        client: the connection.
        vocabulary: the served model's, if it is known here: for completion and names alone.
    """

    finds_all = False

    def __init__(self, client: SegmentClient, vocabulary: Vocabulary | None = None):
        self.vocabulary = vocabulary
        self._client = client

    def open(self, path: Path) -> Photo:
        """Reads a photo; it is sent with every question.

        Raises:
            UserError: it cannot be read, or has more than MAX_PIXELS.
        """
        from cmask_tf.serving.client import encode_photo

        image = read(path)
        try:
            content, _ = encode_photo(path)
        except UserError as error:
            raise named(error, path) from None
        return Photo(path, *image.shape[:2], fit_image(image, PIXELS), content)

    def find(self, photo: Photo, names: Sequence[str]) -> list[Found]:
        """One answer a word.

        Raises:
            WrongQuestion: the server cannot be used, or does not know a word.
            UserError: it did not answer to this photo.
        """
        from cmask_tf.serving.client import ServerError

        try:
            [answers] = self._client.segment_encoded([photo.content], [names])
        except ServerError as error:
            raise WrongQuestion(str(error)) from None
        unknown = [name for name, answer in zip(names, answers, strict=True) if not answer.known]
        if unknown:
            raise WrongQuestion(f"the server's model does not know {', '.join(map(repr, unknown))}")
        found = []
        for name, answer in zip(names, answers, strict=True):
            if not answer.png:
                raise UserError("the server could not decode the photo, or it has too many pixels for it")
            mask = _levels(answer.png)
            if mask.shape != (photo.height, photo.width):
                raise UserError(f"the server's mask is of {mask.shape[1]} x {mask.shape[0]} pixels")
            found.append(Found(name, answer.score, _small(mask), answer.png))
        return found


Engine = LocalEngine | ServerEngine


def named(error: UserError, path: Path) -> UserError:
    """The error with the photo's name, without the folder that it lies in: that is nobody's business."""
    return UserError(str(error).replace(str(path), path.name))


def read(path: Path) -> np.ndarray:
    """A visitor's photo uint8 RGB [H, W, 3].

    Raises:
        UserError: one line about the file by its name alone.
    """
    try:
        return read_image(path, MAX_PIXELS)
    except UserError as error:
        raise named(error, path) from None


def _levels(png: bytes) -> np.ndarray:
    from cmask_tf.serving.client import Answer

    return Answer(png, 0.0, False, True).mask().astype(np.float32) / 255


def _small(mask: np.ndarray) -> np.ndarray:
    scale = GRID / max(mask.shape)
    if scale >= 1:
        return mask
    size = [max(1, round(side * scale)) for side in mask.shape[::-1]]
    return cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
