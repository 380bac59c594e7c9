"""`lively_fixture`'s system with a backbone whose features have the size that training gives them.

As it is built, they shrink from layer to layer until half precision has no number so small.
"""

from pathlib import Path

import keras
import lively_fixture
import numpy as np
import pytest
from segmenter_fixture import photo, smallest_parts


def sturdy_model(directory: Path, design: str = "lite") -> Path:
    """Writes the model directory."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lively_fixture, "smallest_parts", _parts)
        return lively_fixture.lively_model(directory, design)


def _parts(config) -> dict:
    from cmask_tf import geometry

    parts = smallest_parts(config)
    backbone = parts["backbone"]
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # it holds the statistics of the last call
    backbone(geometry.resize_image(photo()[np.newaxis], config.segmentation.size), training=True)
    return parts
