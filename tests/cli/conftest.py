"""A model directory for the commands that need one."""

from pathlib import Path

import pytest
from PIL import Image
from segmenter_fixture import photo, smallest_model


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    return smallest_model(tmp_path_factory.getbasetemp() / "smallest-model")


@pytest.fixture
def jpeg(tmp_path) -> Path:
    """A photo, 45 pixels wide and 60 high."""
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    Image.fromarray(photo()).save(path, quality=95)
    return path
