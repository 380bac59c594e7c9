"""TensorRT engines: what the package is asked for, and what is said where it is not there."""

import ctypes
import json
import sys
from types import SimpleNamespace

import fake_tensorrt
import onnx
import pytest
from onnx import TensorProto, helper

from cmask_tf import cli
from cmask_tf.errors import UserError
from cmask_tf.export import engine, onnx_files
from cmask_tf.export.onnx_verify import Agreement

SPANS = engine.SPANS | {"K": engine.Span(1, 4, 16)}
COMMAND = (
    "trtexec --onnx={0}.onnx --saveEngine={0}.engine --stronglyTyped --noTF32 --skipInference "
    "--minShapes=image:1x64x64x3,vector:1x5 --optShapes=image:1x640x640x3,vector:4x5 "
    "--maxShapes=image:8x2048x2048x3,vector:16x5"
)


@pytest.fixture
def file(tmp_path):
    """An ONNX file with every kind of open side, and an input that has none."""
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", "H", "W", 3]),
        helper.make_tensor_value_info("c5", TensorProto.FLOAT, [1, 4]),
        helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["K", 5]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["K", 5])
    graph = helper.make_graph([helper.make_node("Relu", ["vector"], ["y"])], "step", inputs, [output])
    onnx.save(helper.make_model(graph), tmp_path / "step.onnx")
    return tmp_path / "step.onnx"


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch):
    """Whatever this machine has."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)


@pytest.fixture
def install(monkeypatch):
    """Puts a fake package in place, on a machine with so many GPUs."""

    def put(module, gpus: int = 1):
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        monkeypatch.setattr(engine, "gpus", lambda: gpus)
        return module

    return put


def test_an_engine_is_built_strongly_typed_with_one_profile_for_all_open_sides(file, install):
    trt = install(fake_tensorrt.fake())
    assert engine.build(file, SPANS) == file.with_name("step.engine")
    assert file.with_name("step.engine").read_bytes() == fake_tensorrt.PLAN
    names = [call[0] for call in trt.calls]
    assert names == [
        "Builder",
        "create_network",
        "OnnxParser",
        "parse_from_file",
        "create_builder_config",
        "clear_flag",
        "create_optimization_profile",
        "set_shape",
        "set_shape",
        "add_optimization_profile",
        "build_serialized_network",
    ]
    made = {call[0]: call[1:] for call in trt.calls}
    assert made["create_network"] == (1 << 1,)
    assert made["parse_from_file"] == (str(file),)
    assert made["clear_flag"] == ("TF32",)
    assert made["add_optimization_profile"] == (trt.profile,)
    assert made["build_serialized_network"] == ("network", trt.config)
    assert [call[1:] for call in trt.calls if call[0] == "set_shape"] == [
        ("image", (1, 64, 64, 3), (1, 640, 640, 3), (8, 2048, 2048, 3)),
        ("vector", (1, 5), (4, 5), (16, 5)),
    ]


def test_the_command_asks_for_the_same(file):
    assert engine.trtexec(file, SPANS) == COMMAND.format(file.with_suffix(""))


@pytest.mark.parametrize(
    "faults, message",
    [
        ({"parses": False}, "TensorRT 10.13.2 cannot read it: error 0; error 1"),
        ({"index": -1}, "TensorRT refuses the sizes"),
        ({"plan": None}, "TensorRT built no engine"),
    ],
)
def test_what_tensorrt_refuses_is_told_and_leaves_no_engine(faults, message, file, install):
    install(fake_tensorrt.fake(**faults))
    with pytest.raises(UserError, match=message):
        engine.build(file, SPANS)
    assert not file.with_name("step.engine").exists()


def test_why_nothing_can_be_built(install, monkeypatch):
    assert engine.hindrance() == "no package tensorrt"
    install(fake_tensorrt.fake("8.6.1"))
    assert engine.hindrance() == "TensorRT 8.6.1 is older than 10"
    install(fake_tensorrt.fake("11.4.1"), gpus=0)
    assert engine.hindrance() == "no GPU that CUDA's driver knows"
    install(fake_tensorrt.fake("11.4.1"), gpus=1)
    assert engine.hindrance() is None


def test_gpus_are_counted_by_the_driver(monkeypatch):
    def driver(started: int, found: int):
        def count(place) -> int:
            place._obj.value = found
            return 0

        return lambda name: SimpleNamespace(cuInit=lambda flags: started, cuDeviceGetCount=count)

    for started, found, expected in ((0, 2, 2), (100, 2, 0), (0, 0, 0)):
        monkeypatch.setattr(ctypes, "CDLL", driver(started, found))
        assert engine.gpus() == expected

    def missing(name):
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert engine.gpus() == 0


@pytest.mark.parametrize("sizes", [(0, 1, 2), (2, 1, 3), (1, 3, 2)])
def test_sizes_that_do_not_rise_are_refused(sizes):
    with pytest.raises(UserError, match="expected the least, the usual and the largest size"):
        engine.Span(*sizes)


@pytest.fixture
def converted(monkeypatch, file, model, tmp_path):
    """`cmask export --format onnx` with files that are there already."""
    out = tmp_path / "out"

    def export(directory, place, float16):
        out.mkdir()
        steps = ["encode", "decode", "one_shot", *(["encode.float16"] if float16 else [])]
        for step in steps:
            (out / f"{step}.onnx").write_bytes(file.read_bytes())
        files = {f"{step}.onnx": 1_500_000 for step in ("resolve", *steps)}
        agreement = {"float32": Agreement("decode/mask", 2e-5, 0.01)}
        return onnx_files.Written(out, files, agreement)

    monkeypatch.setattr(onnx_files, "export", export)
    start = ["export", "--format", "onnx", "--model", str(model), "--out", str(out)]
    return [*start, "--engine-concepts", "1", "4", "16"]


def test_without_a_gpu_the_command_ends_with_files_and_the_exact_commands(converted, tmp_path, capsys):
    assert cli.main(converted) == 0
    out = tmp_path / "out"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{out / 'resolve.onnx'}: written, 1.5 MB"
    assert lines[4] == (
        "float32, against the model on photos: largest difference 2e-05 standard deviations of the output "
        "(decode/mask), allowed 0.01"
    )
    assert lines[5] == "no engines: no package tensorrt. Where TensorRT is:"
    assert lines[6:] == [COMMAND.format(out / step) for step in engine.STEPS]


def test_with_a_gpu_every_file_but_resolve_becomes_an_engine(converted, install, tmp_path, capsys):
    install(fake_tensorrt.fake())
    assert cli.main([*converted, "--variant", "float16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = ["encode", "decode", "one_shot", "encode.float16"]
    assert told["engines"] == [str(tmp_path / "out" / f"{name}.engine") for name in names]
    assert {p.name for p in (tmp_path / "out").glob("*.engine")} == {f"{name}.engine" for name in names}


def test_programs_are_told_why_there_are_no_engines(converted, capsys):
    assert cli.main([*converted, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["hindrance"] == "no package tensorrt"
    assert len(told["commands"]) == 3
    assert told["agreement"]["float32"]["apart"] == 2e-5


def test_wrong_sizes_are_told_before_any_work(tmp_path, converted, capsys):
    assert cli.main([*converted, "--engine-height", "9", "8", "7"]) == 2
    assert "9 8 7: expected the least, the usual and the largest size" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
