"""`cmask export --format tflite`: the steps at fixed sizes as files for LiteRT, tried in a fresh process.

    OUT/resolve.tflite  encode.tflite  decode.tflite  one_shot.tflite  concepts.npz

Built-in operations alone: what the interpreter knows without TensorFlow. `resolve` stays float32 whatever the
others become: a rounded table finds other words. Each .tflite file ends in a ZIP archive, as TFLite's own
metadata does for labels: `metadata.json` and `labels.txt` go wherever the file is copied, and any unzip
program reads them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from cmask_tf.errors import UserError
from cmask_tf.export import concept_file, tflite_verify
from cmask_tf.export.beside import check_place, empty_folder, quiet
from cmask_tf.export.fixed import FixedSteps, Step
from cmask_tf.segmenter import ConceptSegmenter

METADATA, LABELS, CONCEPTS = "metadata.json", "labels.txt", "concepts.npz"
FLOAT32, FLOAT16, DYNAMIC, INT8 = VARIANTS = ("float32", "float16", "dynamic", "int8")
WHOLE = (FLOAT32, FLOAT16)  # the variants that `one_shot` is written in: it holds the tables of `resolve`
# Bytes that each number of the weights takes at least; small tensors stay float32.
_BYTES = {FLOAT32: 4, FLOAT16: 2, DYNAMIC: 1, INT8: 1}
_MOST = 0.9  # of them that must be there: a few numbers may be folded into others

Samples = Callable[[], Iterator[dict[str, np.ndarray]]]


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        directory: of the files.
        sizes: bytes by file name.
        agreement: with `ConceptSegmenter`, of the files.
        changed: share of the words whose nearest other word is another one by the vectors of `concepts.npz`.
    """

    directory: Path
    sizes: dict[str, int]
    agreement: tflite_verify.Agreement
    changed: float


def export(
    model: str | Path,
    out: str | Path,
    variant: str = FLOAT32,
    concepts: int = 1,
    photos: str | Path | None = None,
) -> Converted:
    """Writes a model directory's steps as LiteRT files.

    Args:
        model: the model directory.
        out: a directory that is not there yet, or empty.
        variant: "float32"; "float16", weights in half precision; "dynamic", weights of `encode` and `decode`
            int8; "int8", `encode` computes in int8 and `decode` is "dynamic".
        concepts: how many `decode` answers at a time.
        photos: a record set or a folder of photos like those to come; for "int8", which measures ranges.

    Raises:
        UserError: a part of the model or an argument is not as it should be, an operation has no built-in
            form (named), or the files, read again, do not answer as the model does; nothing is written then.
    """
    out = Path(out)
    _check(out, variant, concepts, photos)
    segmenter = ConceptSegmenter.load(model)
    fixed = FixedSteps(segmenter.model)
    samples = None if photos is None else concept_file.photo_squares(Path(photos), fixed.image_sizes)
    partial = empty_folder(out.parent, out)
    try:
        for name, step in fixed.steps(concepts).items():
            held = (
                FLOAT32 if name == "resolve" else DYNAMIC if (name, variant) == ("decode", INT8) else variant
            )
            if name == "one_shot" and variant not in WHOLE:
                continue
            content = convert(name, step, held, samples)
            describe = _metadata(name, held, concepts, fixed)
            write(partial / f"{name}.tflite", content, describe, segmenter.vocabulary.names)
        changed = concept_file.write(partial / CONCEPTS, segmenter, int8=variant not in WHOLE)
        agreement = tflite_verify.verify(partial, segmenter, variant, out)
        sizes = {file.name: file.stat().st_size for file in sorted(partial.iterdir())}
        os.rename(partial, out)
    except OSError as error:
        raise UserError(f"{out}: nothing was written ({error.strerror})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Converted(out, sizes, agreement, changed)


def convert(name: str, step: Step, variant: str, samples: Samples | None = None) -> bytes:
    """One step as a TFLite file with the signature "serving_default", whose tensors have the step's names.

    Args:
        name: of the step, for messages.
        step: at fixed shapes.
        variant: of `VARIANTS`.
        samples: -> inputs by name, again and again; for "int8".

    Raises:
        UserError: an input is a string or has a free side, an operation is not built in, weights are lost.
    """
    for given, spec in step.inputs.items():
        if spec.dtype == tf.string:
            raise UserError(
                f"{name}: input {given!r} is a string; TFLite has no built-in operation that reads names or "
                "encoded images: give numbers (a resized photo, a word vector)"
            )
        if not spec.shape.is_fully_defined():
            raise UserError(f"{name}: input {given!r} has the shape {spec.shape}; expected fixed sizes")
    traced = step.traced()
    with quiet():  # of the GPUs that are not there
        frozen = _frozen(traced, step)
    # Without an object to belong to, the function would lose the names of its inputs and outputs.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if variant != FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if variant == INT8:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = samples
    try:
        # It warns of the interpreter it itself measures with, and prints its options ("fully_quantize: 0").
        with warnings.catch_warnings(action="ignore"), quiet():
            content = converter.convert()
    except Exception as error:  # its class is private, and a check of its own raises others
        raise UserError(f"{name}: not converted to {variant}: {_reason(str(error))}") from None
    check_weights(name, content, sum(v.shape.num_elements() for v in traced.variables), variant)
    return content


def check_weights(name: str, content: bytes, numbers: int, variant: str) -> None:
    """Raises a UserError where a file is too small to hold the weights that its step reads."""
    least = int(_MOST * numbers * _BYTES[variant])
    if len(content) < least:
        raise UserError(
            f"{name}: the converter lost weights: {len(content)} bytes for {numbers} numbers, expected at "
            f"least {least}"
        )


def write(path: Path, content: bytes, metadata: dict, labels: list[str]) -> None:
    """Writes a TFLite file and, behind it, the archive that describes it."""
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA, json.dumps(metadata, indent=2) + "\n")
        archive.writestr(LABELS, "\n".join(labels) + "\n")


