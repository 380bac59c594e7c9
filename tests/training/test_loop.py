"""The loop on a toy task: resume after SIGKILL, any number of replicas, and what it writes and says.

Run as a script it is the child process of two of its tests: `test_loop.py killed OUT`, `... replicas OUT`.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from toy_task import BATCH, EXAMPLES, SCHEDULE, ToyTask, kill_in_the_second_epoch, train

from cmask_tf.errors import UserError
from cmask_tf.training import checkpoints, cluster, strategy


def run_child(*arguments):
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (tests, tests.parent)))}
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def killed_child(out):
    """Trains until SIGKILL in the middle of the second epoch, one step after a checkpoint."""
    kill_in_the_second_epoch()
    train(ToyTask(dropout=0.3), Path(out))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    task = ToyTask(dropout=0.3)
    history = train(task, tmp_path_factory.mktemp("undisturbed"))
    return history, task.weights()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    out = tmp_path_factory.mktemp("killed")
    result = run_child("killed", out)
    assert result.returncode == -signal.SIGKILL, result.stderr
    return out


def resume(killed, tmp_path):
    out = tmp_path / "resumed"
    shutil.copytree(killed, out)
    task = ToyTask(dropout=0.3)
    return train(task, out), task.weights()


def test_a_killed_run_ends_where_the_undisturbed_one_ends(killed, undisturbed, tmp_path):
    assert len(json.loads((killed / "history.json").read_text())["train"]) == 1
    history, weights = resume(killed, tmp_path)
    for run, other in zip(history["train"], undisturbed[0]["train"], strict=True):
        assert run == pytest.approx(other, rel=1e-6)
    assert history["validation"] == [pytest.approx(v, rel=1e-6) for v in undisturbed[0]["validation"]]
    for ours, theirs in zip(weights, undisturbed[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def forget_position(saved, fresh):
    saved._position.step = 0


def forget_epoch(saved, fresh):
    """The epoch seeds the shuffling and the augmentation."""
    saved._position.epoch = 0


def forget_random_state(saved, fresh):
    reset(fresh, lambda name: "seed_generator_state" in name)


def forget_optimizer(saved, fresh):
    reset(fresh, lambda name: name.startswith("optimizers"))


def variables(saved):
    """Every variable that a checkpoint holds: [(what it is, the variable)]."""
    kinds = {"models": saved._checkpoint.models, "optimizers": saved._checkpoint.optimizers}
    return [(f"{k} {v.name}", v) for k, held in kinds.items() for part in held.values() for v in part]


def reset(fresh, chosen):
    found = [(variable, value) for name, variable, value in fresh if chosen(name)]
    assert found
    for variable, value in found:
        variable.assign(value)


@pytest.mark.parametrize("forget", [forget_position, forget_epoch, forget_random_state, forget_optimizer])
def test_what_is_left_out_of_the_checkpoint_shows(forget, killed, undisturbed, tmp_path, monkeypatch):
    restore = checkpoints.Checkpoints.restore

    def forgetful(self):
        fresh = [(name, v, v.numpy()) for name, v in variables(self)]
        restore(self)
        forget(self, fresh)

    monkeypatch.setattr(checkpoints.Checkpoints, "restore", forgetful)
    history, weights = resume(killed, tmp_path)
    assert history["train"][-1]["loss"] != pytest.approx(undisturbed[0]["train"][-1]["loss"], rel=1e-4)
    assert max(np.abs(a - b).max() for a, b in zip(weights, undisturbed[1], strict=True)) > 1e-4


def replicas_child():
    """Two logical CPU replicas against one, on whole and on uneven last batches; prints the differences."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    two = strategy.make_strategy(["CPU:0", "CPU:1"])
    report = {"replicas": two.num_replicas_in_sync}
    for examples in (EXAMPLES, 3 * BATCH + 1):  # the last batch has 2 and 3 rows; 1 row for two
        results = []
        for where in (strategy.make_strategy(["CPU:0"]), two):
            task = ToyTask(where, examples=examples)
            one_epoch = dataclasses.replace(SCHEDULE, epochs=1)
            out = Path(sys.argv[2]) / f"{examples}-{where.num_replicas_in_sync}"
            results.append((train(task, out, one_epoch), task.weights()))
        (history, weights), (history_two, weights_two) = results
        fresh = ToyTask(examples=examples).weights()
        report[examples] = {
            "loss": [h["train"][0]["loss"] for h in (history, history_two)],
            "apart": max(float(np.abs(a - b).max()) for a, b in zip(weights, weights_two, strict=True)),
            "moved": min(float(np.abs(a - b).max()) for a, b in zip(weights, fresh, strict=True)),
        }
    print(json.dumps(report))


