"""Every backbone: grids of the promised strides, and a dilated tail that is the nominal network, densely."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.config import Backbone, tiny
from cmask_tf.errors import UserError
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.scaling import Step, dilated_tail, round_channels, scale_blocks

FAMILIES = ("resnet50", "efficientnet_lite0")


def narrow(name: str, output_stride: int = 32) -> Backbone:
    return Backbone(name=name, width=0.25, depth=0.34, output_stride=output_stride)


def photos(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (2, height, width, 3)).astype("float32")


def settle(model: keras.Model, image: np.ndarray) -> None:
    """Batch statistics of `image` and random shifts: with untrained ones, padding mistakes hardly show."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            layer.beta.assign(tf.random.stateless_normal(layer.beta.shape, (1, 2), stddev=0.5))
    model(image, training=True)


def dense_cells(size: int, nominal: int, stride: int, same: bool) -> slice:
    """The cells of a grid of stride `stride` where those of the grid of stride `nominal` have their centres.

    TensorFlow's 'same' padding centres a convolution of stride 2 on odd cells of an even grid.
    """
    cells, first, step = -(-size // stride), 0, 1
    while stride * step < nominal:
        first += step if same and cells % 2 == 0 else 0
        cells, step = -(-cells // 2), 2 * step
    return slice(first, None, step)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("output_stride", (8, 16, 32))
def test_grids_have_the_promised_strides_at_any_size(name, output_stride):
    model = build_backbone(narrow(name, output_stride))
    assert model.name == "backbone"
    assert model.input_shape == (None, None, None, 3)
    for height, width in ((96, 160), (75, 101)):
        maps = model(photos(height, width))
        assert list(maps) == ["c2", "c3", "c4", "c5"]
        for level, stride in zip(maps, (4, 8, 16, 32), strict=True):
            stride = min(stride, output_stride)
            assert maps[level].shape[:3] == (2, -(-height // stride), -(-width // stride))
            assert maps[level].dtype == "float32"


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("size", ((96, 160), (100, 75)))
def test_dense_features_subsampled_are_the_nominal_features(name, size):
    image = photos(*size)
    nominal = build_backbone(narrow(name))
    settle(nominal, image)
    expected = nominal(image)["c5"].numpy()
    assert expected.std() > 0.1
    for output_stride in (16, 8):
        dense = build_backbone(narrow(name, output_stride))
        dense.set_weights(nominal.get_weights())
        rows, columns = (dense_cells(n, 32, output_stride, name != "resnet50") for n in size)
        actual = dense(image)["c5"].numpy()[:, rows, columns]
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_weight_of_a_dilated_tail_gets_a_gradient(name):
    model = build_backbone(narrow(name, 8))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(photos(64, 64), training=True)["c5"] ** 2)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path


def test_the_tiny_presets_channels_and_sizes():
    for design, channels, parameters in (
        ("paper", [64, 128, 256, 512], 962_304),
        ("lite", [8, 16, 32, 320], 179_776),
    ):
        model = build_backbone(tiny(design).backbone)
        assert [output.shape[-1] for output in model.output.values()] == channels
        assert model.count_params() == parameters


def test_batch_norms_are_synchronised_between_replicas():
    model = build_backbone(narrow("resnet50"))
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert norms and all(norm.synchronized for norm in norms)


def test_channels_round_to_multiples_of_eight():
    assert [round_channels(n, 0.25) for n in (16, 24, 64, 112)] == [8, 8, 16, 32]
    assert [round_channels(n, 1.1) for n in (16, 24, 40, 320)] == [16, 24, 48, 352]
    assert round_channels(24, 1.0) == 24
    assert round_channels(100, 1.0) == 100
    assert round_channels(11, 1.0001) == 16  # 8 would be more than a tenth below


def test_blocks_round_up():
    assert [scale_blocks(n, 0.34) for n in (1, 3, 4, 6)] == [1, 2, 2, 3]
    assert scale_blocks(10, 1.1) == 11


def test_strides_beyond_the_output_stride_become_dilation():
    assert dilated_tail([4, 2, 2, 2], 32) == [Step(4, 1, 1), Step(2, 1, 1), Step(2, 1, 1), Step(2, 1, 1)]
    assert dilated_tail([4, 2, 2, 2], 8) == [Step(4, 1, 1), Step(2, 1, 1), Step(1, 1, 2), Step(1, 2, 4)]


@pytest.mark.parametrize("name", FAMILIES)
def test_imagenet_weights_need_the_full_width_and_depth(name):
    with pytest.raises(UserError, match=f"{name}: ImageNet weights exist at width 1 and depth 1 only"):
        build_backbone(Backbone(name=name, width=0.25, weights="imagenet"))
