"""Publishing: by rename, as the next number, with what belongs beside it, and only what was tried."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib import cbook
from segmenter_fixture import photo
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from cmask_tf import cli, model_directory
from cmask_tf.errors import UserError
from cmask_tf.export import extra, halves, saved_model, verify, warm_up
from cmask_tf.export.graph import ServingGraph
from cmask_tf.export.signatures import SIGNATURES
from cmask_tf.models.segmentation import encode
from cmask_tf.models.weights import checksum

FILES = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).parent
ALLOWED_OPS = Path(__file__).with_name("allowed_ops.txt")


def operations(directory: Path) -> set[str]:
    """Every operation of the graph and of the functions it calls."""
    [graph] = SavedModel.FromString((directory / "saved_model.pb").read_bytes()).meta_graphs
    nodes = [*graph.graph_def.node]
    for function in graph.graph_def.library.function:
        nodes += function.node_def
    called = {function.signature.name for function in graph.graph_def.library.function}
    return {node.op for node in nodes} - called


def test_only_stock_operations_that_are_on_the_list(exported):
    allowed = ALLOWED_OPS.read_text().split()
    assert sorted(operations(exported.directory) - set(allowed)) == []
    assert not [name for name in allowed if "PyFunc" in name]


def test_a_version_is_there_whole_and_alone(exported):
    assert exported.directory.name == "1"
    assert [d.name for d in exported.directory.parent.iterdir()] == ["1"]
    assert exported.directory.stat().st_mode & 0o777 == 0o755  # a server is another user


def test_what_was_published_agrees_with_the_model(exported):
    assert exported.agreement.mask < 1e-3
    assert exported.agreement.score < 1e-4
    assert exported.agreement.attention < 1e-4
    assert exported.agreement.iou > 0.999
    assert exported.weights_bytes == exported.float32_bytes


def test_the_files_say_where_they_come_from_and_whether_they_are_whole(exported):
    folder = exported.directory / "assets.extra"
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["model"] == {"seed": 0}
    assert provenance["export"]["weights"] == "float32"
    assert provenance["export"]["versions"]["tensorflow"] == tf.__version__
    checksums = json.loads((folder / "checksums.json").read_text())
    files = {
        p.relative_to(exported.directory).as_posix() for p in exported.directory.rglob("*") if p.is_file()
    }
    assert set(checksums) == files - {"assets.extra/checksums.json"}
    for name, value in checksums.items():
        assert value == checksum(exported.directory / name)


def test_the_revision_is_the_codes_own_repositorys(tmp_path):
    import subprocess

    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert extra.revision(tmp_path) is None
    git("init")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "x")
    commit = git("rev-parse", "HEAD")
    assert extra.revision(tmp_path / "code") == commit
    (tmp_path / "code" / "a.py").write_text("2")
    assert extra.revision(tmp_path / "code") == f"{commit}-dirty"
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "b.py").write_text("1")
    assert extra.revision(tmp_path / "site-packages") is None  # installed there, tracked by nobody


def test_the_warm_up_runs_every_signature_at_every_size(exported, served):
    file = str(exported.directory / "assets.extra" / "tf_serving_warmup_requests")
    seen = []
    for record in tf.data.TFRecordDataset(file):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        name = request.model_spec.signature_name
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        assert set(inputs) == set(SIGNATURES[name].inputs)
        shapes = {key: value.shape for key, value in inputs.items()}
        batch = {shape[0] for shape in shapes.values()}
        assert len(batch) == 1
        many = shapes.get("concepts") or shapes.get("word_vectors")
        seen.append((name, *batch, many[1] if many else 1))
        if seen[-1] in (("segment_encoded", 1, 1), ("segment_concepts", 1, 1)):
            outputs = served[name](**{key: tf.constant(value) for key, value in inputs.items()})
            assert (outputs["score"].numpy() > 0).all()
    sizes = [(batch, count) for batch in warm_up.BATCHES for count in warm_up.CONCEPTS]
    one = [(batch, 1) for batch in warm_up.BATCHES]
    expected = [(name, *size) for name in ("segment_concepts", "segment_encoded") for size in sizes]
    expected += [(name, *size) for name in ("serving_default", "attention") for size in one]
    assert sorted(seen) == sorted(expected)


def test_a_session_runs_it_as_tensorflow_serving_does(exported, served):
    """The real server knows no Python and no eager execution: it loads the graph into a session."""
    inputs = {
        "image_bytes": [(FILES / "grace_hopper.jpg").read_bytes(), b"no image"],
        "concepts": [["dress", "", "Red-Hats"], ["bag", "nothing", ""]],
    }
    expected = served["segment_encoded"](**{key: tf.constant(value) for key, value in inputs.items()})
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(exported.directory))
        signature = graph.signature_def["segment_encoded"]
        outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
        feed = {signature.inputs[name].name: value for name, value in inputs.items()}
        found = session.run(outputs, feed)
    for name, value in expected.items():
        assert found[name].tolist() == value.numpy().tolist(), name
    assert [[len(png) > 0 for png in row] for row in found["mask_png_bytes"]] == [[1, 0, 1], [0, 0, 0]]


@pytest.fixture
def copied(monkeypatch, exported):
    """Exports that take the files of the one that is there already instead of tracing the graph anew."""

    def write(graph, dim, directory):
        shutil.copytree(exported.directory, directory, dirs_exist_ok=True)
        shutil.rmtree(directory / "assets.extra")

    monkeypatch.setattr(saved_model, "write", write)


def test_versions_count_up_from_the_largest(copied, monkeypatch, model, exported, tmp_path):
    monkeypatch.setattr(verify, "verify", lambda *_: exported.agreement)
    for name in ("3", "10", "11.partial", "notes"):
        (tmp_path / name).mkdir()
    assert saved_model.export(model, tmp_path).directory == tmp_path / "11"
    assert saved_model.export(model, tmp_path).directory == tmp_path / "12"
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_number_that_another_export_took_meanwhile_is_left_to_it(monkeypatch, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    numbers = iter((1, 2))
    monkeypatch.setattr(saved_model, "next_version", lambda _: next(numbers))
    assert saved_model.publish(tmp_path / "mine", tmp_path) == tmp_path / "2"
    assert (tmp_path / "1" / "saved_model.pb").exists()


def test_files_that_answer_otherwise_are_not_published(copied, served, monkeypatch, model, tmp_path, capsys):
    def answer(directory, requests):
        answers = {}
        for name, inputs in requests.items():
            outputs = served[name](**{key: tf.constant(value) for key, value in inputs.items()})
            answers[name] = {key: value.numpy() for key, value in outputs.items()}
        answers["segment_concepts"]["mask"][0, 3, :9] += 0.1
        return answers

    monkeypatch.setattr(verify, "_ask_fresh_process", answer)
    assert cli.main(["export", "--model", str(model), "--out", str(tmp_path / "base")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        f"cmask: error: {tmp_path / 'base'}: nothing was published: read again, the graph's mask differs "
        "from the model's by 0.1, allowed is 0.001"
    )
    assert list((tmp_path / "base").iterdir()) == []


def test_files_that_cannot_be_read_are_not_published(monkeypatch, model, tmp_path, capsys):
    monkeypatch.setattr(saved_model, "write", lambda *_: None)
    assert cli.main(["export", "--model", str(model), "--out", str(tmp_path / "base")]) == 2
    assert "nothing was published: a fresh process cannot use it" in capsys.readouterr().err
    assert list((tmp_path / "base").iterdir()) == []


@pytest.mark.parametrize("kind", [OSError, lambda text: tf.errors.ResourceExhaustedError(None, None, text)])
def test_a_full_disk_is_told_and_leaves_nothing(kind, monkeypatch, model, tmp_path, capsys):
    def fill_up(graph, dim, directory):
        (directory / "saved_model.pb").touch()
        raise kind("No space left on device")

    monkeypatch.setattr(saved_model, "write", fill_up)
    base = tmp_path / "base"
    assert cli.main(["export", "--model", str(model), "--out", str(base)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"cmask: error: {base}: nothing was published (No space left on device)"
    assert list(base.iterdir()) == []


def test_a_base_that_is_a_file_is_told(model, tmp_path, capsys):
    (tmp_path / "base").touch()
    assert cli.main(["export", "--model", str(model), "--out", str(tmp_path / "base")]) == 2
    assert f"{tmp_path / 'base'}: expected a directory" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["mask", "score", "attention", "iou"])
def test_what_is_no_number_never_agrees(field):
    bad = dataclasses.replace(verify.EXACT, **{field: float("nan")})
    with pytest.raises(UserError, match="nothing was published"):
        verify.check(bad, verify.EXACT, Path("base/x"))


def test_float16_halves_the_weights_on_the_disk(exported, model, tmp_path):
    """Of the smallest system, whose biases and small tables weigh more than a real one's."""
    graph = ServingGraph(saved_model.in_halves(model), model_directory.load_vocabulary(model))
    saved_model.write(graph, 3, tmp_path / "half")
    held, in_float32 = saved_model.weights_bytes(tmp_path / "half")
    assert held < 0.56 * in_float32
    assert in_float32 == pytest.approx(exported.float32_bytes, rel=0.01)
    data = "variables/variables.data-00000-of-00001"
    sizes = [(directory / data).stat().st_size for directory in (tmp_path / "half", exported.directory)]
    assert sizes[0] < 0.6 * sizes[1]
    assert operations(tmp_path / "half") <= set(ALLOWED_OPS.read_text().split())
    half, full = (tf.saved_model.load(str(d)) for d in (tmp_path / "half", exported.directory))
    request = {"image": tf.constant(photo()[None]), "word_vector": tf.constant([[1.0, -2.0, 0.5]])}
    outputs = [loaded.signatures["serving_default"](**request) for loaded in (half, full)]
    np.testing.assert_allclose(outputs[0]["mask"], outputs[1]["mask"], atol=0.02)
    assert not np.array_equal(outputs[0]["mask"], outputs[1]["mask"])


def test_halved_networks_take_half_the_room_and_compute_in_float32(segmenter, served):
    network = segmenter.model.segmentation_encoder
    half = halves.halved(network)
    image = photo(65, 65)[None, :64, :64].astype(np.float32)
    norms = keras.layers.BatchNormalization
    dtypes = {w.dtype for layer in half.layers for w in layer.weights if not isinstance(layer, norms)}
    assert dtypes == {"float16"}
    seen = segmenter.model.backbone(image)
    expected = encode(network, image, seen, training=False)
    for name, output in encode(half, image, seen, training=False).items():
        assert output.dtype == tf.float32
        np.testing.assert_allclose(output, expected[name], rtol=0.02, atol=0.02)
