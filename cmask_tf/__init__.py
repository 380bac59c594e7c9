"""Concept Mask (arXiv 1808.06032) for TensorFlow: an image and a concept in, the mask out."""

import importlib

_HOMES = {
    "ConceptSegmenter": "cmask_tf.segmenter",
    "Vocabulary": "cmask_tf.vocabulary.artefact",
    "UserError": "cmask_tf.errors",
    "paper": "cmask_tf.config",
    "lite": "cmask_tf.config",
    "tiny": "cmask_tf.config",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    # TensorFlow takes seconds to import: only the names that need it pay for it.
    if name == "__version__":  # which setup.cfg alone has
        return importlib.import_module("importlib.metadata").version("cmask-tf")
    if name not in _HOMES:
        raise AttributeError(f"module 'cmask_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
