"""`cmask evaluate`: the model's table on real networks, and what it refuses before any work."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_fixture import LEFT, TOP, write_photos
from segmenter_fixture import smallest_segmenter

from cmask_tf import segmenter
from cmask_tf.cli import main
from cmask_tf.evaluation.systems import Prediction


@pytest.fixture
def world(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    truths = [{"dress": TOP, "hair": LEFT}] * 3
    return folder, write_photos(
        folder, truths, {"dress": {"level": "mask"}, "hair": {"level": "box"}, "cape": {}}
    )


def arguments(model, world, out, *more) -> list[str]:
    folder, masks = world
    named = ["--model", model, "--images", folder, "--masks", masks, "--out", out]
    return ["evaluate", *map(str, [*named, *more])]


def scored(world, out, *system) -> list[str]:
    folder, masks = world
    return ["evaluate", *map(str, [*system, "--images", folder, "--masks", masks, "--out", out])]


def test_it_prints_the_table_of_levels_and_writes_the_report(model, world, tmp_path, capsys, monkeypatch):
    ready = smallest_segmenter(model)
    monkeypatch.setattr(segmenter.ConceptSegmenter, "load", classmethod(lambda cls, path: ready))
    assert main(arguments(model, world, tmp_path / "out")) == 0
    table = capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == ["mask", "box"]
    assert str(tmp_path / "out" / "report.md") in table
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics["concepts"]) == {"dress", "hair"}
    assert metrics["presence"]["pairs"] == 9

    assert main(arguments(model, world, tmp_path / "out", "--json")) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["levels"]["mask"]["iou"] == pytest.approx(metrics["levels"]["mask"]["iou"], abs=1e-6)


def test_wrong_input_is_one_line_and_writes_nothing(model, world, tmp_path, capsys):
    folder, masks = world
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "mixing.json").unlink()
    (tmp_path / "list.json").write_text("[]")
    out = tmp_path / "out"
    cases = {
        "mixing.json: missing": arguments(broken, world, out),
        "nowhere: no such model directory": arguments(tmp_path / "nowhere", world, out),
        "no.json": arguments(model, (folder, tmp_path / "no.json"), out),
        "list.json: expected a COCO object": arguments(model, (folder, tmp_path / "list.json"), out),
        "no such folder of images": arguments(model, (tmp_path / "none", masks), out),
        "dataset.json: missing": arguments(model, world, out, "--baselines", tmp_path / "none"),
        "not an evaluation": arguments(model, world, folder),
        "cannot be written: ": scored(world, masks / "out", "--floor", "whole-image"),
        "expected both or neither": arguments(model, world, out, "--records", tmp_path),
        "none/masks/dataset.json: missing": scored(
            world, out, "--floor", "position-prior", "--records", tmp_path / "none"
        ),
    }
    for message, command in cases.items():
        assert main(command) == 2, message
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not out.exists()


@pytest.mark.parametrize("named", [(), ("--model", "street")], ids=["default", "by name"])
def test_the_preset_is_scored_when_nothing_else_is_named(named, model, street, world, tmp_path, monkeypatch):
    ready, given = smallest_segmenter(model), []
    monkeypatch.setattr(
        segmenter.ConceptSegmenter, "load", classmethod(lambda cls, path: given.append(path) or ready)
    )
    assert main(scored(world, tmp_path / "out", *named)) == 0
    assert given == [street]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["system"] == "street"


def test_one_system_is_scored_at_a_time(world, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(scored(world, tmp_path / "out", "--model", "a", "--floor", "whole-image"))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "--floor" in error and error.count("\n") == 1


def test_a_floor_is_scored_by_the_same_function(world, tmp_path, capsys):
    assert main(scored(world, tmp_path / "out", "--floor", "whole-image", "--json")) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["system"] == "whole image"
    assert metrics["levels"]["mask"]["iou"] == TOP.mean()
    assert metrics["presence"]["auc_macro"] is None
    assert "reliability.png" not in {file.name for file in (tmp_path / "out").iterdir()}


class Whole:
    """A System that is made of what its option names, and stands in for the real one."""

    def __init__(self, *args, **more):
        self.made_of = (*args, *more.values())

    def answers(self, name):
        return True

    def predict(self, path, image, names):
        for name in names:
            yield Prediction(name, np.ones(image.shape[:2], np.float32))


SYSTEMS = {
    "--baseline": ("baseline_networks", "open_baseline"),
    "--saliency-maps": ("saliency_maps", "SaliencyMaps"),
    "--detections": ("detections", "Detections"),
    "--floor": ("grabcut", "CentreGrabCut"),
}


@pytest.mark.parametrize("option", SYSTEMS)
def test_each_option_opens_its_own_system(option, world, tmp_path, capsys, monkeypatch):
    module, name = SYSTEMS[option]
    made = []
    build = {name: lambda *args, **more: made.append(Whole(*args, **more)) or made[-1]}
    monkeypatch.setitem(sys.modules, f"cmask_tf.evaluation.{module}", SimpleNamespace(**build))
    value = "grabcut" if option == "--floor" else tmp_path / "given"
    assert main(scored(world, tmp_path / "out", option, value, "--json")) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["levels"]["mask"]["iou"] == TOP.mean()
    of = {"--detections": (value, world[1]), "--floor": ()}
    assert [system.made_of for system in made] == [of.get(option, (value,))]


def test_a_missing_package_is_one_line(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cmask_tf.data.coco", None)
    assert main(scored(world, tmp_path / "out", "--floor", "whole-image")) == 2
    error = capsys.readouterr().err
    assert "not installed" in error and "cmask-tf[train]" in error and error.count("\n") == 1


def test_a_photo_that_is_not_there_is_named(model, world, tmp_path, capsys):
    folder, masks = world
    (folder / "1.png").unlink()
    assert main(arguments(model, world, tmp_path / "out")) == 2
    assert "1.png" in capsys.readouterr().err


def test_the_figures_are_those_of_the_masks(model, world, tmp_path, monkeypatch, capsys):
    ready = smallest_segmenter(model)
    monkeypatch.setattr(segmenter.ConceptSegmenter, "load", classmethod(lambda cls, path: ready))
    assert main(arguments(model, world, tmp_path / "out", "--json")) == 0
    found = json.loads(capsys.readouterr().out)["concepts"]["dress"]
    from cmask_tf.imageio import read_image

    ious = []
    for number in range(3):
        mask = ready.segment(["dress"], ready.encode(read_image(world[0] / f"{number}.png"))).masks[0] >= 0.5
        ious.append((mask & TOP).sum() / (mask | TOP).sum())
    assert found["iou"] == pytest.approx(np.mean(ious), abs=1e-6)
