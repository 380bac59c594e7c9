"""The trained baselines: how long they train, what they learn, what they leave; stopped and gone on with."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from baseline_fixture import baseline_arguments, photo

from cmask_tf import config as configs
from cmask_tf.cli import main
from cmask_tf.evaluation.baseline_networks import open_baseline
from cmask_tf.metrics import mask_scores
from cmask_tf.training.baselines import comparable
from cmask_tf.training.progress import ProgressBar

SHORT = ["--set", "segment.epochs=2", "--set", "segment.batch=30"]  # two epochs of four steps
LONG = ["--set", "segment.epochs=3", "--set", "segment.batch=4", "--set", "segmentation.channels=32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("baselines")


@pytest.fixture(scope="module")
def trained(folder):
    """Both baselines, trained until they tell a dress from its background."""
    found = {}
    for kind in ("saliency", "closed-set"):
        found[kind] = folder / kind
        assert main(baseline_arguments(folder, kind, found[kind], *LONG)) == 0
    return found


def record_set(examples, **concepts):
    return SimpleNamespace(examples=examples, concepts=concepts)


def test_a_baseline_sees_as_many_photos_as_stages_2_and_3_together():
    config = configs.tiny()
    config = dataclasses.replace(
        config,
        refine=dataclasses.replace(config.refine, epochs=5),
        segment=dataclasses.replace(config.segment, epochs=2, batch=7),
    )
    masks, boxes = record_set(100, dress=70, gown=10, hair=60), record_set(300, dress=1)
    schedule = comparable(config, masks, boxes, {"dress", "gown"})
    assert schedule == dataclasses.replace(config.segment, epochs=17)  # (5 x 300 + 2 x 80) / 100
    lite = dataclasses.replace(config, segmentation=configs.lite().segmentation)
    assert comparable(lite, masks, boxes, {"dress", "gown"}).epochs == 17  # (5 x 300 + 2 x 100) / 100
    few = record_set(10, dress=1)
    assert comparable(config, record_set(10**6, dress=1), few, {"dress"}).epochs == 1


def scores(system, names):
    """Mean IoU of the names over photos that no training saw, beside that of the whole photo."""
    found, whole = [], []
    for number in (201, 203, 205):
        image, masks = photo(number)
        for given in system.predict(None, image, names):
            truth = masks["dress"] | masks["bag"] if len(names) == 1 else masks[given.name]
            found.append(mask_scores(given.probability >= 0.5, truth)["iou"])
            whole.append(truth.mean())
    return np.mean(found), np.mean(whole)


def test_saliency_finds_what_has_masks_better_than_the_whole_photo_does(trained):
    found, whole = scores(open_baseline(trained["saliency"]), ["anything"])
    assert found > whole + 0.25


def test_a_closed_set_tells_its_concepts_apart(trained):
    system = open_baseline(trained["closed-set"])
    found, whole = scores(system, ["dress", "bag"])
    assert found > whole + 0.25
    image, masks = photo(201)
    dress, bag = system.predict(None, image, ["dress", "bag"])
    assert dress.probability[masks["dress"]].mean() > bag.probability[masks["dress"]].mean() + 0.2


def test_the_directory_tells_what_it_is_and_where_it_came_from(trained, folder):
    for kind, directory in trained.items():
        assert json.loads((directory / "baseline.json").read_text()) == {"kind": kind, "vgg16": False}
        made = json.loads((directory / "provenance.json").read_text())
        history = json.loads((folder / f"{kind}.run" / "history.json").read_text())
        minutes = [epoch["minutes"] for epoch in history["validation"]]
        assert len(minutes) == made["epochs"] == 3  # (11 x 4 + 3 x 120) / 120, rounded
        assert made["minutes"] == pytest.approx(sum(minutes)) and min(minutes) > 0
        assert made["records"]["masks"] == 120 and "masks/dataset.json" in made["inputs"]
        assert "val_iou_mask" in made["validation"][0]
    concepts = json.loads((trained["closed-set"] / "concepts.json").read_text())
    assert [c["name"] for c in concepts] == ["dress", "bag"] and "purses" in concepts[1]["spellings"]
    assert json.loads((trained["saliency"] / "concepts.json").read_text()) == []


def test_a_finished_baseline_is_not_trained_again(trained, folder, capsys):
    assert main(baseline_arguments(folder, "closed-set", trained["closed-set"], *LONG)) == 0
    assert "finished already" in capsys.readouterr().out


def assert_only_for_the_same(folder, tmp_path, out, capsys):
    """What was begun is not taken up by another baseline, or on other records."""
    same = baseline_arguments(folder, "closed-set", out, *SHORT)
    place = same.index("--data") + 1
    others = [*same[:place], str(other_records(folder, tmp_path, read=7)), *same[place + 1 :]]
    for arguments in (baseline_arguments(folder, "saliency", out, *SHORT), others):
        capsys.readouterr()
        assert main(arguments) == 2
        assert "work of a run with another config or other data" in capsys.readouterr().err


def other_records(folder, tmp_path, **changed):
    """A copy of the records with another index of the mask set."""
    records = tmp_path / "records"
    shutil.copytree(folder / "records", records)
    index = records / "masks/dataset.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | changed))
    return records


def test_a_training_that_was_stopped_goes_on(folder, tmp_path, monkeypatch, capsys):
    out, update, seen = tmp_path / "out", ProgressBar.update, []

    def stop(self, epoch, step, terms):
        update(self, epoch, step, terms)
        seen.append((epoch, step))
        if seen == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1)]:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "update", stop)
    assert main(baseline_arguments(folder, "closed-set", out, *SHORT)) == 130
    assert not out.exists()
    assert_only_for_the_same(folder, tmp_path, out, capsys)
    first = json.loads((tmp_path / "out.run/history.json").read_text())
    assert main(baseline_arguments(folder, "closed-set", out, *SHORT)) == 0
    assert seen[5:] == [(1, 1), (1, 2), (1, 3), (1, 4)] and out.is_dir()
    history = json.loads((tmp_path / "out.run/history.json").read_text())
    assert history["train"][0] == first["train"][0] and len(history["train"]) == 2
    made = json.loads((out / "provenance.json").read_text())
    assert made["minutes"] > first["validation"][0]["minutes"]


def test_work_of_another_training_is_not_taken_up(folder, tmp_path, capsys):
    work = tmp_path / "out.run"
    work.mkdir()
    (work / "claim.json").write_text("{}")
    assert main(baseline_arguments(folder, "saliency", tmp_path / "out", *SHORT)) == 2
    assert "work of a run with another config or other data" in capsys.readouterr().err


def one_line(capsys) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_place_that_is_taken_is_left_alone(trained, folder, capsys):
    out = trained["closed-set"]
    assert main(baseline_arguments(folder, "saliency", out, *LONG)) == 2
    assert "exists and is not a saliency baseline" in one_line(capsys)
    assert main(baseline_arguments(folder, "closed-set", out, *LONG, "--set", "seed=1")) == 2
    assert "was trained with another config" in one_line(capsys)
    assert main(baseline_arguments(folder, "saliency", trained["saliency"], *LONG, "--vgg16", "random")) == 2
    assert "was trained with another config" in one_line(capsys)
    assert main(baseline_arguments(folder, "saliency", folder / "model", *LONG)) == 2
    assert "exists and is not a saliency baseline" in one_line(capsys)


def test_records_without_the_model_s_concepts_are_refused(folder, tmp_path, capsys):
    arguments = baseline_arguments(folder, "closed-set", tmp_path / "out")
    others = other_records(folder, tmp_path, concepts={"tree": 9})
    arguments[arguments.index("--data") + 1] = str(others)
    assert main(arguments) == 2
    assert "records/masks: no concept that" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_missing_is_named_before_any_work(folder, tmp_path, capsys):
    arguments = baseline_arguments(folder, "saliency", tmp_path / "out")
    like, data = arguments.index("--like") + 1, arguments.index("--data") + 1
    for place, told in ((like, "no such model directory"), (data, "masks/dataset.json: missing")):
        wrong = [*arguments]
        wrong[place] = str(tmp_path / "nowhere")
        assert main(wrong) == 2
        assert told in one_line(capsys)
    assert main([*arguments, "--vgg16", str(tmp_path / "vgg.h5")]) == 2
    assert "vgg.h5: no such file" in capsys.readouterr().err.splitlines()[-1]
    assert main([*arguments, "--set", "segment.epoch=1"]) == 2
    assert "no config field 'segment.epoch'" in one_line(capsys)
    assert list(tmp_path.iterdir()) == []
