"""The examples for other languages, run as they are: curl over REST, Node over gRPC."""

import base64
import json
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from fake_serving import CHANNELS, FakeServing, png
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "serving" / "examples"


def scene() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


@pytest.fixture
def photo(tmp_path) -> Path:
    """A photo whose base64 is longer than a command line may be."""
    path = tmp_path / "photo.png"
    path.write_bytes(png(scene()))
    assert path.stat().st_size > 128 << 10
    return path


class Rest(BaseHTTPRequestHandler):
    """TensorFlow Serving's `:predict` in row form, of the model "default"."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/models/default:predict" or body["signature_name"] != "segment_encoded":
            return self.answer(404, {"error": "Servable not found for request: Latest(other)"})
        (row,) = body["instances"]
        image = base64.b64decode(row["image_bytes"]["b64"], validate=True)
        assert image == png(scene())
        known = [name in CHANNELS for name in row["concepts"]]
        masks = [png(scene()[..., CHANNELS[name]]) if name in CHANNELS else b"" for name in row["concepts"]]
        cells = [{"b64": base64.b64encode(mask).decode()} for mask in masks]
        answer = {"mask_png_bytes": cells, "score": [0.75], "present": [True], "known": known}
        self.answer(200, {"predictions": [answer]})

    def answer(self, code, value):
        data = json.dumps(value, indent=4).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def rest():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rest)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def curl(*arguments) -> subprocess.CompletedProcess:
    if not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("no curl or jq on this machine")
    return subprocess.run(["bash", EXAMPLES / "rest.sh", *arguments], capture_output=True, text=True)


def test_curl_writes_the_mask_of_a_concept(rest, photo, tmp_path):
    done = curl(photo, "blue", tmp_path / "blue.png", rest)
    assert (done.returncode, done.stdout, done.stderr) == (0, "found (score 0.75)\n", "")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "blue.png")), scene()[..., 2])


@pytest.mark.parametrize(
    "concept, model, reason",
    [('"hat"', "default", "not in the served model's vocabulary"), ("blue", "other", "Servable not found")],
)
def test_curl_tells_an_error_and_writes_nothing(rest, photo, tmp_path, concept, model, reason):
    done = curl(photo, concept, tmp_path / "mask.png", rest, model)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and reason in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """The example as its users have it: a copy beside its packages from the registry."""
    root = tmp_path_factory.mktemp("repository")
    folder = root / EXAMPLES.relative_to(EXAMPLES.parents[1]) / "node"
    (root / "cmask_tf").symlink_to(EXAMPLES.parents[1] / "cmask_tf")
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    if not shutil.which("npm") or subprocess.run(install, cwd=folder, capture_output=True).returncode:
        pytest.skip("no node with the example's packages: npm ci does not work here")

    def run(*arguments) -> subprocess.CompletedProcess:
        return subprocess.run(["node", folder / "segment.js", *arguments], capture_output=True, text=True)

    return run


def test_node_writes_the_masks_of_concepts(node, photo, tmp_path):
    with FakeServing() as server:
        done = node("--server", server.target, "--out", tmp_path / "out", photo, "red", "blue")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("red", "blue"):
        with Image.open(tmp_path / "out" / f"photo.{name}.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), scene()[..., CHANNELS[name]])


def test_node_tells_an_unknown_concept_in_one_line(node, photo, tmp_path):
    with FakeServing() as server:
        done = node("--server", server.target, "--out", tmp_path / "out", photo, "hat")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert 'concept "hat"' in done.stderr


def test_nodes_packages_are_pinned_with_checksums():
    lock = json.loads((EXAMPLES / "node" / "package-lock.json").read_text())
    wanted = json.loads((EXAMPLES / "node" / "package.json").read_text())["dependencies"]
    assert lock["packages"][""]["dependencies"] == wanted
    assert all(each["integrity"].startswith("sha512-") for name, each in lock["packages"].items() if name)
    assert os.access(EXAMPLES / "rest.sh", os.X_OK)
