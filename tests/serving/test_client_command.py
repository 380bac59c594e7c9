"""`cmask client`: a folder of photos through a server, `cmask segment`'s files, and what it refuses."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from fake_serving import FakeServing
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.cli import main
from cmask_tf.serving.client import SegmentClient
from cmask_tf.serving.client_folder import segment_photos

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def photos(tmp_path):
    """Five photos, and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate("abcde"):
        scene(index).save(folder / f"{name}.{'png' if index % 2 else 'JPG'}", format="PNG")
    (folder / "notes.txt").write_text("red things")
    return folder


def scene(seed=0, height=12, width=8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def run(serving, *arguments) -> int:
    return main(["client", *map(str, arguments), "--server", serving.target])


def failure(capsys, serving, *arguments) -> str:
    """Runs a command that must fail: its one line of error."""
    assert run(serving, *arguments) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error.splitlines()[-1].removeprefix("cmask: error: ")


def test_a_folder_of_photos_becomes_masks_and_overlays(serving, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(serving, photos, "--concept", "red", "--concept", "Blue".lower(), "--out", out) == 0
    assert sorted(p.name for p in out.iterdir()) == sorted(
        f"{name}.{what}.png" for name in "abcde" for what in ("red", "blue", "overlay")
    )
    expected = np.asarray(scene(1))[..., 2] >= 128
    mask = np.asarray(Image.open(out / "b.blue.png"))
    np.testing.assert_array_equal(mask, np.where(expected, 255, 0))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["red", "blue"] * 5
    assert lines[3].startswith(f"{photos / 'b.png'}: blue: ") and lines[3].endswith(
        f"-> {out / 'b.blue.png'}"
    )


def test_json_has_the_rows_of_cmask_segment(serving, photos, tmp_path, capsys):
    assert run(serving, photos / "b.png", "--concept", "red", "--out", tmp_path / "out", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    red = np.asarray(scene(1))[..., 0] >= 128
    assert row == {
        "image": str(photos / "b.png"),
        "concept": "red",
        "score": pytest.approx(red.mean()),
        "present": bool(red.mean() >= 0.5),
        "known": True,
        "area": int(red.sum()),
        "share": red.mean(),
        "mask": str(tmp_path / "out" / "b.red.png"),
    }


def test_run_lengths_are_cocos(serving, photos, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--concept", "red", "--concept", "green", "--write", "rle", "--out", out, "--json"]
    assert run(serving, photos / "b.png", *arguments) == 0
    assert [p.name for p in out.iterdir()] == ["b.rle.json"]
    whole = json.loads((out / "b.rle.json").read_text())
    assert (whole["image"], whole["height"], whole["width"]) == (str(photos / "b.png"), 12, 8)
    assert [row["concept"] for row in whole["concepts"]] == ["red", "green"]
    mask = rle.decode(whole["concepts"][1]["segmentation"])
    np.testing.assert_array_equal(mask, np.asarray(scene(1))[..., 1] >= 128)
    assert whole["concepts"][1]["area"] == mask.sum()
    assert [row["mask"] for row in json.loads(capsys.readouterr().out)] == [None, None]


def test_a_turned_photos_mask_is_as_a_person_sees_it(serving, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene().save(tmp_path / "turned.jpg", exif=exif)
    assert run(serving, tmp_path / "turned.jpg", "--concept", "red", "--out", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "turned.red.png") as mask:
        assert mask.size == (12, 8)


def test_no_more_requests_than_jobs_are_under_way(photos, tmp_path):
    with FakeServing(delay=0.05) as slow:
        assert run(slow, photos, "--concept", "red", "--jobs", "2", "--out", tmp_path, "--write", "mask") == 0
        assert slow.busiest == 2 and slow.calls == 5


def test_no_more_photos_than_jobs_are_in_memory(serving, photos, tmp_path):
    """What is answered waits for what is being written."""
    with SegmentClient(serving.target, deadline=20) as client:
        results = segment_photos(
            client, sorted(photos.glob("[a-e].*")), ["red"], tmp_path / "out", ["mask"], jobs=2
        )
        asked = []
        for _ in results:
            time.sleep(0.2)
            asked.append(serving.calls)
    assert all(count <= most for count, most in zip(asked, [1, 3, 4, 5, 5], strict=True))


def test_a_bad_photo_is_told_and_the_others_are_segmented(serving, photos, tmp_path, capsys):
    (photos / "c.JPG").write_bytes((photos / "c.JPG").read_bytes()[:-80])
    serving.fail = [None, (grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")]
    out = tmp_path / "out"
    arguments = ["--concept", "red", "--write", "mask", "--jobs", "1", "--out", out]
    assert run(serving, photos, *arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("cmask: error: 2 of 5 photos were not segmented, the first: ")
    assert str(photos / "b.png") in error and "the queue is full" in error
    assert sorted(p.name for p in out.iterdir()) == ["a.red.png", "d.red.png", "e.red.png"]


def test_an_unknown_concept_is_told_after_one_request_and_nothing_is_written(
    serving, photos, tmp_path, capsys
):
    out = tmp_path / "out"
    error = failure(capsys, serving, photos, "--concept", "red", "--concept", "hat", "--out", out)
    assert error == "concept 'hat': not in the served model's vocabulary"
    assert serving.calls == 1 and not out.exists()


def test_an_unknown_model_is_told_after_one_request(serving, photos, tmp_path, capsys):
    arguments = ["--concept", "red", "--model-name", "other", "--out", tmp_path / "out"]
    assert "serves no model 'other'" in failure(capsys, serving, photos, *arguments)
    assert serving.calls == 1


def test_a_server_that_goes_away_ends_the_run(serving, photos, tmp_path, capsys):
    serving.fail = [None] + [(grpc.StatusCode.UNAVAILABLE, "going down")] * 20
    arguments = ["--concept", "red", "--write", "mask", "--jobs", "1", "--out", tmp_path / "out"]
    assert "going down" in failure(capsys, serving, photos, *arguments)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.red.png"]


@pytest.mark.parametrize(
    "answer, reason",
    [((b"<html>", 0.5, True, True), "expected a PNG"), ((b"", 0.0, False, True), "could not decode")],
)
def test_an_answer_that_is_no_mask_is_told_and_leaves_no_file(
    serving, photos, tmp_path, capsys, monkeypatch, answer, reason
):
    monkeypatch.setattr("fake_serving._cell", lambda image, name: answer)
    out = tmp_path / "out"
    assert reason in failure(capsys, serving, photos / "b.png", "--concept", "red", "--out", out)
    assert not out.exists()


def test_wrong_input_is_told_before_any_request(serving, photos, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    red = ["--concept", "red"]
    out = ["--out", tmp_path / "out"]
    for arguments, reason in [
        ([empty, *red, *out], f"{empty}: no photos in this folder"),
        ([tmp_path / "no.jpg", *red, *out], f"{tmp_path / 'no.jpg'}: no such image"),
        ([photos, *red, "--out", photos], f"{photos}: holds the photos and the outputs; give another --out"),
        ([photos, *red, "--concept", "RED", *out], "two outputs of one name"),
        ([photos, "--concept", "!", *out], "a name needs at least one letter or digit"),
        ([photos, *red, *out, "--tls-ca", tmp_path / "no.pem"], f"{tmp_path / 'no.pem'}: No such file"),
        ([photos, "--concept", "a\udcff", *out], "expected Unicode text"),
    ]:
        assert reason in failure(capsys, serving, *arguments)
    assert serving.calls == 0


def test_a_folder_that_cannot_be_written_to_is_one_line(serving, photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    assert "cannot be written" in failure(capsys, serving, photos, "--concept", "red", "--out", out)


@pytest.mark.parametrize(
    "module, kind", [("matplotlib", "overlay"), ("pycocotools", "rle"), ("grpc", "mask")]
)
def test_a_package_that_is_not_there_is_named_before_any_request(
    serving, photos, tmp_path, capsys, monkeypatch, module, kind
):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else find(name))
    error = failure(capsys, serving, photos, "--concept", "red", "--write", kind, "--out", tmp_path / "out")
    assert "pip install" in error and module in error
    assert serving.calls == 0


def test_the_script_is_the_command_and_its_help_imports_nothing_heavy():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['client.py', '--help']\n"
        "try: runpy.run_path('serving/client.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'grpc', 'PIL', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: cmask client" in done.stdout


def test_it_needs_no_tensorflow(serving, photos, tmp_path):
    """The import of TensorFlow is made to fail: the command works from start to end."""
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not here')\n")
    code = "import sys; from cmask_tf.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "client", str(photos), "--server", serving.target]
    command += ["--concept", "red", "--out", str(tmp_path / "out")]
    paths = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 10
