"""Model Garden's own reader and writer of COCO-style records, from the wheel tf-models-official.

`make test` installs the wheel without its dependencies (63 packages, 650 MB, and an older absl-py than ours):
the tasks of `official.vision` need them, its records do not. So that package's own code, which imports every
task, is not run; the modules of its records are.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path


def _module(name: str) -> types.ModuleType:
    spec = importlib.util.find_spec("official")
    if spec is None:
        raise ModuleNotFoundError("pip install --no-deps tf-models-official, as `make test` does")
    vision = types.ModuleType("official.vision")
    vision.__path__ = [str(Path(spec.origin).parent / "vision")]
    sys.modules.setdefault("official.vision", vision)
    return importlib.import_module(f"official.vision.{name}")


TfExampleDecoder = _module("dataloaders.tf_example_decoder").TfExampleDecoder
converter = _module("data.create_coco_tf_record")
tfrecord_lib = _module("data.tfrecord_lib")
