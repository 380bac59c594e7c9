"""The closed-set network: a map for each concept, dilation that goes with the grid, a step that helps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf import losses
from cmask_tf.config import Backbone
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.deeplab import build_deeplab


def network(size: int = 64, output_stride: int = 16, concepts: int = 3) -> keras.Model:
    keras.utils.set_random_seed(0)
    backbone = build_backbone(Backbone(width=0.125, depth=0.2, output_stride=output_stride))
    return build_deeplab(backbone, concepts, size, width=0.0625)


def test_every_concept_has_a_map_of_the_photo_s_size():
    assert network(concepts=5)(np.zeros((2, 64, 64, 3), "float32")).shape == (2, 64, 64, 5)


@pytest.mark.parametrize(
    "size, output_stride, rates",
    [
        (528, 16, [6, 12, 18]),  # the paper's 33 x 33 cells
        (528, 8, [12, 24, 36]),  # and the paper's rates at half the stride
        (96, 8, [2, 4, 7]),
        (32, 16, [1, 1, 1]),
    ],
)
def test_the_dilation_spans_the_same_part_of_any_photo(size, output_stride, rates):
    model = network(size, output_stride)
    assert [model.get_layer(f"pyramid{i}").dilation_rate[0] for i in (2, 3, 4)] == rates


def test_a_step_lowers_the_loss():
    model = network()
    rng = np.random.default_rng(0)
    image = tf.constant(rng.uniform(0, 255, (2, 64, 64, 3)), tf.float32)
    mask = tf.cast(tf.constant(rng.random((2, 64, 64, 3))) < 0.2, tf.float32)

    def loss():
        return tf.reduce_mean(losses.mask_loss(model(image, training=True), mask, tf.ones_like(mask)))

    with tf.GradientTape() as tape:
        before = loss()
    gradients = tape.gradient(before, model.trainable_variables)
    norm = tf.linalg.global_norm(gradients)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(0.02 * gradient / norm)
    assert loss() < before
