"""Half precision trains, near float32's losses; overflows in float16 cost a step each, a real NaN the run."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_task import SCHEDULE, SmallTask, train

from cmask_tf.errors import UserError
from cmask_tf.training import loss_scale, strategy
from cmask_tf.training.loss_scale import START, LossScale

ONE = strategy.make_strategy(["CPU:0"])
LONGER = dataclasses.replace(SCHEDULE, epochs=6)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> list[float]:
    return losses(train(SmallTask(), tmp_path_factory.mktemp("float32"), LONGER))


def losses(history) -> list[float]:
    return [epoch["loss"] for epoch in history["train"]]


@pytest.mark.parametrize(("kind", "tolerance"), [("mixed_bfloat16", 0.05), ("mixed_float16", 0.01)])
def test_half_precision_learns_what_float32_learns(kind, tolerance, reference, tmp_path):
    task = SmallTask(kind=kind)
    found = losses(train(task, tmp_path, LONGER))
    assert found[-1] < 0.7 * found[0]
    np.testing.assert_allclose(found, reference, rtol=tolerance)
    assert found != reference
    assert {w.dtype for w in task.weights()} == {np.dtype("float32")}


def large(error):
    """Gradients that overflow at the first scale; the loss itself is far from the limit."""
    return 64.0 * error


def test_a_step_that_overflows_changes_nothing_but_the_scale(tmp_path):
    task, fresh = SmallTask(kind="mixed_float16", spoil=large), SmallTask(kind="mixed_float16", spoil=large)
    task.steps_per_epoch, batches = 1, fresh.batches
    task.batches = lambda epoch, skip: batches(0, 0).take(1)
    schedule = dataclasses.replace(SCHEDULE, epochs=1, ema=0.9)
    history = train(task, tmp_path, schedule)
    assert history["train"][0]["loss_scale"] == START
    assert np.isfinite(history["train"][0]["loss"])
    for (name, now), then in zip(named(task), fresh.weights(), strict=True):
        if "moving" not in name:
            np.testing.assert_array_equal(now, then, err_msg=name)
    saved = tf.train.load_checkpoint(str(tmp_path / "checkpoints"))
    stored = {n: saved.get_tensor(n) for n in saved.get_variable_to_shape_map() if "optimizers" in n}
    scalars = {n: v for n, v in stored.items() if v.ndim == 0}
    assert sorted(float(v) for n, v in scalars.items() if "loss_scale" in n) == [0.0, START / 2]
    steps = [v for n, v in scalars.items() if "loss_scale" not in n and v.dtype.kind == "i"]
    assert steps == [0, 0, 0]  # those of both optimizers and of the averages


def named(task) -> list[tuple[str, np.ndarray]]:
    return [(w.path, w.numpy()) for model in task.models.values() for w in model.weights]


def test_the_scale_falls_until_the_steps_are_made(tmp_path):
    task = SmallTask(kind="mixed_float16", spoil=large)
    history = train(task, tmp_path, LONGER)
    scales = [epoch["loss_scale"] for epoch in history["train"]]
    assert START > scales[2] == scales[5] > 1
    assert history["train"][5]["loss"] < 0.9 * history["train"][2]["loss"]


def test_a_loss_that_is_nan_ends_the_run_at_once(tmp_path):
    task = SmallTask(kind="mixed_float16", spoil=lambda error: error * float("nan"))
    with pytest.raises(UserError, match=r"epoch 1, step 1: error is nan; expected a finite number"):
        train(task, tmp_path)


def nan_gradient(error):
    """A finite value, 0 for all that is near it, whose gradient is 0 / 0."""
    return error + tf.sqrt(0.0 * error)


def test_gradients_that_are_not_the_scales_fault_end_the_run_after_sixteen_steps(tmp_path):
    schedule = dataclasses.replace(SCHEDULE, epochs=9)
    task = SmallTask(kind="mixed_float16", spoil=nan_gradient)
    with pytest.raises(UserError, match=r"epoch 4, step 4: loss is nan; expected a finite number"):
        train(task, tmp_path, schedule)
    assert all(np.isfinite(w).all() for w in task.weights())


def test_the_scale_doubles_after_good_steps_in_turn(monkeypatch):
    monkeypatch.setattr(loss_scale, "GOOD_STEPS", 3)
    task = SmallTask(kind="mixed_float16")
    scale = LossScale(task.models.values())
    good, bad = {"g": [tf.constant(1.0), None]}, {"g": [tf.constant(float("inf"))]}
    made = []
    seen = []
    for gradients in (good, good, bad, good, good, good):
        shown = scale.guard(ONE, gradients, tf.constant(1.0), lambda: made.append(1))
        seen.append(float(shown["loss_scale"]))
    seen.append(float(scale.variables[0].numpy()))
    assert np.divide(seen, START).tolist() == [1, 1, 1, 0.5, 0.5, 0.5, 1]
    assert len(made) == 5


def test_only_float16_is_scaled():
    for kind in ("float32", "mixed_bfloat16"):
        scale = LossScale(SmallTask(kind=kind).models.values())
        assert not scale.needed and scale.variables == []
        assert float(scale.up(tf.constant(3.0))) == 3.0
    assert keras.config.dtype_policy().name == "float32"
