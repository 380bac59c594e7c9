"""What tf-slim itself wrote to a checkpoint gives its output to 1e-5, and begins the five channels."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from slim import SlimNetwork, image, make_slim

from cmask_tf import config
from cmask_tf.errors import UserError
from cmask_tf.models import slim_checkpoint
from cmask_tf.models.inception_v2 import build_inception_v2
from cmask_tf.models.segmentation import build_segmentation
from cmask_tf.models.slim_checkpoint import load_slim_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:`layer.apply` is deprecated")  # by tf-slim

SIZE = (97, 150)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> tuple[SlimNetwork, dict[str, str]]:
    """tf-slim's network and its weights in both formats, the published one ("v1") and the newer."""
    folder = tmp_path_factory.mktemp("slim")
    versions = {"v1": tf.compat.v1.train.SaverDef.V1, "v2": tf.compat.v1.train.SaverDef.V2}
    paths = {name: str(folder / name / "inception_v2.ckpt") for name in versions}
    for path in paths.values():
        Path(path).parent.mkdir()

    def save(session):
        for name, version in versions.items():
            tf.compat.v1.train.Saver(write_version=version).save(
                session, paths[name], write_meta_graph=False, write_state=False
            )

    return make_slim([SIZE], save), paths


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_three_channels_equal_tf_slims_network(checkpoints, version):
    slim, paths = checkpoints
    model = build_inception_v2(input_channels=3, output_stride=32)
    load_slim_checkpoint(model, paths[version])
    expected = slim.outputs[SIZE][1]
    np.testing.assert_allclose(model(image(SIZE)), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_without_attention_five_channels_equal_tf_slims_network(checkpoints):
    slim, paths = checkpoints
    model = build_inception_v2(output_stride=32)
    load_slim_checkpoint(model, paths["v2"])
    blank = np.concatenate([image(SIZE), np.zeros((1, *SIZE, 2), "float32")], axis=-1)
    expected = slim.outputs[SIZE][1]
    np.testing.assert_allclose(model(blank), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_attention_says_nothing_at_first_and_is_learnt_from_the_first_step(checkpoints):
    model = build_inception_v2()
    load_slim_checkpoint(model, checkpoints[1]["v2"])
    photo = image((64, 64))
    attention = np.random.default_rng(0).uniform(0, 1, (1, 64, 64, 2)).astype("float32")
    blank, full = (np.concatenate([photo, x], axis=-1) for x in (0 * attention, attention))
    np.testing.assert_allclose(model(blank), model(full), rtol=0, atol=1e-6)
    first = model.get_layer("Conv2d_1a_7x7")
    colours = first.depthwise_kernel.numpy()[:, :, :3].mean(2)
    for channel in (3, 4):
        np.testing.assert_allclose(first.depthwise_kernel.numpy()[:, :, channel], colours, rtol=1e-6)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(full)[..., :7])
    gradient = tape.gradient(loss, first.pointwise_kernel.value).numpy()[0, 0]
    assert np.abs(gradient[24:]).max() > 1e-3 * np.abs(gradient[:24]).max() > 0


def test_the_papers_segmentation_network_starts_from_it(checkpoints):
    slim, paths = checkpoints
    settings = config.Segmentation(size=64, units=1, growth=8, weights=paths["v1"])
    _, decoder = build_segmentation(settings)
    inside = decoder.get_layer("high_level").get_layer("Mixed_4c_Branch_1_Conv2d_0b_3x3").kernel
    stored = slim.values["InceptionV2/Mixed_4c/Branch_1/Conv2d_0b_3x3/weights"]
    np.testing.assert_array_equal(inside, stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x | {"InceptionV2/Mixed_3b/Branch_0/Conv2d_0a_1x1/weights": None},
         r"broken: InceptionV2/Mixed_3b/Branch_0/Conv2d_0a_1x1/weights: not in the checkpoint; "
         r"expected \[1, 1, 192, 64\]"),
        (lambda x: x | {"InceptionV2/Conv2d_2b_1x1/BatchNorm/beta": np.zeros(7)},
         r"broken: InceptionV2/Conv2d_2b_1x1/BatchNorm/beta: has shape \[7\]; expected \[64\]"),
        (lambda x: {"w": np.zeros(3)}, "Conv2d_1a_7x7/depthwise_weights: not in the checkpoint"),
    ],
)  # fmt: skip
def test_another_checkpoint_is_one_line_and_changes_nothing(checkpoints, tmp_path, change, message):
    path = str(tmp_path / "broken")
    values = {name: v for name, v in change(checkpoints[0].values).items() if v is not None}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [tf.compat.v1.get_variable(n, initializer=tf.zeros(v.shape)) for n, v in values.items()]
        session.run([v.initializer for v in variables])
        tf.compat.v1.train.Saver().save(session, path, write_meta_graph=False, write_state=False)
    model = build_inception_v2()
    before = model.get_weights()
    with pytest.raises(UserError, match=message) as caught:
        load_slim_checkpoint(model, path)
    assert "\n" not in str(caught.value)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_file_of_another_kind_and_none_at_all(tmp_path):
    model = build_inception_v2(width=0.125)
    with pytest.raises(UserError, match="nowhere.ckpt: no such checkpoint"):
        load_slim_checkpoint(model, str(tmp_path / "nowhere.ckpt"))
    (tmp_path / "photo.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="photo.ckpt: expected a checkpoint of tf-slim") as caught:
        load_slim_checkpoint(model, str(tmp_path / "photo.ckpt"))
    assert "\n" not in str(caught.value)


def test_the_files_of_either_format(checkpoints):
    v1, v2 = (slim_checkpoint.files(checkpoints[1][version]) for version in ("v1", "v2"))
    assert [f.name for f in v1] == ["inception_v2.ckpt"]
    assert [f.name for f in v2] == ["inception_v2.ckpt.data-00000-of-00001"]
