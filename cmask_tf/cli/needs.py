"""A package that only some commands or options need: told in one line."""

from __future__ import annotations

import importlib.util

from cmask_tf.errors import UserError

_MODULES = {
    "train": ("ijson", "inflect", "pycocotools", "sklearn"),
    "serve": ("grpc", "grpc_health", "grpc_reflection", "prometheus_client", "starlette", "uvicorn"),
    "tflite": ("ai_edge_litert",),
    "onnx": ("tf2onnx", "onnx", "onnxruntime", "onnxsim"),
    "demo": ("gradio", "skimage"),
    "beam": ("apache_beam",),
    "detectors": ("tf_keras", "official"),
    "": ("tensorflow", "keras", "h5py", "numpy", "scipy", "PIL", "cv2", "matplotlib", "orjson", "tqdm"),
}


def require(module: str, package: str, use: str) -> None:
    """Looks whether a module can be imported, without importing it.

    Args:
        module: as it is imported.
        package: as it is installed.
        use: what needs it.

    Raises:
        UserError: it is not there; says how to install it.
    """
    if importlib.util.find_spec(module) is None:
        raise UserError(f"{use} needs {package}: pip install {package}")


def missing(module: str | None) -> str | None:
    """The line for a module that could not be imported; None when this package does not ask for it.

    Args:
        module: as `ModuleNotFoundError.name` has it.
    """
    first = (module or "").partition(".")[0]
    for extra, modules in _MODULES.items():
        if first in modules:
            name = f"cmask-tf[{extra}]" if extra else "cmask-tf"
            return f"this command needs {first}, which is not installed: pip install '{name}'"
    return None
