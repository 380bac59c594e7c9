"""Trained baselines as systems: what they answer, in whose words, and what is refused."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from segmenter_fixture import photo, smallest_config

from cmask_tf import geometry
from cmask_tf.errors import UserError
from cmask_tf.evaluation.baseline_networks import open_baseline
from cmask_tf.models.baselines import build_baseline
from cmask_tf.training import baseline_directory

CONCEPTS = [
    {"name": "dress", "level": "mask", "kind": "object", "spellings": ["dress", "dresses"]},
    {"name": "bag", "level": "mask", "kind": "object", "spellings": ["bag", "purse"]},
]
IMAGE = photo()


def save(directory, kind, config=None):
    config = config or smallest_config()
    keras.utils.set_random_seed(1)
    concepts = CONCEPTS if kind == "closed-set" else []
    network = build_baseline(kind, config, len(concepts))
    baseline_directory.save(directory, kind, config, concepts, network, {"minutes": 1.0})
    return network


@pytest.fixture(scope="module", params=["saliency", "closed-set"])
def baseline(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("baseline") / request.param
    return directory, save(directory, request.param)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def small_logits(network):
    return network(geometry.resize_image(tf.constant(IMAGE), 64)[None], training=False).numpy()[0]


def test_the_masks_are_the_network_s_at_the_photo_s_size(baseline):
    directory, network = baseline
    system, logits = open_baseline(directory), small_logits(network)
    names = ["dress", "bag"]
    found = list(system.predict(directory, IMAGE, names))
    assert [one.name for one in found] == names
    for plane, one in enumerate(found):
        if directory.name == "saliency":
            small = sigmoid(logits[..., [1, 2, 3, 6]]).mean(-1)
            assert one.score is None and one.present is None
        else:
            small = sigmoid(logits[..., plane])
            assert one.score == pytest.approx(small.max()) and one.present == (small.max() >= 0.5)
        full = geometry.resize_maps(small[..., None], *IMAGE.shape[:2]).numpy()[..., 0]
        np.testing.assert_allclose(one.probability, full, atol=1e-5)
        assert one.probability.shape == IMAGE.shape[:2] and one.attention is one.probability


def test_saliency_answers_anything_and_a_closed_set_its_own_by_any_spelling(baseline):
    system = open_baseline(baseline[0])
    closed = baseline[0].name == "closed-set"
    assert all(system.answers(name) for name in ("dress", "Purse", " dresses "))
    assert system.answers("hair") != closed
    purse, bag = system.predict(None, IMAGE, ["Purse", "bag"])
    assert purse.name == "Purse"
    np.testing.assert_array_equal(purse.probability, bag.probability)


def test_backbone_weights_that_a_training_began_with_are_not_needed_again(tmp_path):
    config = smallest_config()
    save(tmp_path / "out", "closed-set", config)
    elsewhere = dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, weights="gone.h5"))
    elsewhere.save(tmp_path / "out" / "config.json")
    assert open_baseline(tmp_path / "out").answers("dress")


def test_a_directory_that_is_no_baseline_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere/baseline.json: no such file; expected a baseline"):
        open_baseline(tmp_path / "nowhere")
    directory = tmp_path / "out"
    save(directory, "closed-set")
    (directory / "concepts.json").write_text(json.dumps([*CONCEPTS, {"name": "hat"}]))
    with pytest.raises(UserError, match="concepts.json: entry 2: expected a name and its spellings"):
        open_baseline(directory)
    (directory / "concepts.json").write_text(json.dumps(CONCEPTS[:1]))
    with pytest.raises(UserError, match="network.weights.h5: not the weights of this closed_set"):
        open_baseline(directory)
    (directory / "baseline.json").write_text('{"kind": "else"}')
    with pytest.raises(UserError, match="baseline.json: expected a kind of saliency, closed-set"):
        open_baseline(directory)
    (directory / "network.weights.h5").unlink()
    with pytest.raises(UserError, match="network.weights.h5: no such file"):
        open_baseline(directory)
