"""TensorProto to NumPy and back, as TensorFlow Serving reads and writes them."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

from cmask_tf.serving.status import invalid

# Fields of TensorProto whose packed wire format is the array's own memory (bool: one byte each).
_RAW = {np.dtype(np.float32): 5, np.dtype(np.float64): 6, np.dtype(np.bool_): 11}


def read(proto: tensor_pb2.TensorProto, name: str, most_bytes: int) -> np.ndarray:
    """The array that a request holds; strings are `bytes` objects.

    Args:
        proto: the tensor, its values in `tensor_content` or in the field of its type.
        name: the input's name, for messages.
        most_bytes: what it may take in memory; a few bytes can claim any shape.

    Raises:
        Refused: INVALID_ARGUMENT, the shape is unknown, too large or does not fit the values.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0:
        raise invalid(f"{name}: a tensor without a shape")
    try:
        item = tf.dtypes.as_dtype(proto.dtype).size or 8
    except TypeError:
        raise invalid(f"{name}: a tensor of no type that is known") from None
    if math.prod(shape) * item > most_bytes:
        raise invalid(f"{name}: {shape} is more than {most_bytes} bytes")
    try:
        return tf.make_ndarray(proto)
    except (ValueError, TypeError, IndexError) as error:
        raise invalid(f"{name}: values that do not fit the shape {shape}: {error}") from None


def write(array: np.ndarray) -> tensor_pb2.TensorProto:
    """The tensor with its values in the field of its type, where TensorFlow Serving puts them."""
    shape = tensor_shape_pb2.TensorShapeProto(
        dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
    )
    if array.dtype == object:
        return tensor_pb2.TensorProto(
            dtype=types_pb2.DT_STRING, tensor_shape=shape, string_val=array.ravel().tolist()
        )
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum, tensor_shape=shape)
    if array.dtype in _RAW:
        values = np.ascontiguousarray(array).tobytes()
        proto.MergeFromString(bytes([_RAW[array.dtype] << 3 | 2]) + _varint(len(values)) + values)
    else:
        field = {"int64": proto.int64_val, "uint32": proto.uint32_val, "uint64": proto.uint64_val}
        field.get(array.dtype.name, proto.int_val).extend(array.ravel().tolist())
    return proto


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