def test_two_replicas_make_the_steps_of_one(tmp_path):
    result = run_child("replicas", tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout.splitlines()[-1])
    assert report.pop("replicas") == 2
    for case in report.values():
        assert case["loss"][0] == pytest.approx(case["loss"][1], rel=1e-5)
        assert case["apart"] < 1e-6 and case["moved"] > 1e-4


def test_a_finished_run_returns_at_once_with_history_and_weights(tmp_path, monkeypatch, capsys):
    task = ToyTask()
    history = train(task, tmp_path)
    assert json.loads((tmp_path / "history.json").read_text()) == history
    again = ToyTask()
    monkeypatch.setattr(again, "batches", None)
    assert train(again, tmp_path) == history
    assert "finished" in capsys.readouterr().err
    for ours, theirs in zip(task.weights(), again.weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_training_learns_and_writes_history_tensorboard_and_two_checkpoints(tmp_path, capsys):
    task = ToyTask()
    before = task.validate()["error"]
    history = train(task, tmp_path, schedule=dataclasses.replace(SCHEDULE, epochs=6, learning_rate=2e-2))
    assert [record["epoch"] for record in history["validation"]] == [1, 2, 3, 4, 5, 6]
    assert history["validation"][-1]["error"] < 0.5 * before
    assert set(history["train"][0]) == {"epoch", "loss", "error", "penalty"}
    last = history["train"][-1]
    assert last["loss"] == pytest.approx(last["error"] + last["penalty"], rel=1e-5)
    (events,) = (tmp_path / "tensorboard").iterdir()
    tags = {v.tag for e in tf.compat.v1.train.summary_iterator(str(events)) for v in e.summary.value}
    assert tags >= {"train/loss", "train/penalty", "train/learning_rate_backbone", "validation/error"}
    assert "photos" in {tag.split("/")[0] for tag in tags}
    assert len(list((tmp_path / "checkpoints").glob("ckpt-*.index"))) == 2
    line = capsys.readouterr().err.replace("\r", "\n")
    assert "epoch 6/6 step 4/4" in line and "images/s" in line


def test_the_epoch_mean_weighs_every_example_alike(tmp_path):
    task = ToyTask()
    still = dataclasses.replace(SCHEDULE, epochs=1, learning_rate=0.0)
    history = train(task, tmp_path, schedule=still)
    errors = np.concatenate([task.loss(batch)[0] for batch in task.batches(0, 0)])
    assert len(errors) == EXAMPLES
    assert history["train"][0]["loss"] == pytest.approx(errors.mean(), rel=1e-5)


def test_the_first_loss_that_is_not_finite_stops_and_names_step_and_term(tmp_path):
    with pytest.raises(UserError, match=r"epoch 2, step 1: error is nan; .*learning_rate"):
        train(ToyTask(spoilt_epoch=1), tmp_path)
    task = ToyTask()
    history = train(task, tmp_path)  # the last good checkpoint is still there
    assert len(history["train"]) == 3 and np.isfinite(task.validate()["error"])


def test_another_model_or_schedule_in_the_same_folder_is_an_error(tmp_path):
    schedule = dataclasses.replace(SCHEDULE, epochs=1)
    train(ToyTask(), tmp_path, schedule=schedule)
    with pytest.raises(UserError, match="epochs 1, not 3"):
        train(ToyTask(), tmp_path)
    with pytest.raises(UserError, match="another model"):
        train(ToyTask(dropout=0.5), tmp_path, schedule=schedule)


def test_strategy_by_devices_and_tf_config(monkeypatch):
    assert strategy.make_strategy(["CPU:0"]).num_replicas_in_sync == 1
    assert cluster.is_chief(strategy.make_strategy())
    with pytest.raises(UserError, match="device GPU:9: not on this machine; here: .*CPU:0"):
        strategy.make_strategy(["GPU:9"])
    monkeypatch.setenv("TF_CONFIG", "{cluster")
    with pytest.raises(UserError, match="TF_CONFIG"):
        strategy.make_strategy()


if __name__ == "__main__":
    {"killed": lambda: killed_child(sys.argv[2]), "replicas": replicas_child}[sys.argv[1]]()
