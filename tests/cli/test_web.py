"""`cmask web`: what is wrong with its arguments is one line before a model is loaded."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cmask_tf.cli import main

ROOT = Path(__file__).parent.parent.parent


def told(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_port_that_is_taken(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["web", "--model", "nowhere", "--port", str(port)]) == 2
    line = told(capsys)
    assert line.startswith(f"cmask: error: 127.0.0.1, port {port}: Address already in use; give another")


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_a_port_that_is_none(capsys, port):
    assert main(["web", f"--port={port}"]) == 2
    assert told(capsys) == f"cmask: error: --port {port}: expected 1 to 65535"


def test_an_address_that_is_not_of_this_machine(capsys):
    assert main(["web", "--host", "192.0.2.1"]) == 2
    assert told(capsys).startswith("cmask: error: 192.0.2.1, port 7860: ")


def test_a_model_that_is_not_there(capsys, free_port):
    assert main(["web", "--model", "nowhere", "--port", free_port]) == 2
    assert "nowhere: no such model directory" in told(capsys)


def test_a_server_that_is_a_url(capsys, free_port):
    assert main(["web", "--server", "http://127.0.0.1:8501", "--port", free_port]) == 2
    assert "expected HOST:PORT of the gRPC port, not a URL" in told(capsys)


def test_without_gradio_the_extra_is_named(capsys, free_port, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["web", "--model", "nowhere", "--port", free_port]) == 2
    assert told(capsys) == "cmask: error: cmask web needs gradio: pip install 'cmask-tf[demo]'"


def test_the_script_is_the_command():
    script = [sys.executable, ROOT / "serving" / "web" / "app.py", "--port", "0"]
    done = subprocess.run(script, capture_output=True, text=True, cwd=ROOT.parent)
    assert done.returncode == 2 and done.stderr == "cmask: error: --port 0: expected 1 to 65535\n"


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
