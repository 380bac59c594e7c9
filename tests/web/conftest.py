"""An engine of the toy, and a photo of which three quarters are a dress."""

import pytest
from web_fixture import ToySegmenter, png, red_and_green

from cmask_tf.web.engines import LocalEngine


@pytest.fixture
def toy():
    """The model behind `engine`, which counts what it is asked."""
    return ToySegmenter()


@pytest.fixture
def engine(toy):
    return LocalEngine(toy)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "secret-folder" / "scene.png"
    path.parent.mkdir()
    path.write_bytes(png(red_and_green()))
    return path


@pytest.fixture
def impatient(monkeypatch):
    """A client's further attempts follow at once."""
    from cmask_tf.serving import client

    monkeypatch.setitem(client._RETRY, "initialBackoff", "0.02s")
