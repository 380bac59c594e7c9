"""The command line of Mask R-CNN*: what it says before Model Garden is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cmask_tf.detectors import command
from cmask_tf.detectors.recipe import Recipe, paper, tiny
from cmask_tf.errors import UserError

SCRIPT = Path(__file__).parents[2] / "trainers" / "train_maskrcnn.py"


def test_help_imports_neither_tensorflow_nor_model_garden():
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'tensorflow', 'official', 'tf_keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "predict" in done.stdout


def line_of(capsys, *argv):
    assert command.main([*map(str, argv)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("train_maskrcnn: error: ") and error.count("\n") == 1
    return error


def test_what_is_not_there_is_one_line(tmp_path, capsys):
    out = tmp_path / "out"
    assert "boxes" in line_of(capsys, "train", "--data", tmp_path, "--out", out)
    size = ("--batch-size", 0)
    assert "batch_size 0" in line_of(capsys, "train", "--data", tmp_path, "--out", out, *size)
    options = ("--images", tmp_path, "--masks", tmp_path / "m.json", "--out", out)
    assert "recipe.json: cannot be read" in line_of(capsys, "predict", "--model", tmp_path, *options)
    assert not list(tmp_path.iterdir())


def test_a_missing_model_garden_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "official.vision.tasks.maskrcnn", None)
    tiny().save(tmp_path)
    options = ("--images", tmp_path, "--masks", tmp_path / "m.json", "--out", tmp_path / "r.json")
    assert "pip install 'cmask-tf[detectors]'" in line_of(capsys, "predict", "--model", tmp_path, *options)


def test_a_recipe_is_kept_beside_the_checkpoints(tmp_path):
    tiny().save(tmp_path)
    assert Recipe.load(tmp_path) == tiny() != paper()
    (tmp_path / "recipe.json").write_text(json.dumps({"layers": 3}))
    with pytest.raises(UserError, match="recipe.json: not a detector's recipe"):
        Recipe.load(tmp_path)


def test_a_size_that_the_pyramid_cannot_halve_is_told():
    with pytest.raises(UserError, match="image_size 500: expected a multiple of 64"):
        Recipe(image_size=500)


def test_the_schedule_is_of_epochs_whatever_the_batch():
    assert Recipe(epochs=12, batch_size=16).steps(1000) == 750
    assert Recipe(epochs=12, batch_size=7).steps(1000) == 1715