def _frozen(traced, step: Step):
    """The graph with constants for variables: with Keras 3's variables the converter writes none of them."""
    frozen = convert_variables_to_constants_v2(traced)
    places = [tensor.op.name for tensor in frozen.inputs]
    names = sorted(traced.structured_outputs)  # as they are laid out flat

    def run(**given: tf.Tensor) -> dict[str, tf.Tensor]:
        found = frozen(*(given[place] for place in places))
        return dict(zip(names, found, strict=True))

    return Step(run, step.inputs).traced()


def _reason(message: str) -> str:
    """What the converter says, in a line: the operations that are not built in, if that is it."""
    listed = re.search(r"(?:Flex|Custom) ops: (.*)", message)
    if listed:
        names = sorted({name.removeprefix("Flex") for name in listed[1].split(", ")})
        return f"no built-in operation for {', '.join(names)}"
    unable = sorted({*re.findall(r"'tf\.(\w+)' op", message)})
    return f"no built-in operation for {', '.join(unable)}" if unable else message.strip().splitlines()[0]


def _metadata(name: str, variant: str, concepts: int, fixed: FixedSteps) -> dict:
    image = {"order": "RGB", "range": [0, 255], "resize": "squashed to a square, antialiased bilinear"}
    return {
        "step": name,
        "variant": variant,
        "concepts": 1 if name == "one_shot" else concepts,
        "image_sizes": fixed.image_sizes,
        "image": {**image, "normalisation": "in the graph"},
        "mask_size": fixed.model.size,
        "labels": LABELS,
    }


def _check(out: Path, variant: str, concepts: int, photos) -> None:
    if variant not in VARIANTS:
        raise UserError(f"variant: expected one of {', '.join(VARIANTS)}, not {variant!r}")
    if concepts < 1:
        raise UserError(f"concepts: expected 1 or more, not {concepts}: TFLite files have fixed sizes")
    if (variant == INT8) != (photos is not None):
        raise UserError(
            "int8 needs photos (a record set or a folder) to measure ranges; no other variant does"
        )
    check_place(out)
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        raise UserError("no package ai-edge-litert: pip install 'cmask-tf[tflite]'") from None
