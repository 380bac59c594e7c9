"""Each loss against NumPy written from the paper, a case by hand, and the properties that the paper wants."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from cmask_tf import config, losses
from cmask_tf.training.optimizers import make_optimizers

LOG2 = np.log(2.0)


@pytest.fixture
def case():
    """Three images, 4x5 maps of 7 concepts: two, three and no annotated concepts; 2 and 5 never annotated."""
    rng = np.random.default_rng(1)
    concepts = np.array([[4, 0, -1], [1, 6, 3], [-1, -1, -1]], np.int32)
    gamma = rng.uniform(0.5, 1.0, (7, 7)) * (rng.uniform(size=(7, 7)) < 0.6)
    np.fill_diagonal(gamma, 0.0)
    gamma[:, 5] = gamma[5, :] = 0.0
    return {
        "logits": rng.normal(0, 2, (3, 4, 5, 7)).astype(np.float32),
        "original": rng.uniform(-1, 1, (3, 4, 5, 7)).astype(np.float32),
        "concepts": concepts,
        "targets": (rng.uniform(size=(3, 4, 5, 3)) < 0.4).astype(np.float32),
        "gamma": gamma.astype(np.float32),
    }


def given(case, *names):
    return [tf.constant(case[name]) for name in names]


def test_cosine_embedding_by_hand_and_against_numpy():
    e = np.array([[3, 0], [0, 2], [1, 1], [-1, 0], [1, 2]], np.float32)
    t = np.array([[5, 0], [7, 0], [1, 0], [4, 0], [0, 0]], np.float32)
    loss = losses.cosine_embedding(e, t)
    np.testing.assert_allclose(loss, [0, 1, 1 - np.sqrt(0.5), 2, 0], atol=1e-6)
    e, t = np.random.default_rng(0).normal(size=(2, 6, 9)).astype(np.float32)
    expected = map_rows(reference.cosine_loss, e, t)
    np.testing.assert_allclose(losses.cosine_embedding(e, t), expected, atol=1e-6)


def map_rows(function, *arrays):
    return [function(*rows) for rows in zip(*arrays, strict=True)]


def test_annotated_by_hand():
    logits = np.zeros((1, 1, 2, 3), np.float32)
    logits[0, 0, :, 1] = [np.log(3), np.log(3)]  # sigmoid 0.75
    targets = np.array([[[[1], [0]]]], np.float32)
    loss = losses.annotated(logits, np.array([[1]], np.int32), targets)
    np.testing.assert_allclose(loss, [-(np.log(0.75) + np.log(0.25)) / 2], rtol=1e-6)


def test_annotated_and_dice_against_numpy(case):
    inputs = given(case, "logits", "concepts", "targets")
    expected = map_rows(reference.annotated_term, case["logits"], case["concepts"], case["targets"])
    np.testing.assert_allclose(losses.annotated(*inputs), expected, rtol=1e-5)
    np.testing.assert_allclose(losses.dice(*inputs), [dice_mean(case, b) for b in range(3)], rtol=1e-5)


def dice_mean(case, b):
    p, ids = 1 / (1 + np.exp(-case["logits"][b])), case["concepts"][b]
    terms = [reference.soft_dice(p[..., k], case["targets"][b, ..., a]) for a, k in enumerate(ids) if k >= 0]
    return np.mean(terms) if terms else 0.0


def test_huge_logits_stay_finite():
    logits = np.full((1, 1, 1, 2), 1e4, np.float32) * np.array([1, -1], np.float32)
    targets = np.array([[[[0, 1]]]], np.float32)
    both = np.array([[0, 1]], np.int32)
    np.testing.assert_allclose(losses.annotated(logits, both, targets), [1e4])
    gamma = np.array([[0, 1], [1, 0]], np.float32)
    assert np.isfinite(losses.spatial_discrimination(logits, both, targets, gamma, False)).all()


@pytest.mark.parametrize("n", [1, 3, 800])
def test_matching_against_numpy(case, n):
    inputs = given(case, "logits", "original", "concepts")
    rows = case["logits"], case["original"], case["concepts"]
    expected = map_rows(lambda *r: reference.matching_term(*r, n, 0.2)[0], *rows)
    np.testing.assert_allclose(losses.matching(*inputs, n, 0.2), expected, rtol=1e-5)
    allowed = np.random.default_rng(3).uniform(size=(3, 7)) < 0.5
    expected = map_rows(lambda *r: reference.matching_term(*r[:3], n, 0.2, r[3])[0], *rows, allowed)
    np.testing.assert_allclose(losses.matching(*inputs, n, 0.2, allowed), expected, rtol=1e-5)


def test_matching_by_hand():
    original = np.array([[[[0.9, 0.3, 0.1], [0.9, 0.1, 0.1]]]], np.float32)
    logits = np.zeros((1, 1, 2, 3), np.float32)
    logits[0, 0, :, 1] = np.log(3)  # B is 1, 0; concept 0 is annotated, concept 2 is below concept 1
    loss = losses.matching(logits, original, np.array([[0]], np.int32), 1, 0.2)
    np.testing.assert_allclose(loss, [-(np.log(0.75) + np.log(0.25)) / 2], rtol=1e-6)


def test_exactly_n_maps_enter_chosen_by_their_maximum(case):
    logits, original, concepts = given(case, "logits", "original", "concepts")
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.matching(logits, original, concepts, 3, 0.2)
    touched = np.any(tape.gradient(loss, logits).numpy() != 0, axis=(1, 2))
    for b in range(3):
        free = set(range(7)) - set(case["concepts"][b])
        highest = sorted(free, key=lambda k: case["original"][b, ..., k].max())[-3:]
        assert set(np.flatnonzero(touched[b])) == set(highest)


def test_no_gradient_reaches_the_frozen_originals(case):
    logits, original, concepts = given(case, "logits", "original", "concepts")
    with tf.GradientTape() as tape:
        tape.watch([logits, original])
        loss = losses.matching(logits, original, concepts, 3, 0.2)
    to_logits, to_original = tape.gradient(loss, [logits, original])
    assert to_original is None and np.abs(to_logits).max() > 0


@pytest.mark.parametrize("keep_positives", [False, True])
def test_spatial_discrimination_against_numpy(case, keep_positives):
    inputs = given(case, "logits", "concepts", "targets", "gamma")
    rows = case["logits"], case["concepts"], case["targets"]
    expected = map_rows(lambda *r: reference.discrimination_term(*r, case["gamma"], keep_positives), *rows)
    np.testing.assert_allclose(losses.spatial_discrimination(*inputs, keep_positives), expected, rtol=1e-5)
    boxed = np.array([6, 0, 1, 3, 4, 2], np.int32)  # all that have a weight, renumbered
    inputs[3] = case["gamma"][np.ix_(boxed, boxed)]
    compact = losses.spatial_discrimination(*inputs, keep_positives, boxed)
    np.testing.assert_allclose(compact, expected, rtol=1e-5)


def two_concepts(logit_j):
    """Concept 0 is true on the left half, concept 1 (gamma_01 = 0.8) on one cell of it; 2x2 locations."""
    logits = np.zeros((1, 2, 2, 2), np.float32)
    logits[..., 1] = logit_j
    targets = np.zeros((1, 2, 2, 2), np.float32)
    targets[0, :, 0, 0] = 1
    targets[0, 0, 0, 1] = 1
    return logits, np.array([[0, 1]], np.int32), targets, np.array([[0, 0.8], [0, 0]], np.float32)


def test_spatial_discrimination_by_hand():
    logits, *rest = two_concepts([[np.log(3), 9], [0, 9]])  # softplus: log 4 where both are true, log 2 below
    literal = losses.spatial_discrimination(logits, *rest, keep_positives=False)
    np.testing.assert_allclose(literal, [0.8 * (2 * LOG2 + LOG2) / 2 / 2], rtol=1e-6)
    kept = losses.spatial_discrimination(logits, *rest, keep_positives=True)
    np.testing.assert_allclose(kept, [0.8 * LOG2 / 2], rtol=1e-6)


def test_loss_falls_when_concept_j_fades_where_i_is_true_and_only_there():
    def loss(logit_j):
        return float(losses.spatial_discrimination(*two_concepts(logit_j), keep_positives=False)[0])

    assert loss([[2, 2], [2, 2]]) > loss([[2, 2], [1, 2]]) > loss([[1, 2], [1, 2]])
    assert loss([[2, 2], [2, 2]]) == loss([[2, -5], [2, -5]])


def test_mask_loss_and_dice_by_hand_and_without_crowd_pixels():
    logits = np.array([0, np.log(3), 50, 0], np.float32).reshape(1, 2, 2, 1)
    mask = np.array([1, 0, 0, 0], np.float32).reshape(1, 2, 2, 1)
    weight = np.array([1, 1, 0, 0], np.float32).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(losses.mask_loss(logits, mask, weight), [(LOG2 - np.log(0.25)) / 2], rtol=1e-6)
    np.testing.assert_allclose(losses.mask_dice(logits, mask, weight), [1 - 2.0 / 3.25], rtol=1e-6)
    np.testing.assert_array_equal(losses.mask_loss(logits, mask, 0 * weight), [0.0])


def test_mask_loss_and_dice_against_numpy():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(3, 6, 6, 1)).astype(np.float32)
    mask, weight = (rng.uniform(size=(2, 3, 6, 6, 1)) < 0.5).astype(np.float32)
    expected = map_rows(reference.mask_cross_entropy, logits, mask, weight)
    np.testing.assert_allclose(losses.mask_loss(logits, mask, weight), expected, rtol=1e-5)
    expected = map_rows(reference.soft_dice, weight / (1 + np.exp(-logits)), weight * mask)
    np.testing.assert_allclose(losses.mask_dice(logits, mask, weight), expected, rtol=1e-5)


def test_box_projection_against_numpy():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(3, 6, 6, 1)).astype(np.float32)
    boxes = np.zeros_like(logits)
    boxes[0, 1:4, 2:5], boxes[1, :2, :3], boxes[1, 4:, 4:] = 1, 1, 1  # one box, two boxes, none
    expected = map_rows(reference.box_projection, logits, boxes)
    np.testing.assert_allclose(losses.box_projection(logits, boxes), expected, rtol=1e-5)


def test_a_mask_that_touches_all_sides_of_its_box_and_stays_inside_is_right():
    box = np.zeros((1, 8, 8, 1), np.float32)
    box[0, 2:6, 1:7] = 1

    def loss(mask):
        return float(losses.box_projection(100 * mask[None, ..., None] - 50.0, box)[0])

    full = box[0, ..., 0]
    cross = full * ((np.arange(8) == 3)[:, None] | (np.arange(8) == 2))
    assert loss(full) < 1e-4 and loss(cross) < 1e-4  # what is inside is left to the concepts with masks
    assert loss(full * (np.arange(8) < 5)) > 0.1  # two columns stay empty
    outside = full.copy()
    outside[0, 0] = 1
    assert loss(outside) > 0.5


def test_padding_never_contributes_and_an_example_without_concepts_has_loss_zero(case):
    def all_losses(concepts, targets):
        few = tf.constant(case["logits"]), tf.constant(concepts), tf.constant(targets)
        return np.stack(
            [
                losses.annotated(*few),
                losses.dice(*few),
                losses.spatial_discrimination(*few, case["gamma"], True),
                losses.spatial_discrimination(*few, case["gamma"], False),
                losses.matching(few[0], case["original"], few[1], 2, 0.2),
            ]
        )

    plain = all_losses(case["concepts"], case["targets"])
    assert not plain[:4, 2].any() and plain[:, :2].all()
    wider = np.pad(case["concepts"], ((0, 0), (1, 2)), constant_values=-1)
    junk = np.pad(case["targets"], ((0, 0), (0, 0), (0, 0), (1, 2)), constant_values=1.0)
    np.testing.assert_allclose(all_losses(wider, junk), plain, rtol=1e-6)
    junk = np.where(case["concepts"][:, None, None, :] < 0, 1.0, case["targets"]).astype(np.float32)
    np.testing.assert_allclose(all_losses(case["concepts"], junk), plain, rtol=1e-6)


def image_level_fall(epsilon):
    """By how much 100 steps of Eqn. 2 at c = 1e-6 lower the matching loss of two image-level concepts."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(-0.5, 0.9, (4, 5, 5, 4)).astype(np.float32)
    concepts = np.tile(np.array([[0, 1]], np.int32), (4, 1))  # 0 and 1 have boxes, 2 and 3 are image-level
    targets = (coarse[..., :2] > 0.4).astype(np.float32)
    layer = keras.layers.Conv2D(4, 1, kernel_initializer="zeros")
    columns = keras.Sequential([keras.Input(coarse.shape[1:]), layer])
    schedule = config.RefinementTraining(learning_rate=0.2)
    optimizer = make_optimizers({"columns": columns}, schedule, 100)["others"]
    optimizer.epsilon = epsilon or optimizer.epsilon

    def match():
        return tf.reduce_mean(losses.matching(columns(coarse), coarse, concepts, 800, 0.2))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            boxes = tf.reduce_mean(losses.annotated(columns(coarse), concepts, targets))
            loss = boxes + schedule.matching_weight * match()
        gradients = tape.gradient(loss, columns.trainable_variables)
        optimizer.apply(gradients, columns.trainable_variables)

    before = match()
    for _ in range(100):
        step()
    return float(before - match())


