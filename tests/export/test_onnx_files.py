"""ONNX files: what is in them, that they answer as the model does, and what is refused."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from onnx import numpy_helper
from segmenter_fixture import photo
from sturdy_fixture import sturdy_model

from cmask_tf import cli
from cmask_tf.errors import UserError
from cmask_tf.export import onnx_files, onnx_verify
from cmask_tf.export.fixed import Step
from cmask_tf.segmenter import ConceptSegmenter

# Every step is converted before the first test, which takes seconds each; on a busy machine minutes.
pytestmark = pytest.mark.timeout(900)

STEPS = ("resolve", "encode", "decode", "one_shot")
# Operations that TensorRT's parser has for sides that are open; see docs/tensorrt.md.
ALLOWED = set(
    "Abs Add ArgMax AveragePool Cast Clip Concat Conv Div Equal Expand Gather GatherND Gemm Greater Less "
    "LessOrEqual MatMul Max MaxPool Min Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean "
    "ReduceMin ReduceSum Relu Reshape Resize Shape Sigmoid Slice Split Sqrt Squeeze Sub Tile Transpose "
    "Unsqueeze Where And".split()
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sturdy_model(tmp_path_factory.mktemp("sturdy") / "model")


@pytest.fixture(scope="module")
def segmenter(model):
    return ConceptSegmenter.load(model)


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    return onnx_files.export(model, tmp_path_factory.mktemp("onnx") / "out", float16=True)


@pytest.fixture
def files(written):
    return {name: onnx.load(written.directory / name) for name in written.files}


def run(directory, name: str, **given) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(
        str(directory / f"{name}.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def sides(tensors) -> dict[str, list]:
    return {t.name: [d.dim_param or d.dim_value for d in t.type.tensor_type.shape.dim] for t in tensors}


def test_every_step_is_a_file_and_all_but_resolve_also_one_in_half_precision(written):
    halves = {f"{step}.float16.onnx" for step in STEPS if step != "resolve"}
    assert set(written.files) == {f"{step}.onnx" for step in STEPS} | halves
    assert {p.name for p in written.directory.iterdir()} == {*written.files, "labels.txt", "vectors.npy"}
    assert all(written.files[name] < written.files[name.replace(".float16", "")] for name in halves)


def test_a_fresh_process_found_them_far_inside_the_bounds(written):
    assert 0 < written.agreement["float32"].apart < onnx_verify.EXACT / 10
    assert 1e-4 < written.agreement["float16"].apart < onnx_verify.ROUNDED / 2


def test_open_sides_are_named(files):
    image = sides(files["encode.onnx"].graph.input)["image"]
    assert image == ["B", "H", "W", 3]
    assert all(side[0] == "B" for side in sides(files["encode.onnx"].graph.output).values())
    decode = files["decode.onnx"].graph
    assert sides(decode.output) == {"mask": ["K", 64, 64], "score": ["K"]}
    assert {name: side[0] for name, side in sides(decode.input).items()} == {
        **{name: 1 for name in sides(files["encode.onnx"].graph.output)},
        **{name: "K" for name in sides(files["resolve.onnx"].graph.output)},
    }
    assert sides(files["one_shot.onnx"].graph.input) == {"image": [1, "H", "W", 3], "word_vector": ["K", 3]}
    assert sides(files["one_shot.onnx"].graph.output) == {"mask": ["K", "H", "W"], "score": ["K"]}
    for step in ("encode", "decode", "one_shot"):
        ours, half = files[f"{step}.onnx"].graph, files[f"{step}.float16.onnx"].graph
        assert [*half.input, *half.output] == [*ours.input, *ours.output]  # types too


def test_a_file_says_what_its_reader_must_know(files, written, segmenter):
    for name, made in files.items():
        notes = {entry.key: entry.value for entry in made.metadata_props}
        assert notes["step"] == name.split(".")[0]
        assert notes["precision"] == ("float16" if "float16" in name else "float32")
        assert notes["normalisation"] == "in the graph: image is RGB, 0 to 255"
        assert json.loads(notes["sizes"]) == {"attention": [64, 96], "mask": 64, "dimension": 3}
        labels = (written.directory / notes["labels"]).read_text(encoding="utf-8").splitlines()
        assert labels == segmenter.vocabulary.names
        np.testing.assert_array_equal(
            np.load(written.directory / notes["vectors"]), segmenter.vocabulary.vectors
        )


def test_operations_are_those_of_opset_18_that_tensorrt_has(files):
    for name, made in files.items():
        assert [(opset.domain, opset.version) for opset in made.opset_import] == [("", 18)], name
        assert {node.op_type for node in made.graph.node} <= ALLOWED, name
        # Bytes may go into a Cast alone there, and a range of floats must be known beforehand.
        assert {node.op_type for node in made.graph.node if "image" in node.input} <= {"Cast"}
        kinds = onnx.shape_inference.infer_shapes(made).graph.value_info
        kinds = {value.name: value.type.tensor_type.elem_type for value in kinds}
        ranges = [node for node in made.graph.node if node.op_type == "Range"]
        assert all(kinds[node.output[0]] != onnx.TensorProto.FLOAT for node in ranges)


def test_other_sizes_and_numbers_than_those_that_were_compared(written, segmenter):
    photos = np.stack([photo(35, 70, seed) for seed in (1, 2)])
    vectors = np.random.default_rng(3).normal(size=(3, 3)).astype("f4")
    parameters = run(written.directory, "resolve", word_vector=vectors)
    features = run(written.directory, "encode", image=photos)
    for i in range(2):
        own = {name: value[i : i + 1] for name, value in features.items()}
        found = run(written.directory, "decode", **own, **parameters)
        whole = run(written.directory, "one_shot", image=photos[i : i + 1], word_vector=vectors)
        expected = segmenter.segment(list(vectors), segmenter.encode(photos[i]))
        np.testing.assert_allclose(found["score"], expected.scores, atol=1e-4)
        np.testing.assert_allclose(whole["score"], expected.scores, atol=1e-4)
        np.testing.assert_allclose(whole["mask"], expected.masks, atol=1e-3)
        assert whole["mask"].shape == (3, 35, 70)
        assert found["mask"].std() > 0.1


def test_half_precision_is_where_convolutions_are_and_nowhere_else(files):
    made = files["one_shot.float16.onnx"]
    numbers = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(made).graph.value_info
    } | numbers
    convolutions = [node for node in made.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == sum(n.op_type == "Conv" for n in files["one_shot.onnx"].graph.node) > 50
    assert {kinds[name] for node in convolutions for name in node.input} == {onnx.TensorProto.FLOAT16}
    for kind in ("MatMul", "ReduceSum", "ReduceMin", "Div", "Sigmoid"):
        [*found] = [node for node in made.graph.node if node.op_type == kind]
        assert found and onnx.TensorProto.FLOAT16 not in {kinds.get(n) for f in found for n in f.input}, kind


def without_weights(made):
    for tensor in made.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(value), tensor.name))
    return made


@pytest.mark.parametrize("step", ["encode", "decode", "one_shot"])
def test_a_file_that_lost_its_weights_is_found(step, files, written, segmenter, tmp_path):
    shutil.copytree(written.directory, tmp_path / "out")
    onnx.save(without_weights(files[f"{step}.onnx"]), tmp_path / "out" / f"{step}.onnx")
    with pytest.raises(UserError, match="(decode|encode|one_shot)/.*standard deviations"):
        onnx_verify.verify(tmp_path / "out", segmenter)


def test_a_file_whose_table_of_words_is_lost_is_found(files, written, segmenter, tmp_path):
    shutil.copytree(written.directory, tmp_path / "out")
    onnx.save(without_weights(files["resolve.onnx"]), tmp_path / "out" / "resolve.onnx")
    with pytest.raises(UserError, match="resolve/"):
        onnx_verify.verify(tmp_path / "out", segmenter)


def test_files_that_answer_otherwise_do_not_appear(files, model, monkeypatch, tmp_path):
    def convert(name, step):
        made = files[f"{name}.onnx"]
        del made.metadata_props[:]
        return without_weights(made) if name == "decode" else made

    monkeypatch.setattr(onnx_files, "convert", convert)
    with pytest.raises(UserError, match="decode/mask: read again.*nothing was written"):
        onnx_files.export(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def answers(*values: float) -> list[dict[str, np.ndarray]]:
    return [{"decode/mask": np.array([value], np.float32)} for value in values]


def test_differences_are_shares_of_what_the_output_spans():
    ours, theirs = answers(0, 2), answers(0, 2.25)
    found = onnx_verify.farthest(theirs, ours, 0.5, rounded=False)
    assert (found.output, found.apart) == ("decode/mask", 0.25)
    mean = onnx_verify.farthest(theirs, ours, 0.5, rounded=True)
    assert mean.apart == pytest.approx(0.25 / np.sqrt(2))
    with pytest.raises(UserError, match="by 0.25 standard deviations"):
        onnx_verify.farthest(theirs, ours, 0.2, rounded=False)
    with pytest.raises(UserError, match="by nan standard deviations"):
        onnx_verify.farthest(answers(0, np.nan), ours, 0.2, rounded=False)


def test_an_output_that_is_constant_in_the_model_proves_nothing():
    with pytest.raises(UserError, match="decode/mask: the model's own output is constant"):
        onnx_verify.farthest(answers(0.5, 0.5), answers(0.5, 0.5), 0.1, rounded=False)


def test_strings_are_refused_by_name():
    step = Step(lambda image_bytes: {}, {"image_bytes": tf.TensorSpec([None], tf.string)})
    with pytest.raises(UserError, match="segment_encoded: image_bytes: strings.*do not convert"):
        onnx_files.convert("segment_encoded", step)


@pytest.mark.parametrize("opset", [13, 21])
def test_another_opset_is_refused(opset):
    with pytest.raises(UserError, match=f"opset {opset}: expected one of 15, 17, 18"):
        onnx_files.convert("step", Step(lambda x: {"y": x}, {"x": tf.TensorSpec([1])}), opset)


@pytest.mark.parametrize("opset", onnx_files.OPSETS)
def test_an_opset_that_is_known_is_that_of_the_file(opset):
    made = onnx_files.convert("step", Step(lambda x: {"y": x + 1}, {"x": tf.TensorSpec([None])}), opset)
    assert [entry.version for entry in made.opset_import] == [opset]
    assert sides(made.graph.output) == {"y": ["K"]}


def test_a_package_that_is_missing_is_named(monkeypatch, model, tmp_path, capsys):
    monkeypatch.setattr(onnx_files, "_PACKAGES", ("onnx", "no_such_package"))
    assert (
        cli.main(["export", "--format", "onnx", "--model", str(model), "--out", str(tmp_path / "out")]) == 2
    )
    error = capsys.readouterr().err
    assert error == "cmask: error: no package no_such_package: pip install 'cmask-tf[onnx]'\n"


def test_a_model_that_no_file_holds_is_refused(monkeypatch, model, segmenter, tmp_path):
    size = onnx_files.weights_bytes(segmenter.model)
    monkeypatch.setattr(onnx_files, "MAX_BYTES", size - 1)
    with pytest.raises(UserError, match="GB of weights"):
        onnx_files.export(model, tmp_path / "out")


def test_the_weights_are_counted_as_the_files_hold_them(segmenter, written):
    size, held = onnx_files.weights_bytes(segmenter.model), written.files["one_shot.onnx"]
    assert 0.5 * size < held < 2 * size  # of so small a model the graph is most of a file
