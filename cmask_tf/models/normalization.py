"""The one BatchNormalization of the package: statistics over all replicas, so that N devices equal one.

A network that is built `for_inference` has none behind its convolutions: `weights.load` merges what the file
holds of them into the convolutions (`folding`), and half of the layers and tensors are never made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import keras

_STATISTICS = ("beta", "moving_mean", "moving_variance")
_CONVOLUTIONS = keras.layers.Conv2D | keras.layers.DepthwiseConv2D | keras.layers.SeparableConv2D
_inference = ContextVar("inference", default=False)


@dataclass(frozen=True)
class Merged:
    """The normalization that a convolution takes over, as its attribute `merged_norm`.

    Attributes:
        name: of the layer in files of weights.
        epsilon: added to the variance.
        weights: names of its vectors, in the files' order.
    """

    name: str
    epsilon: float
    weights: tuple[str, ...]


@contextmanager
def for_inference() -> Iterator[None]:
    """Networks that are built within are not to be trained: their normalization goes into convolutions."""
    token = _inference.set(True)
    try:
        yield
    finally:
        _inference.reset(token)


def is_for_inference(network: keras.Model) -> bool:
    """Whether a network, or one inside it, was built `for_inference` and has taken over a normalization."""
    return any(
        is_for_inference(layer) if isinstance(layer, keras.Model) else hasattr(layer, "merged_norm")
        for layer in network.layers
    )


def before_norm(*kernels: str) -> dict:
    """Settings of a convolution that `batch_norm` follows.

    Args:
        kernels: the names of its kernels, "kernel" by default.
    """
    if not _inference.get():
        return {"use_bias": False}
    # A file fills them: no random numbers are drawn.
    return {"use_bias": True, **{f"{name}_initializer": "zeros" for name in kernels or ("kernel",)}}


def batch_norm(
    name: str,
    epsilon: float = 1e-3,
    momentum: float = 0.95,
    scale: bool = True,
    dtype: str | None = None,
) -> Callable:
    """BatchNormalization over the last axis, synchronised between replicas.

    Args:
        name: name of the layer.
        epsilon: added to the variance.
        momentum: of the moving statistics. 0.95 looks back some twenty batches: short trainings are
            validated by statistics that have caught up with the weights.
        scale: whether there is a gamma; tf-slim's networks have none.
        dtype: of what it gives, by default the policy's; it computes in float32 whatever the policy is.

    Returns:
        Keras tensor -> Keras tensor: the layer, or, `for_inference`, the identity behind a convolution that
        nothing else reads.
    """
    settings = {"epsilon": epsilon, "momentum": momentum, "scale": scale, "name": name, "dtype": dtype}
    if not _inference.get():
        return keras.layers.BatchNormalization(synchronized=True, **settings)

    def merged(x):
        convolution = x._keras_history.operation
        if not isinstance(convolution, _CONVOLUTIONS):
            return keras.layers.BatchNormalization(**settings)(x)
        convolution.merged_norm = Merged(name, epsilon, ("gamma",) * scale + _STATISTICS)
        return x

    return merged
