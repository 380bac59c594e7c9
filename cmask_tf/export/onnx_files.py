"""`cmask export --format onnx`: a model directory becomes ONNX files, compared with the model, or nothing.

    OUT/resolve.onnx  encode.onnx  decode.onnx  one_shot.onnx   the steps of `open_steps`
        encode.float16.onnx  ...                                on request; `resolve` is never rounded
        labels.txt  vectors.npy                                 the vocabulary's words and their vectors

tf2onnx converts, onnxsim takes away what it leaves behind (it is kept, and lives beside the pinned onnx).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cmask_tf.errors import UserError
from cmask_tf.export import onnx_verify
from cmask_tf.export.beside import check_place, empty_folder, quiet
from cmask_tf.export.fixed import Step
from cmask_tf.export.onnx_half import halved
from cmask_tf.export.open_steps import OpenSteps, axes
from cmask_tf.models.combined import ConceptMaskModel
from cmask_tf.segmenter import ConceptSegmenter

OPSET = 18
OPSETS = (15, 17, 18)  # that were tried; tf2onnx knows none above
HALF = ".float16"
LABELS, VECTORS = "labels.txt", "vectors.npy"
MAX_BYTES = 2**31 - 1  # of a protocol buffer, and so of an ONNX file
NORMALISATION = "in the graph: image is RGB, 0 to 255"
_PACKAGES = ("tf2onnx", "onnx", "onnxruntime", "onnxsim")


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        directory: where.
        files: bytes of each ONNX file, by name.
        agreement: by precision, how far the answers of the files are from the model's.
    """

    directory: Path
    files: dict[str, int]
    agreement: dict[str, onnx_verify.Agreement]


def check_extra() -> None:
    """Looks for the packages that convert, before any work.

    Raises:
        UserError: names the first one that is not installed.
    """
    for name in _PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"no package {name}: pip install 'cmask-tf[onnx]'")


def export(model: str | Path, out: str | Path, float16: bool = False) -> Written:
    """Writes the ONNX files of a model directory, read again by a fresh process before they appear.

    Args:
        model: the model directory.
        out: a directory that is not there yet, or empty.
        float16: write every step but `resolve` in half precision too.

    Raises:
        UserError: a package or a part of the model is missing, the weights are more than a file holds, `out`
            cannot be written to, or the files do not answer as the model does; nothing is written then.
    """
    check_extra()
    model, out = Path(model), Path(out)
    check_place(out)
    segmenter = ConceptSegmenter.load(model)
    if (size := weights_bytes(segmenter.model)) > MAX_BYTES:
        raise UserError(
            f"{model}: {size / 1e9:.1f} GB of weights; an ONNX file holds {MAX_BYTES / 1e9:.1f} GB"
        )
    partial = empty_folder(out.parent, out)
    try:
        with tqdm(total=6, desc="convert", delay=2) as progress:
            for name, step in OpenSteps(segmenter.model).steps().items():
                _write(partial, name, convert(name, step), _notes(segmenter, name), float16)
                progress.update()
            _write_words(partial, segmenter)
            agreement = {"float32": onnx_verify.verify(partial, segmenter)}
            progress.update()
            if float16:
                agreement["float16"] = onnx_verify.verify(partial, segmenter, HALF)
            progress.update()
        os.rename(partial, out)
    except OSError as error:  # a full disk, or `out` was taken meanwhile
        raise UserError(f"{out}: nothing was written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    files = {file.name: file.stat().st_size for file in sorted(out.glob("*.onnx"))}
    return Written(out, files, agreement)


def convert(name: str, step: Step, opset: int = OPSET):
    """One step as an ONNX model, simplified and checked, its open sides named.

    Args:
        name: of the step.
        step: its function and inputs.
        opset: the version of ONNX's operations.

    Returns:
        onnx.ModelProto; inputs and outputs have the step's names.

    Raises:
        UserError: the step is given strings, or the opset is none of `OPSETS`.
    """
    import onnx
    import onnxsim
    import tf2onnx

    if opset not in OPSETS:
        raise UserError(f"opset {opset}: expected one of {', '.join(map(str, OPSETS))}")
    for tensor, spec in step.inputs.items():
        if spec.dtype == tf.string:
            raise UserError(
                f"{name}: {tensor}: strings, such as names and encoded images, do not convert; give word "
                "vectors and pixels"
            )
    specs = [tf.TensorSpec(spec.shape, spec.dtype, tensor) for tensor, spec in step.inputs.items()]
    traced = tf.function(
        lambda *tensors: step.run(**dict(zip(step.inputs, tensors, strict=True))), input_signature=specs
    )
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    with quiet():
        made, _ = tf2onnx.convert.from_function(traced, specs, opset=opset)
        made, same = onnxsim.simplify(made)
    if not same:
        raise UserError(f"{name}: onnxsim's answers differ from what it was given")
    outputs = traced.get_concrete_function().structured_outputs
    sides = axes(name, {**step.inputs, **outputs})
    for tensor in (*made.graph.input, *made.graph.output):
        _name_sides(tensor, sides[tensor.name])
    del made.graph.value_info[:]  # hints, whose sides have other names
    for extra in [entry for entry in made.opset_import if entry.domain]:
        made.opset_import.remove(extra)  # a domain that is declared and not used
    onnx.checker.check_model(made, full_check=True)
    return made


def weights_bytes(model: ConceptMaskModel) -> int:
    """Bytes of all numbers of a model in float32."""
    held = {id(value): value for value in vars(model).values()}.values()
    tables = (value.shape.num_elements() for value in held if isinstance(value, tf.Variable))
    return 4 * (sum(tables) + sum(v.count_params() for v in held if isinstance(v, keras.Model)))


def _write(directory: Path, name: str, made, notes: dict[str, str], float16: bool) -> None:
    import onnx

    made.metadata_props.extend(
        onnx.StringStringEntryProto(key=key, value=value)
        for key, value in {**notes, "precision": "float32"}.items()
    )
    onnx.save(made, directory / f"{name}.onnx")
    if float16 and name != "resolve":
        half = halved(made)
        [entry] = [entry for entry in half.metadata_props if entry.key == "precision"]
        entry.value = "float16"
        onnx.checker.check_model(half, full_check=True)
        onnx.save(half, directory / f"{name}{HALF}.onnx")


def _notes(segmenter: ConceptSegmenter, name: str) -> dict[str, str]:
    """What a reader of a single file must know; it lies in the file."""
    model = segmenter.model
    sizes = {"attention": model.sizes, "mask": model.size, "dimension": segmenter.vocabulary.dim}
    return {
        "step": name,
        "labels": LABELS,
        "vectors": VECTORS,
        "normalisation": NORMALISATION,
        "sizes": json.dumps(sizes),
        "cmask_tf": importlib.metadata.version("cmask-tf"),
    }


def _write_words(directory: Path, segmenter: ConceptSegmenter) -> None:
    names = "".join(f"{name}\n" for name in segmenter.vocabulary.names)
    (directory / LABELS).write_text(names, encoding="utf-8")
    np.save(directory / VECTORS, segmenter.vocabulary.vectors.astype(np.float32))


def _name_sides(tensor, sides: list[str | int]) -> None:
    shape = tensor.type.tensor_type.shape
    del shape.dim[:]
    for side in sides:
        shape.dim.add(**{"dim_param" if isinstance(side, str) else "dim_value": side})
