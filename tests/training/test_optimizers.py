"""Learning rates, what learns at which rate, clipping, what weight decay leaves alone: by hand in NumPy.

Run as a script it is the child process of one of its tests: `test_optimizers.py OUT`.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.config import Backbone, Schedule
from cmask_tf.models.backbone import build_backbone
from cmask_tf.training import optimizers, strategy

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script
from small_task import SCHEDULE, SmallTask, train  # noqa: E402


def test_learning_rate_warms_up_and_falls_to_zero_by_hand():
    rate = optimizers.cosine_with_warmup(Schedule(learning_rate=0.1, warmup=0.25), 12)
    np.testing.assert_allclose([rate(s) for s in range(4)], [0.025, 0.05, 0.075, 0.1], rtol=1e-5)
    np.testing.assert_allclose(rate(6), 0.1 * (1 + np.cos(np.pi / 3)) / 2, rtol=1e-5)
    np.testing.assert_allclose(rate(12), 0.0, atol=1e-8)
    flat = optimizers.cosine_with_warmup(Schedule(learning_rate=0.1, warmup=0.0), 10, rate=0.5)
    np.testing.assert_allclose([flat(0), flat(5)], [0.05, 0.025], rtol=1e-5)


def two_models() -> dict[str, keras.Model]:
    backbone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="backbone")
    head = [keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    return {"backbone": backbone, "head": keras.Sequential([keras.Input((3,)), *head])}


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_backbone_rate_and_what_weight_decay_leaves_alone(kind):
    models = two_models()
    schedule = Schedule(optimizer=kind, learning_rate=0.1, warmup=0.0, weight_decay=0.5, backbone_rate=0.2)
    made = optimizers.make_optimizers(models, schedule, 10)
    for name, rate in (("backbone", 0.02), ("head", 0.1)):
        model = models[name]
        for v in model.trainable_variables:
            v.assign(tf.ones(v.shape))
        optimizer = made["backbone" if name == "backbone" else "others"]
        optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
        for v in model.trainable_variables:
            expected = 1.0 - rate * 0.5 if v.name == "kernel" else 1.0
            np.testing.assert_allclose(v, np.full(v.shape, expected), rtol=1e-6)


def test_sgd_is_nesterovs_momentum_beside_a_decoupled_decay():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
    schedule = Schedule(optimizer="sgd", learning_rate=0.1, warmup=0.0, weight_decay=0.05)
    made = optimizers.make_optimizers({"model": model}, schedule, 8)["others"]
    weight, velocity = model.weights[0].numpy(), 0.0
    rng = np.random.default_rng(0)
    for step in range(5):
        gradient = rng.normal(size=(3, 2)).astype("float32")
        made.apply([tf.constant(gradient)], model.trainable_variables)
        rate = 0.1 * (1 + np.cos(np.pi * step / 8)) / 2
        weight = weight - rate * 0.05 * weight
        velocity = 0.9 * velocity - rate * gradient
        weight = weight + 0.9 * velocity - rate * gradient
        np.testing.assert_allclose(model.weights[0], weight, rtol=1e-5, atol=1e-6)


def clipped(gradients: dict, norm: float) -> dict:
    where = strategy.make_strategy(["CPU:0"])
    return where.run(lambda: optimizers.clip(gradients, norm))


def test_the_norm_that_is_clipped_is_that_of_both_groups_together():
    gradients = {"backbone": [tf.constant([3.0, 0.0]), None], "others": [tf.constant([[4.0]])]}
    for norm, factor in ((1.0, 0.2), (4.0, 0.8), (5.0, 1.0), (6.0, 1.0)):
        found = clipped(gradients, norm)
        np.testing.assert_allclose(found["backbone"][0], [3.0 * factor, 0.0], rtol=1e-6)
        np.testing.assert_allclose(found["others"][0], [[4.0 * factor]], rtol=1e-6)
        assert found["backbone"][1] is None


def test_a_row_that_is_gathered_twice_counts_as_one_gradient():
    slices = tf.IndexedSlices(tf.constant([[3.0], [1.0]]), tf.constant([2, 2]), tf.constant([3, 1]))
    np.testing.assert_allclose(clipped({"others": [slices]}, 2.0)["others"][0], [[0.0], [0.0], [2.0]])


def test_the_first_step_of_a_clipped_run_by_hand(tmp_path):
    schedule = dataclasses.replace(
        SCHEDULE, optimizer="sgd", epochs=1, clip_norm=0.1, warmup=0.0, weight_decay=0.0
    )
    task, fresh = SmallTask(), SmallTask()
    task.steps_per_epoch, task.batches = 1, lambda epoch, skip: fresh.batches(0, 0).take(1)
    train(task, tmp_path, schedule)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(fresh.loss(next(iter(fresh.batches(0, 0))))[0])
    variables = [v for model in fresh.models.values() for v in model.trainable_variables]
    gradients = [g.numpy() for g in tape.gradient(loss, variables)]
    norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
    assert norm > 0.2
    after = [v.numpy() for model in task.models.values() for v in model.trainable_variables]
    rates = [0.5 * 0.01] * 3 + [0.01] * 2  # kernel, gamma and beta of the backbone; kernel, bias of the head
    for variable, gradient, rate, now in zip(variables, gradients, rates, after, strict=True):
        step = 1.9 * rate * gradient * 0.1 / norm  # Nesterov's first step, from no velocity
        np.testing.assert_allclose(now, variable.numpy() - step, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_frozen_stages_neither_learn_nor_follow_the_batch(name):
    """The stem, then all up to c2: neither weights nor statistics move, and what comes after does learn."""
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    learning = []
    for stages in range(6):
        model = build_backbone(Backbone(name=name, width=0.25, depth=0.34))
        optimizers.make_optimizers({"backbone": model}, Schedule(frozen_stages=stages), 10)
        learning.append(len(model.trainable_variables))
        if stages != 2:
            continue
        frozen = keras.Model(model.input, model.output["c2"])
        others = [w for w in model.weights if not any(w is f for f in frozen.weights)]
        before, before_others = frozen.get_weights(), [w.numpy() for w in others]
        model(image, training=True)
        for now, then in zip(frozen.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)
        moved = [w.name for w, b in zip(others, before_others, strict=True) if np.any(w.numpy() != b)]
        assert set(moved) == {"moving_mean", "moving_variance"}
    stem = 4 if name == "resnet50" else 3  # its convolution (with a bias in ResNet), gamma, beta
    assert learning[1] == learning[0] - stem
    assert learning[5] == 0 and all(a > b for a, b in zip(learning, learning[1:], strict=False))


def replicas_child(out: str) -> None:
    """Two logical CPU replicas against one, with all that looks at the whole gradient; prints differences."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    two = strategy.make_strategy(["CPU:0", "CPU:1"])
    schedule = dataclasses.replace(SCHEDULE, optimizer="sgd", clip_norm=0.1, ema=0.8)
    unclipped = dataclasses.replace(schedule, clip_norm=0.0)
    report = {}
    for kind, plan in (("float32", schedule), ("mixed_float16", schedule), ("free", unclipped)):
        weights, losses = [], []
        for where in (strategy.make_strategy(["CPU:0"]), two):
            # Half the range of float16 in one example's gradient: the first steps are left out.
            spoil = (lambda error: error * 64.0) if kind == "mixed_float16" else None
            task = SmallTask(where, "float32" if kind == "free" else kind, spoil)
            history = train(task, Path(out) / f"{kind}-{where.num_replicas_in_sync}", plan)
            weights.append(task.weights())
            losses.append(history["train"][0])
        apart = max(float(np.abs(a - b).max()) for a, b in zip(*weights, strict=True))
        report[kind] = {"losses": losses, "apart": apart, "weights": weights[0][0].ravel().tolist()}
    print(json.dumps(report))


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__, str(tmp_path_factory.mktemp("replicas"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_two_replicas_clip_and_average_as_one(replicas):
    one, other = replicas["float32"]["losses"]
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert replicas["float32"]["apart"] < 1e-6
    difference = np.subtract(replicas["float32"]["weights"], replicas["free"]["weights"])
    assert np.abs(difference).max() > 1e-4  # the norm was above the limit


def test_two_replicas_leave_out_the_same_steps_in_float16(replicas):
    one, other = replicas["mixed_float16"]["losses"]
    assert one["loss_scale"] == other["loss_scale"] < 2**15
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-2)
    assert replicas["mixed_float16"]["apart"] < 1e-3


if __name__ == "__main__":
    replicas_child(sys.argv[1])
