"""Weights of a Keras network in an HDF5 file, loaded by the names of its layers.

Three kinds of file: what `save_weights` of Keras 3 writes (`*.weights.h5`, also in model directories), the
older files of weights alone, as `keras.applications` downloads them, and whole models in HDF5. Every tensor
of the network must be there in its shape, and nothing but a classifier may be left over: Keras itself only
warns when a layer finds nothing in the file, and says of a wrong file how many layers differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import h5py
import keras
import numpy as np

from cmask_tf.errors import UserError
from cmask_tf.models.folding import merged

_CLASSIFIERS = {"predictions", "probs"}  # of keras.applications


def locate(path: str | Path) -> Path:
    """The file that a `backbone.weights` of the config names: itself, or the backbone of a model directory.

    Raises:
        UserError: there is no such file.
    """
    path = Path(path)
    file = path / "backbone.weights.h5" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: no such file; expected weights, or a model directory")
    return file


def load(model: keras.Model, path: str | Path) -> None:
    """Fills a network, or leaves it as it was.

    Args:
        model: its layers, and those of models inside it, have names of their own.
        path: the file.

    Raises:
        UserError: not such a file, the first tensor that is missing or of another shape, or the layers that
            the network does not have.
    """
    try:
        with h5py.File(path) as file:
            stored, found = _stored(file), []
            for layer in _leaves(model):
                found += zip(layer.weights, _values(layer, stored), strict=True)
    except _Misfit as error:
        raise UserError(f"{path}: not the weights of this {model.name}: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: expected an HDF5 file of Keras weights ({error})") from None
    if odd := sorted(set(stored) - _CLASSIFIERS):
        raise UserError(f"{path}: not the weights of this {model.name}, which has no layer {odd[0]}")
    for weight, value in found:
        weight.assign(value)


class _Misfit(Exception):
    """The first tensor that is missing, or of another shape."""


def _values(layer: keras.Layer, stored: dict[str, list[h5py.Dataset]]) -> list[np.ndarray]:
    """What a layer's weights become; takes it, and the normalization that it merges, out of `stored`."""
    given = stored.pop(layer.name, [])
    wanted = [(weight.name, tuple(weight.shape)) for weight in layer.weights]
    norm = getattr(layer, "merged_norm", None)
    if norm is None:
        return _fitting(layer.name, wanted, given)
    own = _fitting(layer.name, wanted if len(given) == len(wanted) else wanted[:-1], given)
    channels = wanted[-1][1]
    vectors = _fitting(norm.name, [(name, channels) for name in norm.weights], stored.pop(norm.name, []))
    bias = own.pop() if len(own) == len(wanted) else None
    return merged(layer, own, bias, dict(zip(norm.weights, vectors, strict=True)), norm.epsilon)


def _fitting(layer: str, wanted: list[tuple[str, tuple]], given: list[h5py.Dataset]) -> list[np.ndarray]:
    """The tensors of a layer, when they have the names and shapes that are wanted."""
    for (name, shape), tensor in zip_longest(wanted, given[: len(wanted)]):
        if tensor is None or tensor.shape != shape:
            said = "is missing" if tensor is None else f"has shape {tensor.shape}"
            raise _Misfit(f"{layer}/{name} {said}; expected {shape}")
    return [tensor[()] for tensor in given[: len(wanted)]]


def checksum(path: str | Path) -> str:
    """`sha256:...` of a file."""
    with Path(path).open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _leaves(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        elif layer.weights:
            yield layer


def _stored(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """The tensors of each layer that has some, in the order of `layer.weights`."""
    layers = {}

    def visit(_, group) -> None:
        names = group.attrs.get("weight_names")
        if (
            names is not None and group.name != "/optimizer_weights"
        ):  # the older layout: a group with the layer's name lists its tensors
            layers[group.name.rpartition("/")[2]] = [group[name] for name in names]
        elif group.name.endswith("/vars") and "name" in group.attrs:  # Keras 3: tensors "0", "1", ...
            layers[group.attrs["name"]] = [group[str(i)] for i in range(len(group))]

    file.visititems(visit)
    return {name: tensors for name, tensors in layers.items() if tensors}
