"""A model directory for the commands that need one."""

from pathlib import Path

import pytest
from PIL import Image
from segmenter_fixture import photo, smallest_model

from cmask_tf import presets
from cmask_tf.presets.packing import pack


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


@pytest.fixture
def no_presets(tmp_path, monkeypatch):
    """A package that carries no preset."""
    monkeypatch.setattr(presets, "FOLDER", tmp_path / "no-presets")


@pytest.fixture(scope="session")
def packed(model, tmp_path_factory) -> Path:
    """A folder of presets with one, `street`."""
    folder = tmp_path_factory.mktemp("presets")
    pack(model, folder / "street")
    return folder


@pytest.fixture
def street(packed, monkeypatch) -> Path:
    """The preset of a package that carries `street`."""
    monkeypatch.setattr(presets, "FOLDER", packed)
    return packed / "street"
