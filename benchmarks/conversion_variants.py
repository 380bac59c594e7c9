"""The rows of benchmarks/conversion_report.py: how each is made and opened, and what it computes in."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import conversion_runners as runners
import numpy as np
import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.evaluation.systems import Description, Prediction, SegmenterSystem
from cmask_tf.export import onnx_files, saved_model, tflite
from cmask_tf.export.fixed import FixedSteps, Step
from cmask_tf.segmenter import ConceptSegmenter

REFERENCE = "SavedModel float32"
HALF = onnx_files.HALF


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row.

    Attributes:
        title: what the tables call it.
        kind: of `conversion_runners.KINDS`.
        held: how numbers are held, as `cmask export --variant` says it.
        apart: the largest mean difference of a probability or a score from float32's that is allowed.
        quality: the largest change of mean IoU that is allowed, None of the reference.
    """

    title: str
    kind: str
    held: str
    apart: float = 0.0
    quality: float | None = None

    @property
    def stem(self) -> str:
        """What its files are called."""
        return self.title.replace(" ", "-").lower()


VARIANTS = (
    Variant(REFERENCE, runners.SERVED, "float32"),
    Variant("TFLite float32", runners.TFLITE, "float32", 1e-4, 0.005),
    Variant("TFLite float16", runners.TFLITE, "float16", 5e-3, 0.005),
    Variant("TFLite dynamic", runners.TFLITE, "dynamic", 1e-2, 0.005),
    Variant("TFLite int8", runners.TFLITE, "int8", 2e-2, 0.02),
    Variant("ONNX float32", runners.ONNX, "float32", 1e-4, 0.005),
    Variant("ONNX float16", runners.ONNX, "float16", 5e-3, 0.005),
)


def convert(variant: Variant, model: Path, work: Path, concepts: int, photos: Path | None) -> Path:
    """The directory of its files, which `cmask export` writes; what is there already is taken as it is."""
    place = work / ("onnx" if variant.kind == runners.ONNX else variant.stem)
    if variant.kind == runners.SERVED:
        return place / "1" if (place / "1").is_dir() else saved_model.export(model, place).directory
    if not place.is_dir():
        if variant.kind == runners.ONNX:  # both precisions lie together
            onnx_files.export(model, place, float16=True)
        else:
            tflite.export(
                model, place, variant.held, concepts, photos if variant.held == tflite.INT8 else None
            )
    return place


def sizes(variant: Variant, files: Path) -> dict[str, int]:
    """Bytes: "networks" of what a photo and its concepts go through, "words" of what knows the vocabulary."""
    if variant.kind == runners.SERVED:
        return {"networks": sum(f.stat().st_size for f in files.rglob("*") if f.is_file()), "words": 0}
    end = ".tflite" if variant.kind == runners.TFLITE else f"{_suffix(variant)}.onnx"
    words = ("concepts.npz",) if variant.kind == runners.TFLITE else ("resolve.onnx", "vectors.npy")
    networks = (f"encode{end}", f"decode{end}")
    return {
        name: sum((files / file).stat().st_size for file in names)
        for name, names in (("networks", networks), ("words", words))
    }


def opened(variant: Variant, files: Path, threads: int, concepts: int):
    """A runner of `conversion_runners`; not of the reference, see `write_steps`."""
    if variant.kind == runners.TFLITE:
        return runners.Phone(files, threads)
    return runners.Onnx(files, threads, concepts, _suffix(variant))


def write_steps(segmenter: ConceptSegmenter, folder: Path, concepts: int) -> None:
    """The reference as three calls: a served SavedModel has them in one, and they are to be timed apart.

    Args:
        segmenter: the model.
        folder: for `conversion_runners.Steps`.
        concepts: K of `decode`.
    """
    if (folder / "steps.json").is_file():
        return
    fixed, vocabulary = FixedSteps(segmenter.model), segmenter.vocabulary

    def encode_image(image: tf.Tensor) -> dict[str, tf.Tensor]:
        squares = {f"image_{size}": geometry.resize_image(image, size) for size in fixed.image_sizes}
        return fixed.encode(**squares)

    photo = tf.TensorSpec([1, None, None, 3], tf.uint8)
    steps = fixed.steps(concepts) | {"encode_image": Step(encode_image, {"image": photo})}
    signatures = {name: step.traced() for name, step in steps.items() if name != "one_shot"}
    holder = tf.Module()
    holder.held = [variable for signature in signatures.values() for variable in signature.variables]
    tf.saved_model.save(holder, str(folder / "steps"), signatures=signatures)
    np.save(folder / "vectors.npy", vocabulary.vectors.astype(np.float32))
    about = {"names": vocabulary.names, "concepts": concepts, "image_sizes": fixed.image_sizes}
    (folder / "steps.json").write_text(json.dumps(about), encoding="utf-8")


class ConvertedSystem:
    """Converted files as what `cmask evaluate` scores: masks and scores, no attention."""

    def __init__(self, runner, segmenter: ConceptSegmenter) -> None:
        """Args:
        runner: of `conversion_runners`.
        segmenter: of the model they were made from, for names and levels.
        """
        self._runner, self._vocabulary = runner, segmenter.vocabulary
        self._about, self._parameters = SegmenterSystem(segmenter), {}

    def answers(self, name: str) -> bool:
        return self._about.answers(name)

    def describe(self, name: str) -> Description:
        return self._about.describe(name)

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        if not names:
            return
        features = self._runner.encode(self._runner.prepare(image))
        words = [self._vocabulary.names[self._vocabulary.index(name)] for name in names]
        for start in range(0, len(names), self._runner.concepts):
            some = slice(start, start + self._runner.concepts)
            masks, scores = runners.ask(self._runner, features, words[some], self._parameters)
            for name, small, score in zip(names[some], masks, scores, strict=True):
                full = np.empty(image.shape[:2], np.float32)
                geometry.draw_map(small, full)
                yield Prediction(name, full, score=float(score), present=bool(score >= 0.5))


# --- what computes in float ---


def in_float(variant: Variant, files: Path) -> dict[str, dict[str, int]]:
    """By file, how many operations of each kind compute in float32 where the variant says something smaller.

    Of `dynamic` those whose weights are float32 too; of ONNX float16 what onnxruntime runs, which on the CPU
    widens what it has no half-precision form for.
    """
    if variant.kind == runners.TFLITE and variant.held in (tflite.DYNAMIC, tflite.INT8):
        return {name: _float_operations(files / f"{name}.tflite") for name in ("encode", "decode")}
    if variant.kind == runners.ONNX and variant.held == "float16":
        return {name: _widened(files / f"{name}{HALF}.onnx") for name in ("encode", "decode")}
    return {}


def _float_operations(path: Path) -> dict[str, int]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    bare = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=bare)
    kinds = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    found = collections.Counter()
    for operation in interpreter._get_ops_details():
        given = [kinds.get(i) for i in operation["inputs"]]
        made = [kinds.get(i) for i in operation["outputs"]]
        if np.float32 in made and np.int8 not in given:
            found[operation["op_name"]] += 1
    return dict(sorted(found.items()))


def _widened(path: Path) -> dict[str, int]:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path.with_suffix(".run"))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    made = onnx.shape_inference.infer_shapes(onnx.load(path.with_suffix(".run")))
    path.with_suffix(".run").unlink()
    values = [*made.graph.value_info, *made.graph.output]
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    wide = [n for n in made.graph.node if kinds.get(n.output[0]) == onnx.TensorProto.FLOAT]
    return dict(sorted(collections.Counter(node.op_type for node in wide).items()))


def _suffix(variant: Variant) -> str:
    return HALF if variant.held == "float16" else ""
