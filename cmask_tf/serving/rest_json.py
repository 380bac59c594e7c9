"""TensorFlow Serving's JSON: `instances` and `inputs` to arrays, arrays to `predictions` and `outputs`."""

from __future__ import annotations

import base64
import binascii
import json

import numpy as np
import orjson

from cmask_tf.serving.servable import Signature, TensorSpec
from cmask_tf.serving.status import invalid

Arrays = dict[str, np.ndarray]
_CUT = 80


def parse(body: bytes) -> dict:
    """The request's object. NaN, Infinity and -Infinity are numbers, as in TensorFlow Serving.

    Raises:
        Refused: INVALID_ARGUMENT, not UTF-8, not JSON, not an object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: invalid UTF-8 at offset: {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid("JSON Value: Is not object")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid("JSON Value not formatted correctly. 'signature_name' key must be a string value.")
    return document


def read(document: dict, signature: Signature) -> Arrays:
    """The inputs of a signature.

    Raises:
        Refused: INVALID_ARGUMENT, they are not there or not as the signature wants them.
    """
    if "instances" in document and "inputs" in document:
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
    if "instances" in document:
        return _read_rows(document["instances"], signature.inputs)
    if "inputs" in document:
        return _read_columns(document["inputs"], signature.inputs)
    raise invalid("Missing 'inputs' or 'instances' key")


def _read_rows(rows, specs: dict[str, TensorSpec]) -> Arrays:
    if not isinstance(rows, list):
        raise invalid("Excepting 'instances' to be an list/array")
    if not rows:
        raise invalid("No values in 'instances' array")
    if not _is_object(rows[0]):
        if len(specs) > 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input tensors "
                "required as per tensorinfo_map"
            )
        name = next(iter(specs))
        return {name: _array(rows, specs[name], name)}
    for index, row in enumerate(rows):
        if not _is_object(row):
            raise invalid(f"Expecting object but got list at item {index} of input list")
        if set(row) != set(specs):
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: keys must be equal "
                f"to: {','.join(sorted(specs))}"
            )
    return {name: _array([row[name] for row in rows], spec, name) for name, spec in specs.items()}


def _read_columns(inputs, specs: dict[str, TensorSpec]) -> Arrays:
    if not _is_object(inputs):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        inputs = {next(iter(specs)): inputs}
    for name in specs:
        if name not in inputs:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(inputs[name], spec, name) for name, spec in specs.items()}


def _is_object(value) -> bool:
    """Whether a value is an object that is not bytes in base64."""
    return isinstance(value, dict) and not (set(value) == {"b64"} and isinstance(value["b64"], str))


def _array(value, spec: TensorSpec, name: str) -> np.ndarray:
    if spec.dtype.name == "string":
        shape, flat = _shape(value), []
        _fill(value, shape, 0, flat, name)
        array = np.empty(len(flat), object)
        array[:] = flat
        return array.reshape(shape)
    wanted = spec.dtype.as_numpy_dtype
    try:
        array = np.array(value)
    except (ValueError, OverflowError, RecursionError):
        raise invalid(f"{name}: lists of unequal length, or lists beside values") from None
    kinds = {"f": "iuf", "b": "b"}.get(np.dtype(wanted).kind, "iu")
    if array.size and array.dtype.kind not in kinds:
        raise invalid(f"{name}: JSON values that are not of expected type: {spec.dtype.name}")
    if array.size and "f" not in kinds and kinds != "b":
        low, high = np.iinfo(wanted).min, np.iinfo(wanted).max
        if array.min() < low or array.max() > high:
            raise invalid(f"{name}: JSON values out of range; expected {low} to {high}")
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _shape(value) -> tuple[int, ...]:
    """As TensorFlow Serving finds it: the first element of each level tells."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _fill(value, shape: tuple[int, ...], level: int, flat: list[bytes], name: str) -> None:
    if isinstance(value, list):
        if level >= len(shape) or len(value) != shape[level]:
            raise invalid(f"{name}: Encountered list at unexpected size: {len(value)} at level: {level}")
        for each in value:
            _fill(each, shape, level + 1, flat, name)
        return
    if level != len(shape):
        raise invalid(f"{name}: JSON Value found at incorrect level: {level + 1} in the JSON DOM")
    flat.append(_string(value, name))


def _string(value, name: str) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError:
            raise invalid(f"{name}: half of a surrogate pair, which is not UTF-8") from None
    if isinstance(value, dict) and not _is_object(value):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise invalid(f"{name}: Unable to base64 decode") from None
    shown = json.dumps(value)[:_CUT]
    raise invalid(f"{name}: JSON Value: {shown} is not of expected type: string")


def write(outputs: Arrays, row: bool) -> bytes:
    """The answer: `predictions`, one entry a row, or `outputs`, one entry a tensor.

    A single output goes without its name. Outputs whose name ends in `_bytes` are {"b64": ...}.
    """
    if not row:
        columns = {name: _encode(name, array) for name, array in outputs.items()}
        return b'{"outputs": ' + _named(columns) + b"}"
    encoded = {name: [_encode(name, each) for each in array] for name, array in outputs.items()}
    count = len(next(iter(encoded.values())))
    rows = [_named({name: parts[index] for name, parts in encoded.items()}) for index in range(count)]
    return b'{"predictions": [' + b", ".join(rows) + b"]}"


def _named(parts: dict[str, bytes]) -> bytes:
    if len(parts) == 1:
        return next(iter(parts.values()))
    return b"{" + b", ".join(json.dumps(name).encode() + b": " + part for name, part in parts.items()) + b"}"


def _encode(name: str, array: np.ndarray) -> bytes:
    if isinstance(array, bytes) or array.dtype.kind == "O":
        return json.dumps(_text(array, name.endswith("_bytes"))).encode()
    array = np.asarray(array)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        # orjson writes null for these; TensorFlow Serving writes NaN and Infinity.
        shortest = np.array([float(str(value)) for value in array.ravel()]).reshape(array.shape)
        return json.dumps(shortest.tolist()).encode()
    if array.ndim == 0:
        return orjson.dumps(array[()], option=orjson.OPT_SERIALIZE_NUMPY)
    return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)


def _text(value, is_bytes: bool):
    if isinstance(value, np.ndarray):
        return [_text(each, is_bytes) for each in value] if value.ndim else _text(value[()], is_bytes)
    return {"b64": base64.b64encode(value).decode("ascii")} if is_bytes else value.decode("utf-8", "replace")
