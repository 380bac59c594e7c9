"""Siblings: what the maps of concepts that lie elsewhere say in a concept's own region."""

import dataclasses
import json

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as rle
from segmenter_fixture import CONCEPTS, WORDS, photo, smallest_config, smallest_vocabulary

from cmask_tf import model_directory
from cmask_tf.data import schema
from cmask_tf.data.records import Summary
from cmask_tf.data.sources import Annotated, Object
from cmask_tf.evaluation.coarse import coarse_scores, correlation, kept_scores
from cmask_tf.evaluation.siblings import Siblings, sibling_scores

PARTS = ("backbone", "embedding", "refinement")
CUP, MUG, TABLE = range(3)
GAMMA = np.array([[0, 0.9, 0], [0.8, 0, 0], [0, 0, 0]])  # cup and mug are siblings, the table has none
HALF = np.repeat([[True, False]], 4, axis=0).repeat(4, axis=1)  # the left half, [4, 8]
MAPS = np.array([[[0.8, 0.1]], [[0.2, 0.6]], [[1.0, 1.0]]])  # one row of two cells


def means(maps, *photos, gamma=GAMMA):
    siblings = Siblings(gamma)
    for masks in photos:
        siblings.add(np.asarray(maps), masks)
    return siblings.means()


def test_two_siblings_by_hand():
    """The cup is left and its map says so; the mug's map says .2 there. The table is nobody's sibling."""
    assert means(MAPS, {CUP: HALF, TABLE: ~HALF}) == pytest.approx({"own": 0.8, "leak": 0.2, "confused": 0})
    # A mug on both sides: its map loses to the cup's in one half.
    expected = {"own": 0.4, "leak": 0.45, "confused": 0.5}
    assert means(MAPS, {MUG: np.ones((4, 8), bool)}) == pytest.approx(expected)


def test_places_that_are_a_siblings_too_do_not_count():
    everywhere = np.ones((4, 8), bool)
    found = means(MAPS, {CUP: everywhere, MUG: ~HALF})
    cup, mug = (0.8, 0.2, 0), (np.nan, np.nan, np.nan)  # the cup keeps its half; nothing is left of the mug
    assert tuple(found.values()) == pytest.approx(np.nanmean([cup, mug], axis=0))


def test_photos_are_averaged_before_concepts():
    found = means(MAPS, {CUP: HALF}, {CUP: ~HALF}, {MUG: ~HALF})
    assert found["own"] == pytest.approx(((0.8 + 0.1) / 2 + 0.6) / 2)
    assert found["confused"] == pytest.approx(((0 + 1) / 2 + 0) / 2)


def test_nobody_with_siblings_gives_no_measure():
    assert means(MAPS, {TABLE: HALF}, {}) == {}


def test_several_siblings_leak_by_their_mean_and_confuse_by_their_best():
    gamma = np.ones((3, 3)) - np.eye(3)
    found = means(MAPS, {CUP: HALF}, gamma=gamma)
    assert found == pytest.approx({"own": 0.8, "leak": 0.6, "confused": 1.0})


def test_regions_weigh_by_their_share_of_each_cell():
    """Against maps at the masks' own size, every cell repeated."""
    rng = np.random.default_rng(0)
    maps, masks = rng.random((2, 3, 5)), rng.random((2, 24, 30)) < 0.4
    gamma = [[0, 1], [1, 0]]
    full = maps.repeat(8, axis=1).repeat(6, axis=2)
    rows = []
    for i, j in ((0, 1), (1, 0)):
        region = masks[i] & ~masks[j]
        own, other = full[i][region], full[j][region]
        rows.append((own.mean(), other.mean(), (other > own).mean()))
    found = means(maps, dict(enumerate(masks)), gamma=gamma)
    np.testing.assert_allclose(list(found.values()), np.mean(rows, axis=0), rtol=1e-5)


def write_records(folder, photos):
    """A record set of these photos, [(objects, image uint8)]."""
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "records-00000-of-00001.tfrecord")) as writer:
        for number, (objects, image) in enumerate(photos):
            png = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
            about = Annotated(folder, str(number), *image.shape[:2], tuple(objects), ())
            writer.write(schema.encode(about, png))
    summary = Summary("test", len(photos), "mask", {}, {}, ["records-00000-of-00001.tfrecord"])
    (folder / "dataset.json").write_text(json.dumps(dataclasses.asdict(summary)))


def box(name, *sides):
    return Object(name, sides)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Stage 1's and Stage 2's model directories with random weights, and records of boxes and masks."""
    folder = tmp_path_factory.mktemp("siblings")
    rng, photos = np.random.default_rng(0), []
    for number in range(6):
        masks = {}
        for name in ("dress", "bag", "hair", "street", "cape"):
            top, left = rng.integers(0, 30), rng.integers(0, 20)
            masks[name] = np.zeros((60, 45), np.uint8)
            masks[name][top : top + 25, left : left + 20] = 1
        objects = [Object(n, None, rle.encode(np.asfortranarray(m))) for n, m in masks.items()]
        photos.append((objects, photo(60, 45, number)))
    write_records(folder / "val", photos)
    apart = [box("dress", 0, 0, 0.4, 1), box("bag", 0.6, 0, 1, 1), box("hair", 0.5, 0, 1, 1)]
    write_records(folder / "boxes", [(apart, photo(20, 20))] * 5)
    config, vocabulary = smallest_config(), smallest_vocabulary()
    for seed, (name, parts) in enumerate({"first": PARTS[:2], "second": PARTS}.items()):
        keras.utils.set_random_seed(seed)
        networks = model_directory.build_parts(config, dim=3, trained=len(CONCEPTS), names=parts)
        model_directory.save(folder / name, config, vocabulary, CONCEPTS, networks)
    return folder


def test_a_model_directory_is_measured_with_its_own_siblings(world):
    found = sibling_scores(world / "second", world)
    assert set(found) == {"own", "leak", "confused"}
    assert 0.2 < found["own"] < 0.8 and 0.2 < found["leak"] < 0.8  # random weights: near one half
    assert 0 < found["confused"] <= 1


def test_coarse_maps_are_scored_at_every_level_the_untrained_words_too(world):
    found = coarse_scores(world / "first", world)
    assert set(found) == {
        f"{m}_{level}" for m in ("pointing_game", "soft_iou") for level in ("mask", "box", "image", "zero")
    }
    assert WORDS[-2] == "cape" and all(0 <= value <= 1 for value in found.values())


def test_a_network_that_stayed_as_it_was_keeps_all(world):
    assert kept_scores(world / "second", world / "second", world)["coarse"] == pytest.approx(1)
    found = kept_scores(world / "first", world / "second", world)
    assert set(found) == {"coarse", "refined"} and abs(found["coarse"]) < 0.9


def test_correlation_is_pearsons_and_0_for_a_constant():
    a, b = np.random.default_rng(0).normal(size=(2, 4, 5))
    assert correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert correlation(a, 3 - 2 * a) == pytest.approx(-1)
    assert correlation(a, np.full_like(a, 0.1)) == 0
