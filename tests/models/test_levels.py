"""A decoder that is given its attention level by level is the decoder that is given it at full size."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf import config, geometry
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.levels import split
from cmask_tf.models.segmentation import build_segmentation, encode


def build(design, size):
    keras.utils.set_random_seed(0)
    made = config.tiny(design).segmentation
    net = config.Backbone(name="efficientnet_lite0", width=0.125, depth=0.2, output_stride=16)
    small = dataclasses.replace(made, size=size, channels=8, low_level=4, units=1, growth=4)
    backbone = build_backbone(net)
    return backbone, *build_segmentation(small, backbone)


@pytest.mark.parametrize("size", [64, 50])
def test_equal_to_the_whole_decoder_and_a_photo_meets_many_concepts(size):
    """Also at a size that no stride divides."""
    backbone, encoder, decoder = build("lite", size)
    network, strides = split(decoder)
    assert len(strides) == 5
    rng = np.random.default_rng(3)
    square = tf.constant(rng.uniform(0, 255, (1, size, size, 3)), tf.float32)
    photo = encode(encoder, square, backbone(square), training=False)
    scales = [rng.random((3, n, n)).astype(np.float32) for n in (4, 6)]
    drawn = tf.concat([geometry.resize_maps(m[..., None], size, size) for m in scales], axis=-1)
    expected = decoder({**{k: tf.repeat(v, 3, 0) for k, v in photo.items()}, "attention": drawn})
    levels = dict(zip(strides, geometry.level_maps(scales, size, list(strides.values())), strict=True))
    got = network({**photo, **levels})
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert not network.trainable_variables


def test_a_decoder_that_concatenates_the_attention_stays_whole():
    *_, decoder = build("paper", 32)
    assert split(decoder) == (decoder, {})
