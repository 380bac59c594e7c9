"""The four functions of the SavedModel: what they check, and the loop over the concepts.

Content is checked here and nowhere else: what is wrong with one image or one concept spoils its row or its
cell (mask of zeros or empty PNG, score 0, not present). Concepts are decoded `CHUNK` at a time, only those
that can be answered: besides its results, the memory of a call does not grow with K.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.export import photos, spelling
from cmask_tf.export.signatures import MAX_MASK_BYTES, PRESENT
from cmask_tf.models.combined import ConceptMaskModel
from cmask_tf.segmenter import CHUNK
from cmask_tf.vocabulary.artefact import Vocabulary

CPU = "/CPU:0"  # bytes and strings stay there whatever the machine has
# Of zlib: its own choice, 6, makes masks a third smaller in four times the time.
_PNG_COMPRESSION = 1
_DRAWN_AT_ONCE = 4  # full-size masks that are in memory side by side while they become PNG
Outputs = dict[str, tf.Tensor]
Parameters = dict[str, tf.Tensor]  # of concepts, from the model's `resolve`


class ServingGraph:
    """The signatures of `signatures.SIGNATURES` around a model.

    Attributes:
        names: the look-up of names, for the archive to track.
    """

    def __init__(self, model: ConceptMaskModel, vocabulary: Vocabulary) -> None:
        self._model = model
        self._dim = vocabulary.dim
        self.names = spelling.SpellingTable(vocabulary)

    def serving_default(self, image: tf.Tensor, word_vector: tf.Tensor) -> Outputs:
        """One concept an image; word vectors float32 [B, D]."""
        outputs = self.segment_concepts(image, word_vector[:, tf.newaxis])
        return {name: value[:, 0] for name, value in outputs.items()}

    def segment_concepts(self, image: tf.Tensor, word_vectors: tf.Tensor) -> Outputs:
        """K concepts an image; word vectors float32 [B, K, D]."""
        _check_batch(image, word_vectors)
        batch, count = tf.shape(word_vectors)[0], tf.shape(word_vectors)[1]
        side = tf.shape(image)[1:3]
        shape = tf.concat([[batch, count], side], 0)
        size = 4 * tf.reduce_prod(tf.cast(shape, tf.int64))
        message = "mask: more bytes than a message holds; ask for fewer concepts or use segment_encoded"
        with tf.control_dependencies([tf.debugging.Assert(size <= MAX_MASK_BYTES, [message, size])]):
            vectors, usable = check_vectors(tf.reshape(word_vectors, [-1, self._dim]))

        def resolve(pairs: tf.Tensor) -> Parameters:
            return self._model.resolve(tf.gather(vectors, pairs))

        def full_size(probabilities: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
            return geometry.resize_maps(probabilities[..., tf.newaxis], side[0], side[1])[..., 0]

        rows = tf.repeat(tf.range(batch), count)
        wanted = tf.cast(tf.where(usable)[:, 0], tf.int32)
        masks, scores = self._decode(
            self._model.encode(image), resolve, rows, wanted, full_size, tf.float32, side
        )
        verdict = _verdict(tf.reshape(scores, [batch, count]), tf.reshape(usable, [batch, count]))
        return {"mask": tf.reshape(masks, shape), **verdict}

    def segment_encoded(self, image_bytes: tf.Tensor, concepts: tf.Tensor) -> Outputs:
        """K names an image, both as strings; "" is padding."""
        _check_batch(image_bytes, concepts)
        with tf.device(CPU):
            squares, sides = photos.decode(image_bytes, sorted({*self._model.sizes, self._model.size}))
            entries = self.names.find(concepts)
            known = entries != spelling.UNKNOWN
            good = sides[:, 0] > 0
            usable = known & good[:, tf.newaxis]
            # Only images that someone asks something of are encoded.
            asked = tf.reduce_any(usable, axis=1)
            place = tf.cumsum(tf.cast(asked, tf.int32), exclusive=True)
            rows = tf.repeat(place, tf.shape(concepts)[1])
            wanted = tf.cast(tf.where(tf.reshape(usable, [-1]))[:, 0], tf.int32)
            sides = tf.boolean_mask(sides, asked)
            squares = {name: tf.boolean_mask(value, asked) for name, value in squares.items()}
            entries = tf.reshape(entries, [-1])

        def resolve(pairs: tf.Tensor) -> Parameters:
            return self._model.resolve_entries(tf.gather(entries, pairs))

        def draw(probabilities: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
            return draw_png(probabilities, tf.gather(sides, rows))

        def answer() -> tuple[tf.Tensor, tf.Tensor]:
            features = self._model.encode_squares(squares)
            return self._decode(features, resolve, rows, wanted, draw, tf.string, [])

        def nothing() -> tuple[tf.Tensor, tf.Tensor]:
            return tf.fill(tf.shape(rows), ""), tf.zeros(tf.shape(rows))

        pngs, scores = tf.cond(tf.size(wanted) > 0, answer, nothing)
        shape = tf.shape(concepts)
        verdict = _verdict(tf.reshape(scores, shape), usable)
        return {"mask_png_bytes": tf.reshape(pngs, shape), **verdict, "known": known}

    def attention(self, image: tf.Tensor, word_vector: tf.Tensor) -> Outputs:
        """The maps given to the segmentation network, before min-max, and Eqn. 1's, at both scales."""
        _check_batch(image, word_vector)
        vectors, usable = check_vectors(word_vector)
        rows = tf.range(tf.shape(vectors)[0])
        found = self._model.attention(self._model.encode(image), self._model.resolve(vectors), rows)
        outputs = {}
        for name, maps in zip(("attention", "coarse"), found, strict=True):
            finer = tf.reduce_max([tf.shape(m)[1:3] for m in maps], axis=0)
            maps = [geometry.resize_maps(m[..., tf.newaxis], finer[0], finer[1])[..., 0] for m in maps]
            outputs[name] = tf.where(usable[:, None, None, None], tf.stack(maps, axis=1), 0.0)
        return outputs

    def _decode(
        self,
        features: dict[str, tf.Tensor],
        resolve: Callable[[tf.Tensor], Parameters],
        rows: tf.Tensor,
        wanted: tf.Tensor,
        draw: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        dtype: tf.DType,
        shape: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The answers for N pairs of image and concept, a chunk at a time.

        Args:
            features: of the images.
            resolve: (pairs int32 [n]) -> what the model must know of their concepts.
            rows: int32 [N], the image of each pair.
            wanted: int32 [M], the pairs that are worked out.
            draw: (probabilities float32 [n, S, S], rows int32 [n]) -> [n, ...], what a mask becomes.
            dtype: of one drawn mask.
            shape: of one drawn mask.

        Returns:
            [N, ...] of `dtype` and float32 [N]: masks as drawn and scores; zeros and "" for other pairs.
        """
        total, last = tf.shape(rows)[0], tf.shape(wanted)[0]
        # TensorArray knows no element shape that a tensor gives, and it alone makes untouched elements zeros.
        masks, scores = (
            tf.raw_ops.TensorListReserve(element_shape=s, num_elements=total, element_dtype=d)
            for s, d in ((_as_shape(shape), dtype), (_as_shape([]), tf.float32))
        )

        def step(start: tf.Tensor, masks: tf.Tensor, scores: tf.Tensor):
            stop = tf.minimum(start + CHUNK, last)
            pairs = wanted[start:stop]
            images = tf.gather(rows, pairs)
            probabilities, score, _ = self._model.decode(features, resolve(pairs), images)
            return stop, _put(masks, draw(probabilities, images), pairs), _put(scores, score, pairs)

        _, masks, scores = tf.while_loop(
            lambda start, *_: start < last, step, (0, masks, scores), parallel_iterations=1
        )
        return _stack(masks, dtype, shape), _stack(scores, tf.float32, [])


def check_vectors(vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Word vectors that can be worked with.

    Args:
        vectors: float32 [N, D], anything.

    Returns:
        float32 [N, D], the largest magnitude in each 1 so that no square is infinite; zeros for a bad one.
        bool [N]: finite, and not all zeros.
    """
    largest = tf.reduce_max(tf.abs(vectors), axis=-1, keepdims=True)
    usable = tf.reduce_all(tf.math.is_finite(vectors), axis=-1, keepdims=True) & (largest > 0)
    return tf.where(usable, vectors / tf.where(usable, largest, 1.0), 0.0), usable[..., 0]


def draw_png(probabilities: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """Masks at the sizes of their photos, as 8-bit PNG.

    Args:
        probabilities: float32 [N, S, S] in [0, 1].
        sides: int32 [N, 2], height and width.

    Returns:
        string [N]. 128 and above is a probability of 0.5 and above.
    """

    def draw(one: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        full = geometry.resize_maps(one[0][..., tf.newaxis], one[1][0], one[1][1])
        pixels = tf.cast(tf.round(255 * full), tf.uint8)
        with tf.device(CPU):
            return tf.io.encode_png(pixels, compression=_PNG_COMPRESSION)

    kind = tf.TensorSpec([], tf.string)
    return tf.map_fn(
        draw, (probabilities, sides), fn_output_signature=kind, parallel_iterations=_DRAWN_AT_ONCE
    )


def _check_batch(images: tf.Tensor, concepts: tf.Tensor) -> None:
    sizes = tf.shape(images)[0], tf.shape(concepts)[0]
    tf.debugging.Assert(sizes[0] == sizes[1], ["expected one row of concepts for each image, not", *sizes])


def _verdict(scores: tf.Tensor, usable: tf.Tensor) -> Outputs:
    return {"score": scores, "present": (scores >= PRESENT) & usable}


def _put(elements: tf.Tensor, values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.TensorListScatterIntoExistingList(input_handle=elements, tensor=values, indices=places)


def _stack(elements: tf.Tensor, dtype: tf.DType, shape: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.TensorListStack(
        input_handle=elements, element_shape=_as_shape(shape), element_dtype=dtype
    )


def _as_shape(shape) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(shape, tf.int32), tf.int32)
