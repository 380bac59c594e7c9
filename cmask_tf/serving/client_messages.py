"""TensorFlow Serving's messages without TensorFlow: for the client, and for other languages' clients.

The generated modules of tensorflow-serving-api import all of TensorFlow. Their descriptors alone, those that
Predict and GetModelStatus need, are the file `client_messages.binpb` beside this module: a FileDescriptorSet,
which Node's proto-loader, grpcurl and others read as it is. `python -m cmask_tf.serving.client_messages`
makes it again from the installed tensorflow-serving-api.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

DESCRIPTORS = Path(__file__).with_suffix(".binpb")
PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
SERVICES = {"PredictionService": "Predict", "ModelService": "GetModelStatus"}  # of each the one method

_STRING = 7  # DT_STRING of tensorflow/core/framework/types.proto
_FIELDS = {1: ("float_val", np.float32), 10: ("bool_val", np.bool_)}  # DT_FLOAT, DT_BOOL


@functools.cache
def messages() -> SimpleNamespace:
    """The message classes `PredictRequest`, `PredictResponse`, `GetModelStatusRequest` and `...Response`.

    They live in a pool of their own, so TensorFlow may be imported in the same process.
    """
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        pool.Add(file)
    names = [f"{method}{end}" for method in SERVICES.values() for end in ("Request", "Response")]
    found = {name: pool.FindMessageTypeByName(f"tensorflow.serving.{name}") for name in names}
    return SimpleNamespace(
        **{name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}
    )


def set_strings(tensor, values: Sequence[bytes], shape: Sequence[int]) -> None:
    """Fills a TensorProto with bytes, row by row."""
    tensor.dtype = _STRING
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.string_val.extend(values)


def read(tensor) -> np.ndarray:
    """A TensorProto of strings (as bytes), float32 or bool as an array of its shape.

    Raises:
        ValueError: another dtype, or not as many values as the shape has.
    """
    shape = tuple(dimension.size for dimension in tensor.tensor_shape.dim)
    count = math.prod(shape)
    if tensor.dtype == _STRING:
        values = np.empty(len(tensor.string_val), object)
        values[:] = tensor.string_val
    elif tensor.dtype in _FIELDS:
        field, dtype = _FIELDS[tensor.dtype]
        values = np.array(getattr(tensor, field), dtype)
        if tensor.tensor_content:
            values = np.frombuffer(tensor.tensor_content, dtype)
        elif 0 < len(values) < count:
            # TensorFlow leaves out the end of a tensor that repeats its last value.
            values = np.concatenate([values, np.full(count - len(values), values[-1])])
    else:
        raise ValueError(f"a tensor of dtype {tensor.dtype}")
    if len(values) != count:
        raise ValueError(f"{len(values)} values for shape {shape}")
    return values.reshape(shape)


def build() -> bytes:
    """The FileDescriptorSet from the installed tensorflow-serving-api; imports TensorFlow.

    The services are declared here, with the two methods alone: their own files need every message of the API,
    and their generated modules do not import under protobuf 6.
    """
    from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(file) -> None:
        if file.name not in files:
            # A pool wants a file's dependencies before it.
            for dependency in file.dependencies:
                add(dependency)
            files[file.name] = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(files[file.name])

    add(predict_pb2.DESCRIPTOR)
    add(get_model_status_pb2.DESCRIPTOR)
    services = descriptor_pb2.FileDescriptorProto(
        name="tensorflow_serving/apis/services.proto",
        package="tensorflow.serving",
        dependency=[predict_pb2.DESCRIPTOR.name, get_model_status_pb2.DESCRIPTOR.name],
        syntax="proto3",
    )
    for service, method in SERVICES.items():
        start = f".tensorflow.serving.{method}"
        made = services.service.add(name=service)
        made.method.add(name=method, input_type=f"{start}Request", output_type=f"{start}Response")
    every = descriptor_pb2.FileDescriptorSet(file=[*files.values(), services])
    return every.SerializeToString(deterministic=True)


if __name__ == "__main__":
    DESCRIPTORS.write_bytes(build())
