"""The loop on a toy task: resume after SIGKILL, any number of replicas, and what it writes and says.

Run as a script it is the child process of two of its tests: `test_loop.py killed OUT`, `... replicas OUT`.
"""

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.config import Schedule
from cmask_tf.errors import UserError
from cmask_tf.training import checkpoints, loop, strategy
from cmask_tf.training.progress import ProgressBar

EXAMPLES, BATCH = 29, 8  # three batches of 8 and one of 5
SCHEDULE = Schedule(epochs=3, batch=BATCH, learning_rate=3e-3, backbone_rate=0.5)


class ToyTask:
    """Regression from 6x6 pictures: shuffled, augmented by stateless noise and flips, batch normalization."""

    steps_per_epoch = 4

    def __init__(self, where=None, dropout=0.0, examples=EXAMPLES, spoilt_epoch=None):
        keras.utils.set_random_seed(5)
        rng = np.random.default_rng(0)
        self.images = rng.normal(size=(examples, 6, 6, 2)).astype(np.float32)
        self.truth = self.images[:, 2:4, 1:3].mean((1, 2, 3))
        self.spoilt_epoch = spoilt_epoch
        self.where = where or strategy.make_strategy(["CPU:0"])
        with self.where.scope():
            layers = [
                keras.layers.Conv2D(4, 3, use_bias=False),
                keras.layers.BatchNormalization(synchronized=True),
                keras.layers.ReLU(),
                keras.layers.Flatten(),
            ]
            backbone = keras.Sequential([keras.Input((6, 6, 2)), *layers])
            head = [keras.layers.Dropout(dropout, seed=3)] if dropout else []
            head = keras.Sequential([keras.Input((64,)), *head, keras.layers.Dense(1)])
        self.models = {"backbone": backbone, "head": head}

    def loss(self, batch):
        """Squared error, and a small penalty to have a second term."""
        out = self.models["head"](self.models["backbone"](batch["image"], training=True), training=True)[:, 0]
        error, penalty = tf.square(out - batch["truth"]), 0.01 * tf.square(out)
        return error + penalty, {"error": error, "penalty": penalty}

    def batches(self, epoch, skip):
        def augment(index):
            seed = tf.stack([epoch, tf.cast(index, tf.int32)])
            image = tf.image.stateless_random_flip_left_right(tf.gather(self.images, index), seed)
            image += 0.1 * tf.random.stateless_normal(tf.shape(image), seed)
            truth = tf.gather(self.truth, index)
            return {"image": image, "truth": np.nan * truth if epoch == self.spoilt_epoch else truth}

        order = np.random.default_rng([7, epoch]).permutation(len(self.images))
        data = tf.data.Dataset.from_tensor_slices(order).skip(skip * BATCH)
        return data.map(augment, num_parallel_calls=2).batch(BATCH).prefetch(2)

    def validate(self):
        out = self.models["head"](self.models["backbone"](self.images, training=False), training=False)
        return {"error": float(np.mean(np.square(out[:, 0] - self.truth)))}

    def pictures(self):
        return {"photos": np.zeros((2, 6, 6, 3), np.uint8)}

    def weights(self):
        return [v.numpy() for m in self.models.values() for v in m.weights]


def train(task, out, schedule=SCHEDULE):
    return loop.train(task, schedule, out, task.where, checkpoint_every_steps=3, deterministic=True)


def run_child(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def killed_child(out):
    """Trains until SIGKILL in the middle of the second epoch, one step after a checkpoint."""
    update = ProgressBar.update

    def kill_at(self, epoch, step, terms):
        update(self, epoch, step, terms)
        if (epoch, step) == (1, 3):
            os.kill(os.getpid(), signal.SIGKILL)

    ProgressBar.update = kill_at
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
    assert len(list((tmp_path / "checkpoints").glob("*.index"))) == 2
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


def test_the_progress_line_shows_epoch_step_terms_speed_and_time_left():
    text = io.StringIO()
    bar = ProgressBar(epochs=2, steps_per_epoch=3, batch=8, done=1, file=text)
    bar._bar.mininterval = 0
    for step in (2, 3):
        bar.update(0, step, {"loss": 0.51239, "mask": 0.25})
    bar.close()
    last = text.getvalue().split("\r")[-1]
    for part in ("epoch 1/2 step 3/3", "50%", "images/s", "left", "loss=0.5124", "mask=0.25"):
        assert part in last


def test_strategy_by_devices_and_tf_config(monkeypatch):
    assert strategy.make_strategy(["CPU:0"]).num_replicas_in_sync == 1
    assert strategy.is_chief(strategy.make_strategy())
    with pytest.raises(UserError, match="device GPU:9: not on this machine; here: .*CPU:0"):
        strategy.make_strategy(["GPU:9"])
    monkeypatch.setenv("TF_CONFIG", "{cluster")
    with pytest.raises(UserError, match="TF_CONFIG"):
        strategy.make_strategy()


if __name__ == "__main__":
    {"killed": lambda: killed_child(sys.argv[2]), "replicas": replicas_child}[sys.argv[1]]()
