"""Model Garden's own reader and writer of COCO-style records, from the `tf-models-official` wheel.

The wheel is installed without its dependencies (see the Makefile), which the tasks of `official.vision` need
and its records do not. So the packages on the way to these modules are made here instead of being imported.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path


def _module(name: str):
    root = Path(importlib.util.find_spec("official").submodule_search_locations[0])
    vision = types.ModuleType("official.vision")
    vision.__path__ = [str(root / "vision")]
    sys.modules.setdefault("official.vision", vision)
    return importlib.import_module(f"official.vision.{name}")


TfExampleDecoder = _module("dataloaders.tf_example_decoder").TfExampleDecoder
write_coco = _module("data.create_coco_tf_record")
