"""TFLite files: they hold weights and names, answer as the model does, and what cannot be is refused."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from lively_fixture import lively_model
from PIL import Image
from segmenter_fixture import photo

from cmask_tf.errors import UserError
from cmask_tf.export import tflite, tflite_verify
from cmask_tf.export.concept_file import photo_squares
from cmask_tf.export.fixed import FixedSteps, Step
from cmask_tf.model_directory import load_vocabulary
from cmask_tf.segmenter import ConceptSegmenter

# Eleven conversions before the first test, each of which takes seconds; on a busy machine minutes.
pytestmark = pytest.mark.timeout(900)

CONCEPTS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return lively_model(tmp_path_factory.getbasetemp() / "lively-lite")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(4):
        Image.fromarray(photo(seed=seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def converted(model, photos, tmp_path_factory):
    """By variant: what `export` returns, of the whole way."""
    base = tmp_path_factory.mktemp("converted")
    return {
        variant: tflite.export(
            model, base / variant, variant, CONCEPTS, photos if variant == "int8" else None
        )
        for variant in tflite.VARIANTS
    }


def metadata(path: Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("metadata.json"))


def test_the_files_answer_as_the_model_does(converted):
    agreements = {variant: made.agreement for variant, made in converted.items()}
    assert all(found.spread > 0.1 for found in agreements.values())
    assert agreements["float32"].mask < 1e-5 and agreements["float32"].score < 1e-4
    assert agreements["float16"].mask < 0.01 and agreements["float16"].score < 0.02
    assert agreements["dynamic"].mask < 0.03
    assert agreements["int8"].mask < 0.1


def test_weights_in_fewer_bits_are_smaller_files(converted):
    size = {variant: made.sizes["encode.tflite"] for variant, made in converted.items()}
    assert size["dynamic"] < size["float16"] < 0.7 * size["float32"]


def test_resolve_is_never_rounded_and_one_shot_only_to_half_precision(converted):
    for variant, made in converted.items():
        assert metadata(made.directory / "resolve.tflite")["variant"] == "float32"
        assert ("one_shot.tflite" in made.sizes) == (variant in ("float32", "float16"))
        types = {t["dtype"] for t in Interpreter(str(made.directory / "resolve.tflite")).get_tensor_details()}
        assert types <= {np.float32, np.int32, np.int64, np.bool_}


def test_int8_computes_in_int8(converted):
    def kinds(variant):
        interpreter = Interpreter(str(converted[variant].directory / "encode.tflite"))
        return [t["dtype"] for t in interpreter.get_tensor_details() if "conv" in t["name"].lower()]

    assert np.int8 in kinds("int8") and np.int8 not in kinds("float16")


def test_only_built_in_operations_and_tensors_by_name(converted, model):
    steps = FixedSteps(ConceptSegmenter.load(model).model).steps(CONCEPTS)
    for made in converted.values():
        for name in made.sizes:
            if name.endswith(".npz"):
                continue
            interpreter = Interpreter(str(made.directory / name))
            [signature] = interpreter.get_signature_list().values()
            assert set(signature["inputs"]) == set(steps[Path(name).stem].inputs)
            operations = {operation["op_name"] for operation in interpreter._get_ops_details()}
            assert not [op for op in operations if "flex" in op.lower() or "custom" in op.lower()]
            assert "READ_VARIABLE" not in operations


def test_a_copied_file_says_what_it_is(converted, model, tmp_path):
    copy = tmp_path / "alone.tflite"
    copy.write_bytes((converted["float16"].directory / "decode.tflite").read_bytes())
    found = metadata(copy)
    assert (found["step"], found["variant"], found["concepts"]) == ("decode", "float16", CONCEPTS)
    assert found["image_sizes"] == [64, 96] and found["mask_size"] == 64
    assert found["image"]["range"] == [0, 255]
    with zipfile.ZipFile(copy) as archive:
        assert archive.read("labels.txt").decode().split("\n")[:-1] == load_vocabulary(model).names
    assert Interpreter(str(copy)).get_signature_list()


def test_lost_weights_are_caught(model):
    """Unless its variables are made constants, the converter writes a file without weights, and no error."""
    fixed = FixedSteps(ConceptSegmenter.load(model).model)
    traced = fixed.steps()["encode"].traced()
    content = tf.lite.TFLiteConverter.from_concrete_functions([traced], fixed).convert()
    numbers = sum(v.shape.num_elements() for v in traced.variables)
    with pytest.raises(UserError, match="encode: the converter lost weights"):
        tflite.check_weights("encode", content, numbers, "float32")


def test_files_that_answer_something_else_are_not_published(converted, model, tmp_path, monkeypatch):
    def convert(name, *_):
        """Files that are at hand; `decode` is that of a variant which differs a little."""
        path = converted["dynamic" if name == "decode" else "float32"].directory / f"{name}.tflite"
        with zipfile.ZipFile(path) as archive:
            return path.read_bytes()[: archive.infolist()[0].header_offset]

    monkeypatch.setattr(tflite, "convert", convert)
    with pytest.raises(UserError, match="nothing was written: .* differ from the model's"):
        tflite.export(model, tmp_path / "out", concepts=CONCEPTS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variant", tflite.VARIANTS)
def test_no_number_is_no_agreement(variant):
    with pytest.raises(UserError, match="scores"):
        tflite_verify.check(tflite_verify.Agreement(0.0, float("nan"), 0.3), variant, Path("out"))


def refusal(run, **inputs) -> str:
    with pytest.raises(UserError) as error:
        tflite.convert("step", Step(run, inputs), "float32")
    return str(error.value)


def test_what_tflite_cannot_do_is_refused_by_name():
    names = refusal(lambda names: {"length": tf.strings.length(names)}, names=tf.TensorSpec([1], tf.string))
    assert "'names' is a string" in names
    free = refusal(lambda image: {"sum": image + 1}, image=tf.TensorSpec([None, 3]))
    assert "'image' has the shape (None, 3)" in free
    operation = refusal(lambda x: {"y": tf.math.erfinv(x)}, x=tf.TensorSpec([4]))
    assert operation == "step: not converted to float32: no built-in operation for Erfinv"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"variant": "int4"}, "expected one of float32"),
        ({"concepts": 0}, "fixed sizes"),
        ({"variant": "int8"}, "int8 needs photos"),
        ({"photos": "."}, "no other variant"),
        ({"variant": "int8", "photos": "."}, "expected a record set or a folder"),
    ],
)
def test_bad_arguments_are_told_in_a_line(model, tmp_path, monkeypatch, given, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        tflite.export(model, tmp_path / "out", **given)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced(model, tmp_path):
    (tmp_path / "somebody's").touch()
    with pytest.raises(UserError, match="exists; give a directory that is not there yet"):
        tflite.export(model, tmp_path)


def test_the_converter_prints_nothing(model, photos, capfd):
    """By itself it tells of its own options on stderr."""
    fixed = FixedSteps(ConceptSegmenter.load(model).model)
    samples = photo_squares(photos, fixed.image_sizes)
    capfd.readouterr()
    tflite.convert("encode", fixed.steps()["encode"], "int8", samples)
    assert capfd.readouterr() == ("", "")
