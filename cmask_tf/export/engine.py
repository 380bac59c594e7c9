"""TensorRT engines from ONNX files: optimisation profiles, the build, and the same as a `trtexec` command.

Networks are strongly typed: precision lies in the file (`onnx_half`), not in a flag. TensorRT 11 knows
nothing else, TensorRT 10 asks for it by a flag. TF32 is switched off, so that float32 is float32.
"""

from __future__ import annotations

import ctypes
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cmask_tf.errors import UserError

SUFFIX = ".engine"
STEPS = ("encode", "decode", "one_shot")  # `resolve` is no work: onnxruntime does it, on the CPU
_OLDEST = 10  # TensorRT's major version


@dataclass(frozen=True)
class Span:
    """What an engine must take along an open side, and what it is made fast for.

    Raises:
        UserError: they are not 1 or more, and rising.
    """

    least: int
    usual: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.usual <= self.most:
            raise UserError(
                f"{self.least} {self.usual} {self.most}: expected the least, the usual and the largest size, "
                "1 or more and rising"
            )


SPANS = {"B": Span(1, 1, 8), "H": Span(64, 640, 2048), "W": Span(64, 640, 2048), "K": Span(1, 8, 64)}
Shape = tuple[int, ...]


def hindrance() -> str | None:
    """Why no engine can be built here: no TensorRT, one that is too old, or no GPU; None if one can."""
    try:
        import tensorrt
    except ImportError:
        return "no package tensorrt"
    if int(tensorrt.__version__.split(".")[0]) < _OLDEST:
        return f"TensorRT {tensorrt.__version__} is older than {_OLDEST}"
    return None if gpus() else "no GPU that CUDA's driver knows"


def gpus() -> int:
    """How many GPUs CUDA's driver knows; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def profile(file: Path, spans: Mapping[str, Span]) -> dict[str, tuple[Shape, Shape, Shape]]:
    """The least, usual and largest shape of every input that has an open side.

    Args:
        file: ONNX, its open sides named by letters.
        spans: by letter.
    """
    import onnx

    shapes = {}
    for given in onnx.load(file).graph.input:
        sides = [side.dim_param or side.dim_value for side in given.type.tensor_type.shape.dim]
        if any(isinstance(side, str) for side in sides):
            shapes[given.name] = tuple(
                tuple(getattr(spans[side], size) if isinstance(side, str) else side for side in sides)
                for size in ("least", "usual", "most")
            )
    return shapes


def build(file: Path, spans: Mapping[str, Span]) -> Path:
    """Builds the engine of an ONNX file beside it, for the GPU of this machine.

    Args:
        file: ONNX; its precision is the engine's.
        spans: by letter of an open side.

    Returns:
        the engine, FILE with the suffix ".engine".

    Raises:
        UserError: TensorRT cannot read the file, or builds nothing; names the file and what it says.
    """
    import tensorrt

    logger = tensorrt.Logger(tensorrt.Logger.WARNING)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(file)):
        said = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise UserError(f"{file}: TensorRT {tensorrt.__version__} cannot read it: {said}")
    config = builder.create_builder_config()
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    for name, (least, usual, most) in profile(file, spans).items():
        shapes.set_shape(name, least, usual, most)
    if config.add_optimization_profile(shapes) < 0:
        raise UserError(f"{file}: TensorRT refuses the sizes {shapes_told(file, spans)}")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise UserError(f"{file}: TensorRT built no engine; its own messages are above")
    engine = file.with_suffix(SUFFIX)
    engine.write_bytes(plan)
    return engine


def trtexec(file: Path, spans: Mapping[str, Span]) -> str:
    """The command that builds the same engine."""
    words = ["trtexec", f"--onnx={file}", f"--saveEngine={file.with_suffix(SUFFIX)}"]
    words += ["--stronglyTyped", "--noTF32", "--skipInference", *shapes_told(file, spans)]
    return shlex.join(words)


def shapes_told(file: Path, spans: Mapping[str, Span]) -> list[str]:
    """The profile as options of `trtexec`."""
    shapes = profile(file, spans)
    told = []
    for i, option in enumerate(("--minShapes", "--optShapes", "--maxShapes")):
        given = (f"{name}:{'x'.join(map(str, three[i]))}" for name, three in shapes.items())
        told.append(f"{option}={','.join(given)}")
    return told
