"""4.1: inverse document frequency and the soft topic embedding."""

import math

import numpy as np
import reference

from cmask_tf.vocabulary.topics import idf, soft_topic


def test_idf_is_minus_log_p():
    values = idf(np.array([8, 4, 1]), 8)
    np.testing.assert_allclose(values, [0, math.log(2), math.log(8)], rtol=1e-6)
    assert values.dtype == np.float32 and not np.signbit(values[0])


def test_soft_topic_is_the_idf_weighted_sum_by_hand():
    vectors = np.array([[1, 0], [2, 4], [10, 10]], np.float32)
    weights = np.array([3, 0.5, 7], np.float32)
    assert soft_topic([0, 1], weights, vectors).tolist() == [4, 2]


def test_soft_topic_equals_the_papers_sum():
    rng = np.random.default_rng(0)
    vectors, single = rng.normal(size=(9, 5)).astype(np.float32), rng.integers(1, 50, 9)
    expected = reference.soft_topic([7, 2, 5], single / 50, vectors)
    np.testing.assert_allclose(soft_topic([7, 2, 5], idf(single, 50), vectors), expected, atol=1e-5)


def test_an_image_without_tags_has_a_null_topic():
    assert soft_topic([], np.ones(3, np.float32), np.ones((3, 2), np.float32)).tolist() == [0, 0]
