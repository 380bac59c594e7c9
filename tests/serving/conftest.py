"""The toy SavedModel that the server's tests serve, and the fake server that the client's tests ask."""

import pytest


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A directory with one version of the toy; copy it, do not change it."""
    from serving_fixture import save_toy

    directory = tmp_path_factory.mktemp("toy") / "saved"
    save_toy(directory)
    return directory


@pytest.fixture
def base(toy, tmp_path):
    """A folder of versions with version 1 in it."""
    from serving_fixture import publish

    folder = tmp_path / "versions"
    folder.mkdir()
    publish(toy, folder, 1)
    return folder


@pytest.fixture(scope="module")
def module_base(toy, tmp_path_factory):
    """The same for a server that a whole module shares."""
    from serving_fixture import publish

    folder = tmp_path_factory.mktemp("versions")
    publish(toy, folder, 1)
    return folder


@pytest.fixture
def impatient(monkeypatch):
    """A client's further attempts follow at once."""
    from cmask_tf.serving import client

    monkeypatch.setitem(client._RETRY, "initialBackoff", "0.02s")


@pytest.fixture
def serving():
    """A server without a model."""
    from fake_serving import FakeServing

    with FakeServing() as server:
        yield server
