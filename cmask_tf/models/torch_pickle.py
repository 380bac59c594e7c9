"""Reads a PyTorch weights file of the legacy format with NumPy alone, and without running what is in it.

Such a file is five pickles (magic number, version, system, state dict, storage keys) and then each storage as
a 64-bit length and raw values. A pickle may call any function that it names: this reader knows the four names
that a state dict of plain tensors needs, and refuses every other one.
"""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from cmask_tf.errors import UserError

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Tensor(NamedTuple):
    """A view of a storage, as the state dict has it: the storages come later in the file."""

    storage: tuple[str, np.dtype]  # key, type
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in values


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which a file of weights has no use for")

    def persistent_load(self, pid):
        _, dtype, key, *_ = pid  # "storage", type, key, device, number of values, view
        return key, dtype


def load(path: Path) -> dict[str, np.ndarray]:
    """Reads a state dict.

    Args:
        path: a file written by `torch.save(state_dict, path, _use_new_zipfile_serialization=False)`.

    Returns:
        Arrays by key, float32 or int64, in PyTorch's layout.

    Raises:
        UserError: the file is missing, is of another format, is cut off, or names anything but plain tensors.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file)
    except Exception as error:  # a broken pickle may raise nearly anything
        raise UserError(f"{path}: expected a PyTorch state dict in the legacy format ({error})") from None


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("the magic number is wrong")
    _version, _system, state, keys = (_Unpickler(file).load() for _ in range(4))
    dtypes = dict(tensor.storage for tensor in state.values())
    storages = {key: _read_storage(file, dtypes[key]) for key in keys}
    return {name: _view(storages[tensor.storage[0]], tensor) for name, tensor in state.items()}


def _read_storage(file: BinaryIO, dtype: np.dtype) -> np.ndarray:
    size = int.from_bytes(file.read(8), "little") * dtype.itemsize
    values = file.read(size)
    if len(values) != size:
        raise ValueError("the file is cut off")
    return np.frombuffer(values, dtype)


def _view(storage: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """The tensor as an array of its own; a view that leaves its storage is refused."""
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if min((tensor.offset, *tensor.strides)) < 0 or min(tensor.shape, default=1) < 1 or last >= len(storage):
        raise ValueError("a tensor reaches outside its storage")
    strides = [s * storage.itemsize for s in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides).copy()
