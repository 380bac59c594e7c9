"""Eqn. 3's overlap ratios and Eqn. 4's weights, by hand and against NumPy masks."""

import cv2
import numpy as np
import pytest
import reference
import tensorflow as tf

from cmask_tf.data import schema
from cmask_tf.data.sources import Annotated, Object
from cmask_tf.overlap import OverlapCounter, box_gamma, discrimination_weights

PERSON, FACE, BAG, CAR = range(4)


@pytest.fixture
def counter():
    """One image: a person (half the image), a face inside it, a bag of which a quarter touches the person."""
    counter = OverlapCounter(4)
    person, face, bag = (0.0, 0.0, 1.0, 0.5), (0.0, 0.1, 0.2, 0.3), (0.5, 0.45, 0.7, 0.65)
    counter.add([PERSON, FACE, BAG], [person, face, bag])
    return counter


def test_three_boxes_by_hand_and_not_symmetric(counter):
    overlap = counter.overlap_matrix()
    expected = np.array([[1.0, 0.08, 0.02], [1.0, 1.0, 0.0], [0.25, 0.0, 1.0]])
    np.testing.assert_allclose(overlap[:3, :3], expected, atol=1e-7)
    assert overlap[PERSON, FACE] != overlap[FACE, PERSON]


def test_pairs_never_seen_together_have_no_entry_and_no_weight(counter):
    counter.add([CAR], [(0, 0, 1, 1)])
    overlap = counter.overlap_matrix()
    assert np.isnan(overlap[CAR, :3]).all() and np.isnan(overlap[:3, CAR]).all()
    weights = discrimination_weights(overlap, counter.images, 1)
    assert not weights[CAR].any() and not weights[:, CAR].any()


def test_weights_of_eqn_4_by_hand(counter):
    weights = discrimination_weights(counter.overlap_matrix(), counter.images, 1)
    expected = np.array([[0, 0.92, 0.98], [0, 0, 1.0], [0.75, 1.0, 0]])
    np.testing.assert_allclose(weights[:3, :3], expected, atol=1e-6)


def test_weight_is_zero_from_an_overlap_of_one_half_up():
    overlap = np.array([[1, 0.4999, 0.5], [0.5001, 1, 0.0], [1.0, 0.25, 1]], np.float32)
    weights = discrimination_weights(overlap, np.full((3, 3), 9), 5)
    np.testing.assert_allclose(weights, [[0, 0.5001, 0], [0, 0, 1], [0, 0.75, 0]], atol=1e-6)


def test_rare_pairs_and_concepts_without_boxes_get_no_weight(counter):
    overlap, images = counter.overlap_matrix(), counter.images
    assert not discrimination_weights(overlap, images, 2).any()
    weights = discrimination_weights(overlap, images, 1, boxed=np.array([True, True, False, True]))
    assert weights[PERSON, FACE] > 0 and not weights[BAG].any() and not weights[:, BAG].any()


def test_counter_agrees_with_masks_on_images_of_many_boxes():
    rng, size, images, counter = np.random.default_rng(0), 20, [], OverlapCounter(5)
    for _ in range(12):
        concepts, masks = rng.integers(-1, 4, rng.integers(0, 7)), {}
        corners = np.sort(rng.integers(0, size, (len(concepts), 2, 2)), axis=1).reshape(-1, 4) + (0, 0, 1, 1)
        for concept, (y0, x0, y1, x1) in zip(concepts, corners, strict=True):
            if concept >= 0:
                masks.setdefault(concept, np.zeros((size, size), bool))[y0:y1, x0:x1] = True
        images.append(masks)
        counter.add(concepts, corners / size)
    overlap = counter.overlap_matrix()
    for i in range(5):
        for j in range(5):
            expected = reference.overlap_ratio(images, i, j)
            assert counter.images[i, j] == sum(i in m and j in m for m in images)
            assert np.isnan(overlap[i, j]) if expected is None else overlap[i, j] == pytest.approx(expected)
            if expected is not None and i != j:
                weight = discrimination_weights(overlap, counter.images, 1)[i, j]
                assert weight == pytest.approx(reference.gamma(expected), abs=1e-6)


def test_gamma_comes_from_the_boxes_without_crowds_and_strangers(tmp_path):
    """Half of the bag lies on the dress, a third of the dress under the bag; a crowd of hair is no hair."""
    objects = (
        Object("dress", (0, 0, 0.6, 1.0)),
        Object("bag", (0.4, 0, 0.8, 1.0)),
        Object("hair", (0, 0, 1, 1), crowd=True),
        Object("zeppelin", (0, 0, 1, 1)),
    )
    photo = cv2.imencode(".png", np.zeros((20, 20, 3), np.uint8))[1].tobytes()
    file = str(tmp_path / "boxes.tfrecord")
    with tf.io.TFRecordWriter(file) as writer:
        for number in range(3):
            writer.write(schema.encode(Annotated(tmp_path, str(number), 20, 20, objects, ()), photo))
    place = {"dress": 0, "dresses": 0, "bag": 1, "hair": 2}
    third = reference.gamma(1 / 3)
    np.testing.assert_allclose(box_gamma([file], place, 3), [[0, third, 0], [0, 0, 0], [0, 0, 0]], rtol=1e-5)
    assert not box_gamma([file], place, 4).any()
    assert box_gamma([file], {}, 3).shape == (0, 0)
