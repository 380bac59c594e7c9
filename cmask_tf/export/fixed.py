"""The three steps of the combined model for one photo at fixed sizes, in operations that other formats have.

`resolve`, `encode` and `decode` are computed by the layers and variables of a `ConceptMaskModel`, and so is
`one_shot`, which is all three at once. What the model does for several photos at a time is left out
(`tf.unique`, `tf.cond`), and so is all that converters have no operation for: photos come in resized
(`geometry.resize_image`), and concepts as word vectors, never as names. The vocabulary stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.models import attention, mixing, verification
from cmask_tf.models.combined import ConceptMaskModel

MAPS = "segmentation_"  # what the names of the segmentation encoder's maps begin with
Tensors = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Step:
    """A function of tensors that are given by name, at fixed shapes.

    Attributes:
        run: keyword tensors -> tensors by name; float32 but for `path`, which is int32.
        inputs: what it is given; None among the sides is the number of concepts, where it is free.
    """

    run: Callable[..., Tensors]
    inputs: Mapping[str, tf.TensorSpec]

    def traced(self):
        """The step as a concrete function with the inputs' names."""
        specs = {name: tf.TensorSpec(s.shape, s.dtype, name) for name, s in self.inputs.items()}
        return tf.function(self.run).get_concrete_function(**specs)


class FixedSteps(tf.Module):
    """A `ConceptMaskModel` whose tables are float32, for one photo."""

    def __init__(self, model: ConceptMaskModel) -> None:
        super().__init__(name="fixed")
        self.model = model
        # A single attention may be given twice; it is computed once.
        self._scales = [model.sizes.index(size) + 1 for size in model.sizes]

    def steps(self, concepts: int | None = 1) -> dict[str, Step]:
        """By name: "resolve", "encode", "decode" and "one_shot".

        Args:
            concepts: K, how many concepts `resolve` and `decode` are given; None leaves it free.
        """
        vector = tf.TensorSpec([concepts, self.model.fold_matrix.shape[0]], tf.float32)
        squares = {
            f"image_{size}": tf.TensorSpec([1, size, size, 3], tf.float32) for size in self.image_sizes
        }
        made = {
            "resolve": Step(self.resolve, {"word_vector": vector}),
            "encode": Step(self.encode, squares),
        }
        features = _specs(made["encode"])
        parameters = _specs(made["resolve"])
        made["decode"] = Step(self.decode, features | parameters)
        one = tf.TensorSpec([1, vector.shape[1]], tf.float32)
        made["one_shot"] = Step(self.one_shot, {**squares, "word_vector": one})
        return made

    @property
    def image_sizes(self) -> list[int]:
        """The sides of the squares that a photo is resized to, rising."""
        return sorted({*self.model.sizes, self.model.size})

    def resolve(self, word_vector: tf.Tensor) -> Tensors:
        """What `decode` must know of each concept: the model's `resolve`, with a search of all words.

        Args:
            word_vector: float32 [K, D].

        Returns:
            The model's, without "entry", which no further step reads.
        """
        given = tf.nn.l2_normalize(word_vector, -1)
        found = self.model.parameters(given, self.model.search(given))
        return {name: value for name, value in found.items() if name != "entry"}

    def encode(self, **squares: tf.Tensor) -> Tensors:
        """The heavy part, once a photo.

        Args:
            squares: "image_SIZE" -> float32 RGB [1, SIZE, SIZE, 3], 0 to 255, of `image_sizes`.

        Returns:
            The model's `encode`, without the second scale where it is the first one again.
        """
        photos = {name.removeprefix("image_"): value for name, value in squares.items()}
        features = ConceptMaskModel.encode_squares(self.model, photos)
        again = {n for n in range(1, len(self._scales) + 1) if n not in self._scales}
        return {name: value for name, value in features.items() if not name.endswith(_ends(again))}

    def decode(self, **given: tf.Tensor) -> Tensors:
        """Masks and scores of K concepts.

        Args:
            given: what `encode` and `resolve` return.

        Returns:
            "mask" float32 [K, S, S] and "score" float32 [K], both in [0, 1].
        """
        model = self.model
        maps = {scale: self._attention(scale, given) for scale in sorted({*self._scales})}
        inputs = {name.removeprefix(MAPS): v for name, v in given.items() if name.startswith(MAPS)}
        drawn = [maps[scale] for scale in self._scales]
        if model.strides:
            stretched = [geometry.min_max(m, (1, 2)) for m in drawn]
            strides = sorted({*model.strides.values()})
            levels = dict(zip(strides, geometry.level_maps(stretched, model.size, strides), strict=True))
            inputs |= {name: levels[stride] for name, stride in model.strides.items()}
        else:  # the maps are joined with the attention, not added to it
            count = tf.shape(given["theta"])[0]
            inputs = {name: tf.tile(value, [count, 1, 1, 1]) for name, value in inputs.items()}
            inputs["attention"] = attention.stack_scales(drawn, model.size)
        masks = tf.sigmoid(model.segmentation_decoder(inputs, training=False))[..., 0]
        raw = verification.compare(model.verifier, _pooled(given["c5"], drawn[0]), given["sought"])
        return {"mask": masks, "score": model.calibrate(raw, given)}

    def one_shot(self, word_vector: tf.Tensor, **squares: tf.Tensor) -> Tensors:
        """All of it: photo and word vector float32 [1, D] in, "mask" [1, S, S] and "score" [1] out."""
        return self.decode(**self.encode(**squares), **self.resolve(word_vector))

    def _attention(self, scale: int, given: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The map given to stage 3: float32 [K, h, w] in [0, 1], see `mixing.mix`."""
        hidden = given[f"hidden_{scale}"]
        q, p = (
            tf.sigmoid(_meet(hidden, given[f"{name}_weights"]) + given[f"{name}_bias"][:, None, None])
            for name in ("q", "p")
        )
        coarse = _meet(given[f"embedding_{scale}"], given["vector"])
        return mixing.mix(given["path"], given["theta"], q, p, coarse)


def _specs(step: Step) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec(v.shape, v.dtype) for name, v in step.traced().structured_outputs.items()}


def _ends(scales: set[int]) -> tuple[str, ...]:
    return tuple(f"{name}_{scale}" for name in ("embedding", "hidden") for scale in sorted(scales))


def _meet(features: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The products of a photo's features [1, h, w, F] with weights [K, F]: [K, h, w]."""
    _, height, width, channels = features.shape
    every = tf.matmul(weights, tf.reshape(features, [-1, channels]), transpose_b=True)
    return tf.reshape(every, [-1, height, width])


def _pooled(c5: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    """The backbone's features [1, h, w, C] averaged by the attention [K, h, w]: [K, C]."""
    _, height, width, channels = c5.shape
    shares = tf.reshape(verification.weights(maps), [-1, height * width])
    return tf.matmul(shares, tf.reshape(tf.cast(c5, tf.float32), [-1, channels]))
