"""Semantic mIoU: all concepts at once, argmax."""

import numpy as np
import pytest

from cmask_tf.evaluation.semantic import Semantic

NAMES = ("sky", "sea", "sand")


def score(photos):
    """photos: (truths by name, [(name, probability, present)...]) of each."""
    semantic = Semantic(NAMES)
    for truths, answers in photos:
        semantic.start(answers[0][1].shape)
        for answer in answers:
            semantic.add(*answer)
        semantic.finish({name: np.array(mask, bool) for name, mask in truths.items()})
    return semantic.figures()


def row(*values):
    return np.array([values], np.float32)


def test_a_pixel_gets_the_most_probable_concept_and_none_below_a_half():
    truths = {"sky": [[1, 1, 0, 0]], "sea": [[0, 0, 1, 0]]}
    found = score(
        [(truths, [("sky", row(0.9, 0.6, 0.4, 0.0), None), ("sea", row(0.5, 0.7, 0.45, 0.2), None)])]
    )
    # Labels: sky, sea, nothing, nothing.
    assert found["iou"] == {"sky": 1 / 2, "sea": 0.0}
    assert (found["miou"], found["concepts"], found["ignored"]) == (1 / 4, 2, 0.0)


def test_a_probability_of_exactly_a_half_is_a_mask_and_the_first_of_equal_ones_wins():
    found = score([({"sky": [[1, 1]]}, [("sky", row(0.5, 0.8), None), ("sea", row(0.5, 0.8), None)])])
    assert found["iou"] == {"sky": 1.0}


def test_a_concept_that_is_not_found_present_labels_nothing():
    answers = [("sky", row(0.9, 0.9), False), ("sea", row(0.6, 0.1), True)]
    assert score([({"sea": [[1, 0]]}, answers)])["iou"] == {"sea": 1.0}


def test_one_pixel_changes_the_concept_that_loses_it_and_the_one_that_gets_it():
    truths = {"sky": [[1, 1, 0, 0]], "sea": [[0, 0, 1, 0]], "sand": [[0, 0, 0, 1]]}
    answers = [("sky", row(0.9, 0.6, 0, 0), None), ("sand", row(0, 0, 0, 0.9), None)]
    before = score([(truths, [*answers, ("sea", row(0, 0.5, 0.9, 0), None)])])["iou"]
    after = score([(truths, [*answers, ("sea", row(0, 0.7, 0.9, 0), None)])])["iou"]
    assert before == {"sky": 1.0, "sea": 1.0, "sand": 1.0}
    assert after == {"sky": 1 / 2, "sea": 1 / 2, "sand": 1.0}


def test_pixels_with_two_true_concepts_are_ignored_and_counted():
    truths = {"sky": [[1, 1, 0, 0]], "sea": [[0, 1, 1, 0]]}
    found = score([(truths, [("sky", row(1, 1, 0, 0), None), ("sea", row(0, 0, 1, 0), None)])])
    assert found["ignored"] == 1 / 4
    assert found["miou"] == 1.0


def test_concepts_that_the_system_does_not_answer_are_background():
    found = score([({"ship": [[1, 0]], "sky": [[0, 1]]}, [("sky", row(0.1, 0.9), None)])])
    assert found["iou"] == {"sky": 1.0}


def test_without_probabilities_there_is_no_figure():
    semantic = Semantic(NAMES)
    semantic.start((1, 2))
    semantic.finish({"sky": np.ones((1, 2), bool)})
    assert semantic.figures() is None


@pytest.mark.parametrize("seed", range(2))
def test_exclusive_labels_agree_with_keras(seed):
    import keras

    rng = np.random.default_rng(seed)
    ours, concepts = Semantic(NAMES), [1, 2, 3]
    theirs = keras.metrics.IoU(4, target_class_ids=concepts)
    for _ in range(4):
        shape = tuple(rng.integers(5, 12, 2))
        label = rng.integers(0, 4, shape)
        probabilities = rng.random((3, *shape), np.float32)
        predicted = np.where(probabilities.max(axis=0) >= 0.5, probabilities.argmax(axis=0) + 1, 0)
        theirs.update_state(label, predicted)
        ours.start(shape)
        for name, probability in zip(NAMES, probabilities, strict=True):
            ours.add(name, probability, True)
        ours.finish({name: label == k for k, name in enumerate(NAMES, 1)})
    found = ours.figures()
    assert found["ignored"] == 0
    assert found["miou"] == pytest.approx(float(theirs.result()), abs=1e-6)
