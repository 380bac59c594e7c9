"""What a person watching a run sees: pace, the line, the alarm."""

import dataclasses
import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from toy_task import SCHEDULE, ToyTask, train

from cmask_tf.training.progress import Pace, ProgressBar
from cmask_tf.training.validation import Contrast, collapse


class Clock:
    """Seconds that pass only when told."""

    now = 0.0

    def __call__(self):
        return self.now


def test_waiting_is_the_time_in_the_pipeline_and_not_that_in_the_step():
    clock = Clock()

    def batches():
        for _ in range(3):
            clock.now += 0.1  # decoding
            yield 8

    pace = Pace(clock)
    clock.now += 50  # an evaluation before the epoch
    for images in pace.over(batches()):
        clock.now += 0.3  # a step
        pace.count(images)
    assert pace.lap() == {"images_per_second": pytest.approx(20), "data_wait": pytest.approx(0.25)}
    for images in pace.over(batches()):
        pace.count(images)
    assert pace.lap() == {"images_per_second": pytest.approx(80), "data_wait": pytest.approx(1)}


def test_the_progress_line_shows_epoch_step_pace_rate_terms_and_time_left():
    text = io.StringIO()
    bar = ProgressBar(epochs=2, steps_per_epoch=3, batch=8, done=1, file=text)
    bar._bar.mininterval = 0
    bar.pace(images_per_second=123.4, data_wait=0.07, learning_rate=1e-3)
    for step in (2, 3):
        bar.update(0, step, {"loss": 0.51239, "mask": 0.25})
    bar.close()
    last = text.getvalue().split("\r")[-1]
    parts = ("epoch 1/2 step 3/3", "50%", "left", "images/s=123.4", "data wait=7%", "rate=0.001")
    for part in (*parts, "loss=0.5124", "mask=0.25"):
        assert part in last


def test_tensorboard_has_pace_rates_terms_and_what_the_evaluation_found(tmp_path):
    train(ToyTask(), tmp_path)
    (events,) = (tmp_path / "tensorboard").iterdir()
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(events)):
        for value in event.summary.value:
            found[value.tag] = value
    wanted = ("images_per_second", "data_wait", "learning_rate_others", "loss", "error", "penalty")
    assert {f"train/{name}" for name in wanted} <= found.keys()
    assert {"validation/error", "validation/collapsed"} <= found.keys()
    assert 0 <= float(tf.make_ndarray(found["train/data_wait"].tensor)) <= 1


def sigmoid_of(network, photos):
    contrast = Contrast()
    for values in tf.sigmoid(network(photos)).numpy():
        contrast.add(values)
    return contrast.measures()


@pytest.mark.parametrize(
    ("kernel", "bias", "expected"),
    [(1.0, -20.0, "gone black: 0.00%"), (1.0, 20.0, "gone white: 100.00%"), (0.0, -1.0, "gone black")],
)
def test_a_network_forced_to_one_answer_raises_the_alarm(kernel, bias, expected):
    photos = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    network = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(1, 1)])
    assert collapse(sigmoid_of(network, photos)) is None
    network.set_weights([kernel * network.get_weights()[0], np.float32([bias])])
    assert expected in collapse(sigmoid_of(network, photos))


def test_maps_without_any_contrast_raise_the_alarm_though_some_are_bright():
    contrast = Contrast()
    for value in (0.4, 0.6):
        contrast.add(np.full((8, 8), value))
    assert "even: their standard deviation is" in collapse(contrast.measures())


def test_without_maps_there_is_no_alarm():
    assert collapse({**Contrast().measures(), "val_cosine": 0.0}) is None


def test_the_alarm_names_stage_and_epoch_and_the_training_goes_on(tmp_path, capsys):
    class Black(ToyTask):
        def validate(self):
            return {**super().validate(), "val_lit": 0.0, "val_deviation": 0.2}

    history = train(Black(), tmp_path, dataclasses.replace(SCHEDULE, epochs=2))
    assert len(history["train"]) == 2
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").split("\n") if "warning" in line]
    assert len(lines) == 2
    assert "toy, epoch 1: the maps have gone black" in lines[0] and str(tmp_path) in lines[0]
    (events,) = (tmp_path / "tensorboard").iterdir()
    alarms = [
        float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.tag == "validation/collapsed"
    ]
    assert alarms == [1.0, 1.0]
