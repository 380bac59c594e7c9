"""Averaged weights by hand in NumPy; they are what is validated and kept, and the steps never see them."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_task import SCHEDULE, SmallTask, train

from cmask_tf.training import averages, strategy
from cmask_tf.training.averages import Averages

ONE = strategy.make_strategy(["CPU:0"])


@pytest.fixture
def model() -> keras.Model:
    layers = [keras.layers.Dense(2), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    return keras.Sequential([keras.Input((3,)), *layers])


def test_the_average_is_that_of_the_steps_made_corrected_for_its_start(model):
    average = Averages({"model": model}, 0.9)
    rng, history = np.random.default_rng(0), []
    for _ in range(5):
        made = [rng.normal(size=v.shape) for v in model.weights]
        for variable, value in zip(model.weights, made, strict=True):
            variable.assign(value)
        average.update(ONE)
        history.append(made)
    weights = [0.1 * 0.9 ** (5 - k) / (1 - 0.9**5) for k in range(1, 6)]
    assert sum(weights) == pytest.approx(1.0)
    expected = [sum(w * made[i] for w, made in zip(weights, history, strict=True)) for i in range(6)]
    with average.in_place():
        for variable, value in zip(model.weights, expected, strict=True):
            np.testing.assert_allclose(variable, value, rtol=1e-5, atol=1e-6, err_msg=variable.name)
    for variable, value in zip(model.weights, history[-1], strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-6)


def test_own_weights_come_back_after_an_error(model):
    average = Averages({"model": model}, 0.9)
    average.update(ONE)
    model.weights[0].assign(np.full((3, 2), 7.0))
    with pytest.raises(KeyError), average.in_place():
        assert not np.any(model.weights[0] == 7.0)
        raise KeyError
    np.testing.assert_array_equal(model.weights[0], np.full((3, 2), 7.0))


def test_before_the_first_step_and_without_a_decay_nothing_changes(model):
    before = model.get_weights()
    for average in (Averages({"model": model}, 0.9), Averages({"model": model}, 0.0)):
        with average.in_place():
            for ours, theirs in zip(model.get_weights(), before, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert average.variables == []
    average.update(ONE)


def test_validation_and_the_result_have_the_averages_and_the_steps_do_not(tmp_path):
    plain, averaged = SmallTask(), SmallTask()
    seen = {plain: [], averaged: []}
    for task in (plain, averaged):
        # The last epoch is the best one.
        task.validate = lambda task=task: (
            seen[task].append(task.weights()) or {"error": 1.0 / len(seen[task])}
        )
    history = train(plain, tmp_path / "plain")
    averaging = dataclasses.replace(SCHEDULE, ema=0.8)
    averaged_history = train(averaged, tmp_path / "averaged", schedule=averaging)
    for one, other in zip(history["train"], averaged_history["train"], strict=True):
        assert one == pytest.approx(other, rel=1e-6)  # the same steps
    for ours, theirs in zip(averaged.weights(), seen[averaged][-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)  # what was validated last is what is kept
    apart = [np.abs(a - b).max() for a, b in zip(averaged.weights(), plain.weights(), strict=True)]
    assert min(apart) > 1e-5  # batch normalization's moving statistics among them


def test_a_finished_run_that_is_called_again_gives_the_averages(tmp_path):
    schedule = dataclasses.replace(SCHEDULE, ema=0.8)
    first, again = SmallTask(), SmallTask()
    train(first, tmp_path, schedule=schedule)
    train(again, tmp_path, schedule=schedule)
    for ours, theirs in zip(first.weights(), again.weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Stopped(Exception):
    """Ends a run in the middle of an epoch."""


def test_a_resumed_run_has_the_undisturbed_runs_averages(tmp_path, monkeypatch):
    schedule = dataclasses.replace(SCHEDULE, ema=0.8, optimizer="sgd", clip_norm=0.5)
    undisturbed = SmallTask()
    train(undisturbed, tmp_path / "undisturbed", schedule=schedule)
    update, calls = averages.Averages.put, []

    def stop(self):
        """In the second epoch's validation: the checkpoint before it is that of step 6 of 8."""
        calls.append(1)
        if len(calls) == 2:
            raise Stopped
        update(self)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(averages.Averages, "put", stop)
        train(SmallTask(), tmp_path / "stopped", schedule=schedule)
    resumed = SmallTask()
    train(resumed, tmp_path / "stopped", schedule=schedule)
    for ours, theirs in zip(resumed.weights(), undisturbed.weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_random_state_is_not_averaged(model):
    average = Averages({"model": model}, 0.5)
    assert len(average.variables) == 1 + 6  # the counter; kernel, bias and batch normalization's four
    (state,) = [v for v in model.variables if "seed" in v.name]
    before = state.numpy()
    average.update(ONE)
    model(tf.zeros((1, 3)), training=True)
    with average.in_place():
        assert not np.array_equal(state.numpy(), before)
