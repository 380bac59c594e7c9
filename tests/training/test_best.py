"""Which epoch's weights a training gives: the best one's, also after a kill, and when it ends early."""

import dataclasses
import json

import numpy as np
import pytest
from toy_task import SCHEDULE, ToyTask, train

from cmask_tf.errors import UserError
from cmask_tf.training import checkpoints
from cmask_tf.training.best import Measure


class Scripted(ToyTask):
    """Its validation says what the script says; `seen` has the weights that each evaluation saw."""

    def __init__(self, script, **options):
        super().__init__(**options)
        self.script, self.seen = script, []

    def validate(self):
        self.seen.append(self.weights())
        return {"error_a": self.script[len(self.seen) - 1], "error_b": 0.0, "other": -9.0}


def epochs(number, patience=0):
    return dataclasses.replace(SCHEDULE, epochs=number, patience=patience)


def assert_equal(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_measure_is_a_mean_by_prefix_and_the_first_of_equals_is_the_best():
    def history(*records):
        return {"validation": [{"epoch": i, **record} for i, record in enumerate(records, start=1)]}

    higher, lower = Measure("val_iou"), Measure("val_iou", higher=False)
    levels = history(
        {"val_iou_mask": 0.2, "val_iou_box": 0.4, "val_x": 9},
        {"val_iou_mask": 0.6, "val_iou_box": 0.2},
        {"val_iou_mask": 0.4, "val_iou_box": 0.4},
        {"val_iou_mask": float("nan"), "val_iou_box": 0.9},
    )
    assert higher.kept(levels) == {"epoch": 2, "measure": "val_iou", "value": pytest.approx(0.4)}
    assert lower.kept(levels)["epoch"] == 1
    assert Measure("val_iou", levels=("box",)).kept(levels)["epoch"] == 4
    assert higher.kept(history({}, {})) == {"epoch": 2, "measure": "val_iou", "value": None}


def test_the_best_epochs_weights_are_the_result_and_the_history_names_it(tmp_path):
    task = Scripted([3.0, 1.0, 2.0])
    history = train(task, tmp_path)
    assert history["kept"] == {"epoch": 2, "measure": "error", "value": 0.5}
    assert json.loads((tmp_path / "history.json").read_text())["kept"] == history["kept"]
    assert_equal(task.weights(), task.seen[1])
    assert np.abs(task.seen[2][0] - task.seen[1][0]).max() > 1e-4
    again = ToyTask()
    assert train(again, tmp_path) == history
    assert_equal(again.weights(), task.seen[1])


def test_training_ends_after_so_many_epochs_without_a_better_one(tmp_path):
    script = [3.0, 1.0, 2.0, 1.0, 0.0, 0.0, 0.0]
    task = Scripted(script)
    history = train(task, tmp_path, epochs(7, patience=2))
    assert len(history["train"]) == 4 and history["kept"]["epoch"] == 2
    assert_equal(task.weights(), task.seen[1])
    again = Scripted(script)
    assert train(again, tmp_path, epochs(7, patience=2)) == history and not again.seen
    other = train(Scripted(script), tmp_path / "patient", epochs(7, patience=3))
    assert len(other["train"]) == 7 and other["kept"]["epoch"] == 5


@pytest.mark.parametrize("moment", ["before the checkpoint", "in the next epoch"])
def test_a_run_that_stopped_anywhere_keeps_what_the_undisturbed_one_keeps(tmp_path, monkeypatch, moment):
    script = [3.0, 1.0, 2.0]
    undisturbed = Scripted(script)
    expected = train(undisturbed, tmp_path / "undisturbed")
    save = checkpoints.Checkpoints.save

    def killed(self):
        epoch, step = self._position.epoch, self._position.step
        if moment == "before the checkpoint" and epoch == 2:  # its best weights are written by then
            raise KeyboardInterrupt
        save(self)
        if moment == "in the next epoch" and (epoch, step) == (2, 1):
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", killed)
    first = Scripted(script)
    with pytest.raises(KeyboardInterrupt):
        train(first, tmp_path / "killed")
    monkeypatch.undo()
    done = 1 if moment == "before the checkpoint" else 2
    task = Scripted(script[done:])
    history = train(task, tmp_path / "killed")
    assert len(task.seen) == 3 - done and history["kept"] == expected["kept"]
    for one, other in zip(task.weights(), undisturbed.weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_only_weights_that_a_checkpoint_names_stay_on_disk(tmp_path):
    train(Scripted([5.0, 4.0, 3.0, 2.0, 6.0, 6.0]), tmp_path, epochs(6))
    assert [f.name for f in (tmp_path / "checkpoints").glob("best-*.index")] == ["best-4.index"]
    train(Scripted([5.0, 4.0, 3.0]), tmp_path / "other")
    names = {f.name for f in (tmp_path / "other/checkpoints").glob("best-*.index")}
    assert names == {"best-2.index", "best-3.index"}


def test_best_weights_that_are_gone_are_named(tmp_path):
    train(Scripted([1.0, 2.0, 3.0]), tmp_path)
    (tmp_path / "checkpoints/best-1.index").unlink()
    with pytest.raises(
        UserError, match=r"best-1\.index: missing or damaged; expected the weights of epoch 1"
    ):
        train(ToyTask(), tmp_path)