def test_present_dice_is_the_mean_over_the_planes_that_show_something():
    """Of two planes with 2 of 4 pixels: half found (and one wrong) where both count, then an empty plane."""
    mask = np.zeros((3, 2, 2, 2), np.float32)
    mask[0, 0] = mask[1, 0, :, 0] = 1
    logits = np.full(mask.shape, -50.0, np.float32)
    logits[:2, :, 0, 0] = 50  # one right and one wrong pixel
    logits[0, 0, :, 1] = 50  # both right
    logits[1:, 1, 1, 1] = 50  # where nothing is to be found: cross entropy's task
    weight = np.ones_like(mask)
    np.testing.assert_allclose(losses.present_dice(logits, mask, weight), [0.2, 0.4, 0.0], atol=1e-6)
    weight[0, 1, 0, 0] = 0  # the wrong pixel is a crowd's
    np.testing.assert_allclose(losses.present_dice(logits, mask, weight), [0.125, 0.4, 0.0], atol=1e-6)


def test_mask_loss_of_several_planes_is_the_weighted_mean_over_all_of_them():
    logits = np.zeros((1, 2, 2, 2), np.float32)
    logits[..., 1] = 50
    weight = np.ones_like(logits)
    weight[0, 0, :, 1] = 0
    found = losses.mask_loss(logits, np.zeros_like(logits), weight)
    np.testing.assert_allclose(found, [(4 * LOG2 + 2 * 50) / 6], rtol=1e-5)


def test_image_level_columns_move_towards_the_originals_at_c_of_a_millionth():
    ours, keras_default = image_level_fall(None), image_level_fall(1e-7)
    assert 2 * LOG2 * 0.5 < ours  # more than half of the distance: two maps that start at log 2
    assert keras_default < 0.6 * ours
