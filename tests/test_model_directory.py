"""The model directory: written whole or not at all, checked without TensorFlow."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from segmenter_fixture import (
    CONCEPTS,
    MIXING,
    THRESHOLDS,
    photo,
    smallest_config,
    smallest_model,
    smallest_parts,
    smallest_vocabulary,
)

from cmask_tf import model_directory, presets
from cmask_tf.errors import UserError
from cmask_tf.models.precision import precision
from cmask_tf.segmenter import ConceptSegmenter


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return smallest_model(tmp_path_factory.getbasetemp() / "smallest-model")


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model, tmp_path / "copy")


def test_everything_comes_back(model):
    assert model_directory.load_config(model) == smallest_config()
    assert model_directory.load_concepts(model) == CONCEPTS
    assert model_directory.load_vocabulary(model).names == smallest_vocabulary().names
    assert model_directory.load_json(model / "mixing.json") == MIXING
    assert model_directory.load_json(model / "thresholds.json") == THRESHOLDS
    assert model_directory.load_provenance(model) == {"seed": 0}
    expected = smallest_parts(smallest_config())  # the same seed
    parts = model_directory.load_parts(model)
    assert tuple(parts) == (*model_directory.PARTS, "verification", "verification_words")
    for name, part in parts.items():
        assert len(part.weights) == len(expected[name].weights)
        for one, other in zip(part.weights, expected[name].weights, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.parametrize("inference", [False, True])
def test_copies_are_the_same_networks_in_the_precision_of_here_and_now(inference, model):
    parts = model_directory.load_parts(model, inference=inference)
    with precision("mixed_bfloat16"):
        copies = model_directory.copies(smallest_config(), parts)
    assert copies["backbone"].compute_dtype == "bfloat16"
    for name, part in parts.items():
        assert copies[name].trainable is not inference
        for one, other in zip(part.get_weights(), copies[name].get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_model_trained_in_half_precision_is_served_in_float32(model, tmp_path):
    half = dataclasses.replace(smallest_config(), precision="mixed_float16")
    with precision(half.precision):
        parts = model_directory.load_parts(model)
    assert {part.compute_dtype for part in parts.values()} == {"float16"}
    saved = tmp_path / "half"
    model_directory.save(saved, half, smallest_vocabulary(), CONCEPTS, parts)
    (saved / "mixing.json").write_text(json.dumps(MIXING))
    (saved / "thresholds.json").write_text(json.dumps(THRESHOLDS))
    (saved / "provenance.json").write_text("{}")
    segmenters = [ConceptSegmenter.load(directory) for directory in (saved, model)]
    masks = [s.segment(["dress"], s.encode(photo())).masks for s in segmenters]
    np.testing.assert_array_equal(*masks)


def test_a_disk_without_room_for_the_weights_is_told_before_any_is_written(copy, tmp_path, monkeypatch):
    parts = smallest_parts(smallest_config())
    written = sum(file.stat().st_size for file in copy.glob("*.weights.h5"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=written))
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"out.partial: the weights take \d+ MB, \d+ MB of the disk are free"):
        model_directory.save(out, smallest_config(), smallest_vocabulary(), CONCEPTS, parts)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_copies_are_the_same_networks_in_the_precision_of_the_moment(model):
    with precision("mixed_bfloat16"):
        parts = model_directory.load_parts(model)
    copies = model_directory.copies(smallest_config(), parts)
    for name, part in copies.items():
        assert part.compute_dtype == "float32" and parts[name].compute_dtype == "bfloat16"
        for one, other in zip(part.get_weights(), parts[name].get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_stage_leaves_fewer_parts(model, tmp_path):
    parts = model_directory.load_parts(model, ("embedding",))
    assert list(parts) == ["embedding"]
    stage = tmp_path / "stage"
    model_directory.save(stage, smallest_config(), smallest_vocabulary(), CONCEPTS, parts)
    model_directory.check(stage, ("embedding",))
    assert sorted(p.name for p in stage.iterdir()) == [
        "concepts.json",
        "config.json",
        "embedding.weights.h5",
        "vocabulary",
    ]
    with pytest.raises(UserError, match=r"stage/backbone\.weights\.h5: missing"):
        model_directory.check(stage)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "concepts.json",
        "vocabulary/vectors.npy",
        "refinement.weights.h5",
        "mixing.json",
        "thresholds.json",
    ],
)
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"{name}: missing"):
        model_directory.check(copy)


def test_a_missing_directory_is_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="nowhere: no such model directory"):
        model_directory.check(tmp_path / "nowhere")
    monkeypatch.setattr(presets, "FOLDER", tmp_path / "none")  # a package without the default preset
    with pytest.raises(UserError, match="give --model DIR"):
        model_directory.locate(None)


def test_weights_of_another_network_are_named(copy):
    shutil.copy(copy / "embedding.weights.h5", copy / "refinement.weights.h5")
    with pytest.raises(UserError, match=r"refinement\.weights\.h5: not the weights"):
        model_directory.load_parts(copy, ("refinement",))


def test_a_broken_concepts_file_is_named(copy):
    (copy / "concepts.json").write_text(json.dumps([{"name": "dress", "level": "pixel"}]))
    with pytest.raises(UserError, match=r"concepts\.json: entry 0: expected a name and a level"):
        model_directory.load_concepts(copy)


class Failing:
    """A network whose weights cannot be written."""

    weights = ()

    def count_params(self):
        return 0

    def save_weights(self, path):
        path.write_text("half")
        raise OSError("disk full")


def test_a_failed_save_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError, match="disk full"):
        model_directory.save(
            tmp_path / "new", smallest_config(), smallest_vocabulary(), CONCEPTS, {"backbone": Failing()}
        )
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_model_that_was_there(copy):
    before = sorted(p.name for p in copy.iterdir())
    with pytest.raises(OSError, match="disk full"):
        model_directory.save(
            copy, smallest_config("paper"), smallest_vocabulary(), CONCEPTS, {"backbone": Failing()}
        )
    assert sorted(p.name for p in copy.iterdir()) == before
    assert model_directory.load_config(copy) == smallest_config()
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_a_save_replaces_an_older_model_wholly(copy):
    model_directory.save(copy, smallest_config("paper"), smallest_vocabulary(), CONCEPTS, {})
    assert sorted(p.name for p in copy.iterdir()) == ["concepts.json", "config.json", "vocabulary"]
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]


def test_a_save_refuses_to_replace_anything_else(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(UserError, match="not a model directory"):
        model_directory.save(tmp_path / "thesis", smallest_config(), smallest_vocabulary(), CONCEPTS, {})
    assert (tmp_path / "thesis" / "chapter1.tex").exists()


@pytest.mark.parametrize(
    ("concepts", "parts", "complaint"),
    [
        ([{"name": "zeppelin", "level": "box"}], {}, "zeppelin.*not in the vocabulary"),
        ([{"name": "dress", "level": "pixel"}], {}, "dress.*level"),
        (CONCEPTS, {"decoder": None}, "unknown part 'decoder'"),
    ],
)
def test_what_does_not_belong_is_refused_before_anything_is_written(tmp_path, concepts, parts, complaint):
    with pytest.raises(UserError, match=complaint):
        model_directory.save(tmp_path / "new", smallest_config(), smallest_vocabulary(), concepts, parts)
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_concepts_has_every_word_and_tells_untrained_ones_apart(model):
    vocabulary = model_directory.load_vocabulary(model)
    rows = {r["name"]: r for r in model_directory.describe_concepts(vocabulary, CONCEPTS)}
    assert len(rows) == 8
    assert rows["hair"] == {
        "name": "hair",
        "level": "box",
        "kind": "part",
        "count": int(vocabulary.counts[vocabulary.index("hair")]),
    }
    assert (rows["cape"]["level"], rows["cape"]["kind"]) == ("zero", "unknown")


def test_weights_that_lack_a_layer_are_refused_and_never_left_random(copy):
    import keras

    source = keras.Input((None, None, len(CONCEPTS)), name="coarse")
    hidden = keras.layers.Conv2D(8, 1, activation="relu", name="bottleneck")(source)
    keras.Model(source, hidden, name="refinement").save_weights(copy / "refinement.weights.h5")
    with pytest.raises(UserError, match=r"refinement\.weights\.h5: not the weights"):
        model_directory.load_parts(copy, ("refinement",))
