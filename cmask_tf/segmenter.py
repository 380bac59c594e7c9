"""ConceptSegmenter: what a person imports. A photo and concepts in, masks and scores out.

    segmenter = ConceptSegmenter.load("runs/model")
    features = segmenter.encode(image)                      # uint8 RGB [H, W, 3]; the heavy part, once
    result = segmenter.segment(["dress", "bag"], features)

A concept is a name (any case, plural or alias) or a word vector. The mask and the score are two
separate answers (supplement 5): the mask says where the concept would be, the score whether it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cmask_tf import geometry, model_directory
from cmask_tf.config import Config
from cmask_tf.errors import UserError
from cmask_tf.models.combined import ConceptMaskModel
from cmask_tf.models.mixing import ConceptTable
from cmask_tf.models.precision import precision
from cmask_tf.vocabulary.artefact import Vocabulary

MAX_MASK_BYTES = 256_000_000
CHUNK = 16  # concepts that go through the segmentation network together
SAME_VECTOR = 1 - 1e-4  # cosine from which a vector is the vocabulary's

ENCODING = ("backbone", "embedding", "segmentation_encoder")  # the networks that no concept changes

Concept = str | np.ndarray


@dataclass(frozen=True)
class Features:
    """An encoded photo: everything about it that no concept changes."""

    maps: Mapping[str, tf.Tensor]
    height: int
    width: int


@dataclass(frozen=True)
class Segmentation:
    """The answer for N concepts.

    Attributes:
        names: the concepts as they were asked for; a word vector has the name of the vocabulary's equal
            word, or "vector I" with its position.
        masks: float32 [N, H, W], the probability that a pixel belongs to the concept.
        scores: float32 [N] in [0, 1]: whether the concept is in the photo; 0.5 is its own threshold.
        present: bool [N], score >= 0.5.
        known: bool [N], False for a word vector that is not in the vocabulary.
    """

    names: list[str]
    masks: np.ndarray
    scores: np.ndarray
    present: np.ndarray
    known: np.ndarray


class ConceptSegmenter:
    """A trained system, ready for photos."""

    def __init__(
        self,
        config: Config,
        vocabulary: Vocabulary,
        concepts: Sequence[Mapping[str, str]],
        parts: Mapping[str, keras.Model],
        mixing: Mapping,
        thresholds: Mapping,
        max_mask_bytes: int = MAX_MASK_BYTES,
    ):
        """Joins the parts of a model directory; `load` is the usual way here."""
        self.config = config
        self.vocabulary = vocabulary
        self.concepts = list(concepts)
        self.max_mask_bytes = max_mask_bytes
        table = ConceptTable.build(vocabulary, self.concepts, mixing, thresholds)
        self._model = ConceptMaskModel(config, parts, table)
        self._current: Features | None = None

    @classmethod
    def load(
        cls, path: str | Path | None = None, max_mask_bytes: int = MAX_MASK_BYTES, bfloat16: bool = False
    ) -> ConceptSegmenter:
        """Loads a model directory or a trained preset.

        Args:
            path: the model directory, or a preset's name; by default the preset `presets.DEFAULT`.
            max_mask_bytes: the largest array of masks that `segment` may return.
            bfloat16: `encode` computes in bfloat16 (see docs/latency.md), for processors that have
                instructions for it. What a concept adds stays float32.

        Raises:
            UserError: no such directory, or a file of it is missing, broken or damaged (named).
        """
        path = model_directory.locate(path)
        parts = model_directory.load_parts(path, inference=True)  # checks that all files are there
        config = model_directory.load_config(path)
        return cls(
            config,
            model_directory.load_vocabulary(path),
            model_directory.load_concepts(path),
            _encoding_in_bfloat16(config, parts) if bfloat16 else parts,
            model_directory.load_json(path / "mixing.json"),
            model_directory.load_json(path / "thresholds.json"),
            max_mask_bytes,
        )

    @property
    def model(self) -> ConceptMaskModel:
        """The networks and tables behind the segmenter."""
        return self._model

    def encode(self, image: np.ndarray) -> Features:
        """Encodes a photo; the segmenter keeps nothing of it.

        Args:
            image: uint8 RGB [H, W, 3], as a person sees it.
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UserError(f"image: expected uint8 RGB [H, W, 3], not {image.dtype} {list(image.shape)}")
        return Features(self._model.encode(image[np.newaxis]), *image.shape[:2])

    def set_image(self, image: np.ndarray) -> None:
        """Encodes a photo for the calls that name no features."""
        self._current = self.encode(image)

    def segment(self, concepts: Sequence[Concept], features: Features | None = None) -> Segmentation:
        """Segments concepts of an encoded photo.

        Args:
            concepts: names or word vectors float [D].
            features: what `encode` returned; by default the photo of `set_image`.

        Raises:
            UserError: a name that is not in the vocabulary (lists the nearest ones), a vector that is
                none, or more masks than `max_mask_bytes`.
        """
        features = self._features(features)
        names, vectors, known = self._look_up(concepts)
        size = (len(names), features.height, features.width)
        needed = 4 * int(np.prod(size))
        if needed > self.max_mask_bytes:
            raise UserError(
                f"{size[0]} masks of {size[2]} x {size[1]} pixels take {needed} bytes, more than "
                f"max_mask_bytes = {self.max_mask_bytes}: use iterate(), or raise max_mask_bytes"
            )
        masks, scores = np.empty(size, np.float32), np.empty(len(names), np.float32)
        for index, (small, score) in enumerate(self._decode(vectors, features)):
            geometry.draw_map(small, masks[index])
            scores[index] = score
        return Segmentation(names, masks, scores, scores >= 0.5, known)

    def iterate(
        self, concepts: Sequence[Concept], features: Features | None = None
    ) -> Iterator[tuple[str, np.ndarray, float, bool]]:
        """Like `segment` for any number of concepts: one mask of full size in memory at a time.

        Yields:
            name, mask float32 [H, W], score, present.
        """
        features = self._features(features)
        for name, small, score in self.decode(concepts, features):
            mask = np.empty((features.height, features.width), np.float32)
            geometry.draw_map(small, mask)
            yield name, mask, score, score >= 0.5

    def decode(
        self, concepts: Sequence[Concept], features: Features | None = None
    ) -> Iterator[tuple[str, np.ndarray, float]]:
        """Like `iterate`, with the masks as the network gives them, small enough to keep many.

        Yields:
            name, mask float32 [S, S] (`geometry.draw_map` draws it at the photo's size), score.
        """
        features = self._features(features)
        names, vectors, _ = self._look_up(concepts)
        for name, (small, score) in zip(names, self._decode(vectors, features), strict=True):
            yield name, small, float(score)

    def scores(self, features: Features | None = None) -> np.ndarray:
        """The score of every word of the vocabulary, in its order: float32 [V] in [0, 1]; no masks."""
        features = self._features(features)
        found = []
        for start in range(0, len(self.vocabulary), CHUNK):
            entries = tf.range(start, min(start + CHUNK, len(self.vocabulary)))
            parameters, rows = self._model.resolve_entries(entries), tf.zeros_like(entries)
            raw = self._model.raw_scores(features.maps, parameters, rows)
            found.append(self._model.calibrate(raw, parameters).numpy())
        return np.concatenate(found)

    def present(self, features: Features | None = None) -> list[str]:
        """The words of the vocabulary that are in the photo by their scores, in its order; no masks."""
        return [self.vocabulary.names[i] for i in np.flatnonzero(self.scores(features) >= 0.5)]

    def attention(self, concepts: Sequence[Concept], features: Features | None = None) -> list[np.ndarray]:
        """The maps given to the segmentation network, before min-max (4.3, 4.4).

        Returns:
            one float32 [N, h, w] for each of the two scales.
        """
        features = self._features(features)
        _, vectors, _ = self._look_up(concepts)
        chunks = []
        for start in range(0, len(vectors), CHUNK):
            parameters, rows = self._resolve(vectors[start : start + CHUNK])
            maps, _ = self._model.attention(features.maps, parameters, rows)
            chunks.append([m.numpy() for m in maps])
        return [np.concatenate(maps) for maps in zip(*chunks, strict=True)]

    def _features(self, features: Features | None) -> Features:
        features = features or self._current
        if features is None:
            raise UserError("no photo: call set_image(image) first, or give the features of encode(image)")
        return features

    def _decode(self, vectors: np.ndarray, features: Features) -> Iterator[tuple[np.ndarray, np.float32]]:
        """(mask [S, S], score) of each word vector, decoded a chunk at a time."""
        for start in range(0, len(vectors), CHUNK):
            parameters, rows = self._resolve(vectors[start : start + CHUNK])
            probabilities, scores, _ = self._model.decode(features.maps, parameters, rows)
            yield from zip(probabilities.numpy(), scores.numpy(), strict=True)

    def _resolve(self, vectors: np.ndarray) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        return self._model.resolve(vectors), tf.zeros(len(vectors), tf.int32)

    def _look_up(self, concepts: Sequence[Concept]) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Names, word vectors float32 [N, D] and which of them the vocabulary holds."""
        if isinstance(concepts, str):
            raise UserError(f"concepts: expected a list, as in [{concepts!r}]")
        names, vectors, known = [], [], []
        name: str | None
        for position, concept in enumerate(concepts):
            if isinstance(concept, str):
                vector, name = self.vocabulary.vectors[self.vocabulary.index(concept)], concept
            else:
                vector = self._check_vector(concept, position)
                name = self._equal_word(vector)
            names.append(name or f"vector {position}")
            vectors.append(vector)
            known.append(name is not None)
        shape = (len(names), self.vocabulary.dim)
        return names, np.array(vectors, np.float32).reshape(shape), np.array(known, bool)

    def _check_vector(self, concept: np.ndarray, position: int) -> np.ndarray:
        vector = np.asarray(concept)
        if vector.shape != (self.vocabulary.dim,) or not np.issubdtype(vector.dtype, np.floating):
            raise UserError(
                f"concept {position}: expected a name or a float word vector [{self.vocabulary.dim}], "
                f"not {vector.dtype} {list(vector.shape)}"
            )
        if not np.isfinite(vector).all() or not vector.any():
            raise UserError(f"concept {position}: a word vector is finite and not all zeros")
        return vector.astype(np.float32)

    def _equal_word(self, vector: np.ndarray) -> str | None:
        [(name, cosine)] = self.vocabulary.nearest(vector, k=1)
        return name if cosine > SAME_VECTOR else None


def _encoding_in_bfloat16(config: Config, parts: Mapping[str, keras.Model]) -> dict[str, keras.Model]:
    with precision("mixed_bfloat16"):
        anew = model_directory.copies(config, parts)
    return {**parts, **{name: anew[name] for name in ENCODING}}
