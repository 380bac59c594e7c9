"""The two graphs that benchmarks/paper_graph.py compares: the paper's as it is written, and ours.

Both take one photo of any size and word vectors and give masks of the photo's size and scores; the saved ones
take one word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from cmask_tf import config, geometry
from cmask_tf.models import attention, mixing, segmentation, verification
from cmask_tf.models.combined import ConceptMaskModel
from cmask_tf.models.recognition import SAME_WORD


class Literal(tf.Module):
    """Section 4 layer by layer in Keras: V coarse maps, V refined ones, of which the concept's are picked."""

    def __init__(
        self, settings: config.Config, parts: Mapping[str, keras.Model], table: mixing.ConceptTable
    ) -> None:
        super().__init__(name="literal")
        self.sizes, self.size = settings.attention.sizes, settings.segmentation.size
        self.parts = dict(parts)
        self.verifier = parts.get("verification", parts["embedding"])
        self.slope = table.slope
        self.words = tf.Variable(tf.nn.l2_normalize(table.vectors, -1), trainable=False)  # [V, D]
        self.trained = self.words  # [V, D], without a copy where the vocabulary holds no more than those
        if len(table.trained) < len(table.vectors):
            self.trained = tf.Variable(tf.gather(self.words, table.trained), trainable=False)
        for name in ("column", "neighbour", "path", "theta", "threshold", "candidates"):
            setattr(self, name, tf.Variable(getattr(table, name), trainable=False))
        self.outside = table.outside_theta, table.outside_threshold

    def attend(self, squares: dict[str, tf.Tensor], word_vectors: tf.Tensor) -> tuple:
        """Attention maps [K, h, w] at each scale, the backbone's maps at the first; what verification
        compares with, and thresholds."""
        given = tf.nn.l2_normalize(word_vectors, -1)
        cosines = tf.matmul(given, self.words, transpose_b=True)
        best = tf.argmax(cosines, axis=1, output_type=tf.int32)
        known = tf.reduce_max(cosines, axis=1) > SAME_WORD
        near = tf.gather(self.candidates, tf.argmax(tf.gather(cosines, self.candidates, axis=1), axis=1))
        q = tf.gather(self.column, best)
        p = tf.where(known, tf.gather(self.neighbour, best), tf.gather(self.column, near))
        path = tf.where(known, tf.gather(self.path, best), mixing.COARSE)
        theta = tf.where(known, tf.gather(self.theta, best), self.outside[0])
        vector = tf.where(known[:, None], tf.gather(self.words, best), given)
        maps, first = [], None
        for size in self.sizes:
            features = self.parts["backbone"](squares[str(size)], training=False)
            first = first or features
            e = tf.nn.l2_normalize(self.parts["embedding"](features["c5"], training=False), -1)
            coarse = tf.tensordot(e, self.trained, ((3,), (1,)))  # [1, h, w, V]
            refined = tf.sigmoid(self.parts["refinement"](coarse, training=False))  # [1, h, w, V]
            of_q, of_p = (tf.gather(refined[0], tf.maximum(i, 0), axis=2) for i in (q, p))
            own = tf.tensordot(e[0], vector, ((2,), (1,)))
            of_q, of_p, own = (tf.transpose(one, (2, 0, 1)) for one in (of_q, of_p, own))
            maps.append(mixing.mix(path, theta, of_q, of_p, own))
        threshold = tf.where(known, tf.gather(self.threshold, best), self.outside[1])
        if "verification_words" in self.parts:
            place = tf.where(known, q, -1)
            vector = self.parts["verification_words"]({"vector": vector, "place": place})
        return maps, first, vector, threshold

    def body(self, squares: dict[str, tf.Tensor], word_vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Masks [K, S, S] and scores [K]."""
        maps, features, sought, threshold = self.attend(squares, word_vectors)
        rows = tf.zeros(tf.shape(sought)[:1], tf.int32)
        encoder, square = self.parts["segmentation_encoder"], squares[str(self.size)]
        encoded = segmentation.encode(encoder, square, features, training=False)
        given = {name: tf.gather(value, rows) for name, value in encoded.items()}
        given["attention"] = attention.stack_scales(maps, self.size)
        mask = tf.sigmoid(self.parts["segmentation_decoder"](given, training=False))[..., 0]
        raw = verification.raw_score(self.verifier, features["c5"], maps[0], sought, rows)
        return mask, verification.calibrate(raw, threshold, self.slope)


class Ours(tf.Module):
    """What is served: `ConceptMaskModel`, one concept at a time."""

    def __init__(self, model: ConceptMaskModel) -> None:
        super().__init__(name="ours")
        self.model, self.sizes, self.size, self.words = model, model.sizes, model.size, model.words

    def attend(self, squares: dict[str, tf.Tensor], word_vector: tf.Tensor) -> tuple:
        """Attention maps [1, h, w] at each scale, in a tuple."""
        features, parameters = self.model.encode_squares(squares), self.model.resolve(word_vector)
        return (self.model.attention(features, parameters, tf.zeros([1], tf.int32))[0],)

    def body(self, squares: dict[str, tf.Tensor], word_vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mask [1, S, S] and score [1]."""
        # The steps as plain functions: with the shapes of one photo in them, operations can be counted.
        encode, resolve, decode = (
            step.python_function
            for step in (self.model.encode_squares, self.model.resolve, self.model.decode)
        )
        mask, score, _ = decode(encode(squares), resolve(word_vector), tf.zeros([1], tf.int32))
        return mask, score


def squares_of(graph: Literal | Ours, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """The photo at the sizes that the graph takes it in."""
    return {str(side): geometry.resize_image(image, side) for side in sorted({*graph.sizes, graph.size})}


def attention_maps(graph: Literal | Ours, image: tf.Tensor, words: tf.Tensor) -> list[np.ndarray]:
    """For each scale float32 [K, h, w], the maps given to Stage 3 before min-max, of words [K, D]."""
    squares = squares_of(graph, image)
    found = [graph.attend(squares, word)[0] for word in tf.split(words, len(words))]
    return [np.concatenate(maps) for maps in zip(*found, strict=True)]


def export(graph: Literal | Ours, place: Path) -> None:
    """A SavedModel with "segment", of `image` uint8 [1, H, W, 3] and `word_vector` float32 [1, D]."""

    def segment(image: tf.Tensor, word_vector: tf.Tensor) -> dict[str, tf.Tensor]:
        mask, score = graph.body(squares_of(graph, image), word_vector)
        full = geometry.resize_maps(mask[..., None], tf.shape(image)[1], tf.shape(image)[2])
        return {"mask": full[..., 0], "score": score}

    given = [
        tf.TensorSpec([1, None, None, 3], tf.uint8, "image"),
        tf.TensorSpec([1, graph.words.shape[1]], tf.float32, "word_vector"),
    ]
    archive = keras.export.ExportArchive()
    archive.track(graph)
    archive.add_endpoint("segment", segment, given)
    archive.write_out(place, verbose=False)


def operations(graph: Literal | Ours) -> float:
    """Floating point operations of a photo and a concept, resizing apart, as TensorFlow's profiler counts."""
    squares = {str(s): tf.TensorSpec([1, s, s, 3]) for s in sorted({*graph.sizes, graph.size})}
    return counted(lambda *given: graph.body(*given), squares, tf.TensorSpec([1, graph.words.shape[1]]))


def counted(function: Callable, *given: tf.TensorSpec) -> float:
    """Floating point operations of a function, as TensorFlow's profiler counts; shapes must be known."""
    made = tf.function(function).get_concrete_function(*given)
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    return profiler.profile(made.graph, options=options.with_empty_output().build()).total_float_ops
