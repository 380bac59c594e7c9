"""The smallest system exported once, for all tests of this folder; many of them only read it."""

from pathlib import Path

import pytest
import tensorflow as tf
from segmenter_fixture import smallest_model, smallest_segmenter


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return smallest_model(tmp_path_factory.getbasetemp() / "smallest-model")


@pytest.fixture(scope="session")
def segmenter(model):
    return smallest_segmenter(model)


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory):
    """What `export` returns, of the whole way: written, tried in a fresh process, published."""
    from cmask_tf.export.saved_model import export

    return export(model, tmp_path_factory.mktemp("served") / "concept_mask")


@pytest.fixture(scope="session")
def served(exported):
    """The signatures of the published version, by name."""
    loaded = tf.saved_model.load(str(exported.directory))
    served = dict(loaded.signatures)
    served["loaded"] = loaded  # keeps the variables alive
    return served
