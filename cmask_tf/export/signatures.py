"""The contract between a served model and its clients: names, dtypes and shapes. No TensorFlow here.

Letters stand for sizes that a request chooses, but for D, the length of a word vector, which the model fixes:
B images, H x W pixels, K concepts an image, h x w cells of the finer attention grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

MAX_PIXELS = 50_000_000  # of an encoded image, by its header; a larger one is not decoded
MAX_MASK_BYTES = 2**31 - 1  # of a float32 `mask`: what one message of gRPC can carry at all
PRESENT = 0.5  # the score from which a concept counts as present


@dataclass(frozen=True)
class Tensor:
    """dtype as NumPy calls it ("string" for bytes), and the size of each axis: a number or a letter."""

    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class Signature:
    """One function of the SavedModel."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


_IMAGE = Tensor("uint8", ("B", "H", "W", 3))
_VECTOR = Tensor("float32", ("B", "D"))
_ONE, _MANY = ("B",), ("B", "K")


def _verdict(shape: tuple[str, ...]) -> dict[str, Tensor]:
    return {"score": Tensor("float32", shape), "present": Tensor("bool", shape)}


SIGNATURES = {
    "serving_default": Signature(
        {"image": _IMAGE, "word_vector": _VECTOR},
        {"mask": Tensor("float32", ("B", "H", "W")), **_verdict(_ONE)},
    ),
    "segment_concepts": Signature(
        {"image": _IMAGE, "word_vectors": Tensor("float32", ("B", "K", "D"))},
        {"mask": Tensor("float32", ("B", "K", "H", "W")), **_verdict(_MANY)},
    ),
    "segment_encoded": Signature(
        {"image_bytes": Tensor("string", _ONE), "concepts": Tensor("string", _MANY)},
        {
            "mask_png_bytes": Tensor("string", _MANY),
            **_verdict(_MANY),
            "known": Tensor("bool", _MANY),
        },
    ),
    "attention": Signature(
        {"image": _IMAGE, "word_vector": _VECTOR},
        {
            "attention": Tensor("float32", ("B", 2, "h", "w")),
            "coarse": Tensor("float32", ("B", 2, "h", "w")),
        },
    ),
}
