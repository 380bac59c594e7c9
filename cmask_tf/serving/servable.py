"""One version of a SavedModel in memory: its signatures, its warm-up, one run of the graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from cmask_tf.serving.status import invalid

WARM_UP = "assets.extra/tf_serving_warmup_requests"  # TensorFlow Serving's name for it
_MOST_WARM_UP_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """What a signature says of one tensor; `shape` is None of unknown rank, -1 in it is any size."""

    dtype: tf.DType
    shape: tuple[int, ...] | None

    def fits(self, array: np.ndarray) -> bool:
        """Whether an array (strings as objects) has the type and a shape that is allowed."""
        if tf.as_dtype(array.dtype if array.dtype != object else tf.string) != self.dtype:
            return False
        if self.shape is None:
            return True
        return len(self.shape) == array.ndim and all(
            want in (-1, have) for want, have in zip(self.shape, array.shape, strict=True)
        )


@dataclasses.dataclass(frozen=True)
class Signature:
    """Names and kinds of a signature's inputs and outputs."""

    name: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class Servable:
    """A loaded version. `run` may be called from several threads."""

    def __init__(self, directory: Path, version: int):
        """Loads and warms up.

        Raises:
            Exception: whatever TensorFlow says of a directory that is not a whole SavedModel, or of a
                warm-up request that fails.
        """
        self.version = version
        self.signature_defs = _signature_defs(directory / "saved_model.pb")
        with tf.device("/CPU:0"):
            # The signatures alone do not keep the variables alive.
            self._model = tf.saved_model.load(str(directory))
        self.signatures = {
            name: _signature(name, self.signature_defs[name]) for name in self._model.signatures
        }
        if not self.signatures:
            raise ValueError("a SavedModel without signatures")
        self._warm_up(directory / WARM_UP)

    def run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One run of the graph: every output of the signature; strings are arrays of `bytes` objects."""
        specs = self.signatures[signature].inputs
        tensors = {name: tf.constant(array, specs[name].dtype) for name, array in inputs.items()}
        outputs = self._model.signatures[signature](**tensors)
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def _warm_up(self, file: Path) -> None:
        if not file.is_file():
            return
        from tensorflow_serving.apis import prediction_log_pb2

        from cmask_tf.serving import tensors

        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            signature = self.signatures[request.model_spec.signature_name or "serving_default"]
            inputs = {
                name: tensors.read(proto, name, _MOST_WARM_UP_BYTES) for name, proto in request.inputs.items()
            }
            self.run(signature.name, check_inputs(signature, inputs))


def check_inputs(signature: Signature, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs, when they are the signature's.

    Raises:
        Refused: INVALID_ARGUMENT, an input too many or too few, or of another type or shape.
    """
    given, wanted = set(inputs), set(signature.inputs)
    if given != wanted:
        have, want, extra, missing = (
            ",".join(sorted(names)) for names in (given, wanted, given - wanted, wanted - given)
        )
        raise invalid(
            f"input size does not match signature: {len(given)}!={len(wanted)} len({{{have}}}) != "
            f"len({{{want}}}). Sent extra: {{{extra}}}. Missing but required: {{{missing}}}."
        )
    for name, array in inputs.items():
        spec = signature.inputs[name]
        if not spec.fits(array):
            have = "string" if array.dtype == object else array.dtype
            raise invalid(
                f"{name}: {have} {list(array.shape)}; expected {spec.dtype.name} "
                f"{'of any shape' if spec.shape is None else list(spec.shape)}"
            )
    return inputs


def _signature_defs(file: Path) -> dict:
    """SignatureDef by name, of the graph that is tagged for serving."""
    try:
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    except DecodeError:
        raise ValueError("saved_model.pb is damaged or not whole") from None
    for graph in graphs:
        if tf.saved_model.SERVING in graph.meta_info_def.tags:
            found = {}
            for name, definition in graph.signature_def.items():
                found[name] = type(definition)()
                found[name].CopyFrom(definition)  # or the whole graph stays in memory with it
            return found
    raise ValueError("saved_model.pb has no graph that is tagged for serving")


def _signature(name: str, definition) -> Signature:
    def specs(tensors):
        return {
            key: TensorSpec(
                tf.as_dtype(info.dtype),
                None if info.tensor_shape.unknown_rank else tuple(d.size for d in info.tensor_shape.dim),
            )
            for key, info in tensors.items()
        }

    return Signature(name, specs(definition.inputs), specs(definition.outputs))
