"""The saliency network of Hou et al.: its sizes on VGG-16, its short connections, what it answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from segmenter_fixture import smallest_config

from cmask_tf import losses
from cmask_tf.config import Backbone
from cmask_tf.errors import UserError
from cmask_tf.models import dss, vgg
from cmask_tf.models.backbone import build_backbone, freeze, with_stem
from cmask_tf.models.baselines import build_baseline

SIZE = 64


def photos(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, SIZE, SIZE, 3)).astype("float32")


def ours(name: str = "resnet50", output_stride: int = 16) -> keras.Model:
    return with_stem(build_backbone(Backbone(name, width=0.125, depth=0.2, output_stride=output_stride)))


@pytest.fixture(scope="module")
def published() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_baseline("saliency", smallest_config(), 1, vgg16="random")


@pytest.fixture(scope="module")
def small() -> keras.Model:
    keras.utils.set_random_seed(0)
    return dss.build_dss(ours(), SIZE, width=0.0625)


def conv(kernel: int, given: int, out: int) -> int:
    """Parameters of a convolution."""
    return kernel**2 * given * out + out


def test_the_published_network_has_its_parameters(published):
    sides = ((64, 128, 3), (128, 128, 3), (256, 256, 5), (512, 256, 5), (512, 512, 5), (512, 512, 7))
    of_sides = sum(conv(k, c, out) + conv(k, out, out) + conv(1, out, 1) for c, out, k in sides)
    joined = 2 * conv(1, 3, 1) + 2 * conv(1, 5, 1)  # of sides 3 and 4, of sides 1 and 2
    assert published.count_params() == 14_714_688 + of_sides + joined + conv(1, 6, 1) == 62_225_505
    assert published.output.shape == (None, SIZE, SIZE, 7)


def test_vgg16_is_that_of_keras_applications():
    theirs = keras.applications.VGG16(weights=None, include_top=False)
    mine = vgg.build_vgg16()
    for layer in theirs.layers:
        if layer.weights:
            mine.get_layer(layer.name).set_weights(layer.get_weights())
    taps = [
        theirs.get_layer(f"block{stage}_conv{last}").output for stage, last in enumerate((2, 2, 3, 3, 3), 1)
    ]
    image = photos(1)
    expected = keras.Model(theirs.input, taps)(keras.applications.vgg16.preprocess_input(image.copy()))
    for name, value in zip(dss.TAPS, expected, strict=True):
        np.testing.assert_allclose(mine(image)[name], value, rtol=1e-4, atol=1e-3)


def test_imagenet_weights_go_over_by_name(monkeypatch):
    theirs = keras.applications.VGG16(weights=None, include_top=False)
    monkeypatch.setattr(keras.applications, "VGG16", lambda weights, include_top: theirs)
    mine = vgg.build_vgg16("imagenet")
    for name in ("block1_conv1", "block5_conv3"):
        np.testing.assert_array_equal(mine.get_layer(name).kernel, theirs.get_layer(name).kernel)


def test_weights_that_are_not_there_are_one_line(monkeypatch, tmp_path):
    def fail(**_):
        raise Exception("URL fetch failure\non https://storage")

    monkeypatch.setattr(keras.applications, "VGG16", fail)
    with pytest.raises(UserError, match="^vgg16: the ImageNet weights could not be downloaded .*or random$"):
        vgg.build_vgg16("imagenet")
    with pytest.raises(UserError, match="vgg.h5: no such file"):
        vgg.build_vgg16(str(tmp_path / "vgg.h5"))


def test_a_step_on_vgg16_lowers_every_output_s_loss(published):
    mask = tf.cast(tf.linalg.band_part(tf.ones((2, SIZE, SIZE)), 0, -1), tf.float32)[..., tf.newaxis]
    image = tf.constant(photos())

    def of_outputs(training=False):
        parts = tf.split(published(image, training=training), dss.OUTPUTS, axis=-1)
        return [tf.reduce_mean(losses.mask_loss(part, mask, tf.ones_like(mask))) for part in parts]

    before = of_outputs()
    with tf.GradientTape() as tape:
        loss = tf.add_n(of_outputs(training=True))
    gradients = tape.gradient(loss, published.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    norm = tf.linalg.global_norm(gradients)
    for variable, gradient in zip(published.trainable_variables, gradients, strict=True):
        variable.assign_sub(0.02 * gradient / norm)
    assert all(after < first for after, first in zip(of_outputs(), before, strict=True))


@pytest.mark.parametrize(
    "side, reached",
    [
        (6, {6, 4, 3, 2, 1}),
        (5, {5, 4, 3, 2, 1}),
        (4, {4, 2, 1}),
        (3, {3, 2, 1}),
        (2, {2}),
        (1, {1}),
    ],
)
def test_what_a_side_output_says_reaches_the_shallower_ones_it_is_connected_with(small, side, reached):
    image, bias = photos(), small.get_layer(f"side{side}_score").bias
    before = small(image).numpy()
    bias.assign_add([1.0])
    changed = np.abs(small(image).numpy() - before).max((0, 1, 2)) > 1e-3
    bias.assign_add([-1.0])
    assert {number for number in range(1, 7) if changed[number - 1]} == reached
    assert changed[6], "the fused output takes all"


def test_the_fused_output_begins_as_the_mean_of_the_sides(small):
    logits = small(photos()).numpy()
    np.testing.assert_allclose(logits[..., 6], logits[..., :6].mean(-1), atol=1e-5)


def test_the_answer_is_the_mean_of_sides_2_3_4_and_the_fused_output():
    logits = np.random.default_rng(1).normal(size=(2, 3, 3, 7)).astype("float32")
    chosen = 1 / (1 + np.exp(-logits[..., [1, 2, 3, 6]]))
    np.testing.assert_allclose(dss.saliency(logits), chosen.mean(-1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
@pytest.mark.parametrize("output_stride", [8, 32])
def test_it_stands_on_our_backbones(name, output_stride):
    backbone = ours(name, output_stride)
    network = dss.build_dss(backbone, SIZE, width=0.0625)
    assert network(photos()).shape == (2, SIZE, SIZE, 7)
    assert backbone(photos())["c1"].shape[1:3] == (SIZE // 2, SIZE // 2)
    assert network.get_layer("backbone").weights


def test_stages_of_vgg16_can_be_frozen():
    network = vgg.build_vgg16()
    freeze(network, 1)
    assert [layer.name for layer in network.layers if layer.weights and not layer.trainable] == list(vgg.STEM)
    freeze(network, 4)
    assert {v.path.split("/")[0] for v in network.trainable_variables} == {
        f"block5_conv{i}" for i in (1, 2, 3)
    }
