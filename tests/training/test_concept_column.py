"""A column from few photos: the loss against the paper's equations, recovery, what cross validation sees."""

import numpy as np
import pytest
import reference
from scipy.optimize import check_grad

from cmask_tf.training import concept_column
from cmask_tf.training.concept_column import STRENGTHS, Anchor, Examples

F = 6


def planted(photos: int, seed: int = 0, places=(30, 50)):
    """Hidden maps at two scales and G by a known column; every third photo does not show the concept."""
    rng = np.random.default_rng(seed)
    column = np.append([2.0, -1.0, 0.0, 1.5, -2.0, 0.5], -0.4)
    hidden = [np.maximum(rng.normal(size=(photos, p, F)), 0).astype(np.float32) for p in places]
    targets = []
    for maps in hidden:
        truth = (maps @ column[:-1] + column[-1] > 0).astype(np.float32)
        truth[::3] = 0
        maps[::3, :, 0] = 0  # the places that the column would find are not in those photos
        maps[::3, :, 3] = 0
        targets.append(truth)
    return Examples(hidden, targets), column


def anchor(name="p", seed=1):
    rng = np.random.default_rng(seed)
    return Anchor(name, rng.normal(size=F).astype(np.float32), 0.3)


def loss_by_hand(column, examples, near, strength, dice_weight):
    scales = []
    for hidden, targets in zip(examples.hidden, examples.targets, strict=True):
        entropies, dices = [], []
        for maps, truth in zip(hidden, targets, strict=True):
            logits = maps @ column[:-1] + column[-1]
            entropies.append(np.mean(reference.sigmoid_cross_entropy(truth, logits)))
            if truth.any():
                dices.append(reference.soft_dice(1 / (1 + np.exp(-logits)), truth))
        scales.append(np.mean(entropies) + dice_weight * np.mean(dices))
    square = np.mean([np.mean(hidden**2) for hidden in examples.hidden])
    pull = square * np.sum((column[:-1] - near.weights) ** 2)
    pull += (column[-1] - near.bias) ** 2 if near.name else 0
    return np.mean(scales) + strength / 2 * pull


@pytest.mark.parametrize("name", ["p", None])
def test_the_loss_is_stage_twos_with_a_pull(name):
    examples, _ = planted(7)
    column = np.random.default_rng(5).normal(size=F + 1)
    given = examples, anchor(name), 0.7, 0.5
    found, _ = concept_column.loss(column, *given)
    assert found == pytest.approx(loss_by_hand(column, *given), rel=1e-5)


@pytest.mark.parametrize("dice_weight", [0.0, 0.5])
@pytest.mark.parametrize("name", ["p", None])
def test_the_gradient_is_that_of_the_loss(name, dice_weight):
    examples, _ = planted(7)
    examples = Examples([h.astype(np.float64) for h in examples.hidden], examples.targets)
    near = Anchor(name, anchor().weights, 0.3)
    column = np.random.default_rng(5).normal(size=F + 1)
    apart = [concept_column.loss, concept_column.loss]
    value, slope = (lambda c, i=i: apart[i](c, examples, near, 0.7, dice_weight)[i] for i in (0, 1))
    assert check_grad(value, slope, column, epsilon=1e-6) < 1e-5


def test_photos_without_the_concept_alone_have_a_loss_too():
    examples, _ = planted(6)
    value, slope = concept_column.loss(np.zeros(F + 1), examples.some([0, 3]), anchor(None), 0.0, 0.5)
    assert value == pytest.approx(np.log(2)) and np.isfinite(slope).all()


def test_a_planted_column_is_recovered():
    examples, column = planted(30)
    near = Anchor.zero(examples)
    weak = concept_column.path(examples, near, 0.5)[-1]
    cosine = weak[:-1] @ column[:-1] / np.linalg.norm(weak[:-1]) / np.linalg.norm(column[:-1])
    assert cosine > 0.97
    unseen, _ = planted(9, seed=8)
    for hidden, truth in zip(unseen.hidden, unseen.targets, strict=True):
        assert np.mean((hidden @ weak[:-1] + weak[-1] > 0) == (truth > 0)) > 0.92  # still pulled a little


def test_the_stronger_the_pull_the_nearer_the_column_stays():
    examples, _ = planted(9)
    near = anchor()
    away = concept_column.path(examples, near, 0.5) - np.append(near.weights, near.bias)
    distance = np.linalg.norm(away, axis=1)
    assert (np.diff(distance) > 0).all() and distance[0] < 0.1 * distance[-1]


def test_candidates_and_their_columns_are_in_one_order_and_the_first_is_the_neighbours_own():
    examples, _ = planted(6)
    anchors = [anchor(), Anchor.zero(examples)]
    pulls, columns = concept_column.candidates(anchors), concept_column.columns(examples, anchors, 0.5)
    assert len(pulls) == len(columns) == 1 + 2 * len(STRENGTHS)
    assert pulls[0] == (anchors[0], np.inf) and pulls[-1][1] == STRENGTHS[-1]
    np.testing.assert_array_equal(columns[0], np.append(anchors[0].weights, np.float32(0.3)))
    np.testing.assert_array_equal(
        columns[1 : 1 + len(STRENGTHS)], concept_column.path(examples, anchors[0], 0.5)
    )
    np.testing.assert_array_equal(
        columns[1 + len(STRENGTHS) :], concept_column.path(examples, anchors[1], 0.5)
    )


def test_the_same_photos_give_the_same_column():
    first, second = (concept_column.path(planted(9)[0], anchor(), 0.5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_every_fold_has_photos_of_both_kinds():
    shows = np.array([True] * 7 + [False] * 6)
    dealt = concept_column.folds(shows, 3)
    for kind in (True, False):
        sizes = np.bincount(dealt[shows == kind])
        assert len(sizes) == 3 and sizes.max() - sizes.min() <= 1


def test_zero_starts_at_the_share_of_places_that_show_the_concept():
    examples, _ = planted(6)
    share = np.mean([t.mean() for t in examples.targets])
    assert 1 / (1 + np.exp(-Anchor.zero(examples).bias)) == pytest.approx(share)
