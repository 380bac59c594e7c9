"""The steps of `fixed` for formats whose sizes may stay open: photos of any size, any number of concepts.

The photo's resizing is in the graph, as matrix products: TensorRT knows no antialiased resizing. `decode` and
`one_shot` take one photo and any number of concepts; `encode` takes several photos of one size.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.export.fixed import FixedSteps, Step, Tensors
from cmask_tf.models.combined import ConceptMaskModel

# The letters of the sides that are open, of the tensors where they are not the first side alone.
_OPEN = {("encode", "image"): "BHW", ("one_shot", "image"): "-HW", ("one_shot", "mask"): "KHW"}


class OpenSteps(tf.Module):
    """A `ConceptMaskModel` whose tables are float32."""

    def __init__(self, model: ConceptMaskModel) -> None:
        super().__init__(name="open")
        self._fixed = FixedSteps(model)
        self._dim = model.fold_matrix.shape[0]

    def steps(self) -> dict[str, Step]:
        """By name: "resolve", "encode", "decode" and "one_shot"; None among the sides is one that is open."""
        made = self._fixed.steps(concepts=None)
        photos = tf.TensorSpec([None, None, None, 3], tf.uint8)
        photo = tf.TensorSpec([1, None, None, 3], tf.uint8)
        vectors = tf.TensorSpec([None, self._dim], tf.float32)
        return {
            "resolve": made["resolve"],
            "encode": Step(self.encode, {"image": photos}),
            "decode": made["decode"],
            "one_shot": Step(self.one_shot, {"image": photo, "word_vector": vectors}),
        }

    def encode(self, image: tf.Tensor) -> Tensors:
        """What `FixedSteps.encode` returns, of photos uint8 RGB [B, H, W, 3]."""
        sizes = self._fixed.image_sizes
        return self._fixed.encode(**{f"image_{s}": geometry.squash_by_products(image, s) for s in sizes})

    def one_shot(self, image: tf.Tensor, word_vector: tf.Tensor) -> Tensors:
        """Masks at the photo's size, all in one graph.

        Args:
            image: uint8 RGB [1, H, W, 3].
            word_vector: float32 [K, D].

        Returns:
            "mask" float32 [K, H, W] and "score" float32 [K], both in [0, 1].
        """
        found = self._fixed.decode(**self.encode(image), **self._fixed.resolve(word_vector))
        height, width = tf.unstack(tf.shape(tf.cast(image, tf.float32))[1:3])
        masks = geometry.resize_maps(found["mask"][..., tf.newaxis], height, width)[..., 0]
        return {"mask": masks, "score": found["score"]}


def letters(step: str, tensor: str) -> str:
    """What the sides of a tensor are called where they are open: B photos, K concepts, H x W pixels."""
    return _OPEN.get((step, tensor), "B" if step == "encode" else "K")


def axes(step: str, tensors: Mapping[str, tf.TensorSpec]) -> dict[str, list[str | int]]:
    """The sides of tensors of a step: numbers, and the letters of those that are open."""
    return {
        name: [letters(step, name)[i] if side is None else side for i, side in enumerate(spec.shape)]
        for name, spec in tensors.items()
    }
