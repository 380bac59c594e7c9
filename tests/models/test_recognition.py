"""A word vector is recognised by a few rows as by the whole table, or said to be uncertain."""

import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.models.recognition import CANDIDATES, SAME_WORD, recognise

RNG = np.random.default_rng(3)
D = 300


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def close_to(vector, cosine):
    """A unit vector with this cosine to another."""
    aside = RNG.normal(size=vector.shape)
    aside -= aside @ vector * vector
    return unit(cosine * vector + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside))


def ask(table, given, dimensions=128):
    given = tf.constant(given, tf.float32)
    answers = recognise(
        given,
        tf.constant(table[:, :dimensions]),
        lambda ids: tf.einsum("kcd,kd->kc", tf.gather(table, ids), given),
    )
    return [answer.numpy() for answer in answers]


@pytest.fixture(scope="module")
def table():
    return unit(RNG.normal(size=(500, D)))


def test_every_entry_is_recognised(table):
    best, known, certain = ask(table, table)
    np.testing.assert_array_equal(best, np.arange(500))
    assert known.all() and certain.all()


@pytest.mark.parametrize("cosine, expected", [(1 - 0.9e-4, True), (1 - 1.1e-4, False), (0.9, False)])
def test_the_bound_is_that_of_the_whole_table(table, cosine, expected):
    given = np.stack([close_to(word, cosine) for word in table[:40]])
    assert ((given @ table.T).max(axis=1) > SAME_WORD).tolist() == [expected] * 40
    best, known, certain = ask(table, given)
    assert (known == expected).all() and certain.all()
    if expected:
        np.testing.assert_array_equal(best, np.arange(40))


def test_of_near_twins_the_nearer_one_is_it(table):
    twins = table.copy()
    twins[7] = close_to(twins[6], 1 - 5e-5)
    best, known, certain = ask(twins, twins[[6, 7]])
    assert best.tolist() == [6, 7] and known.all() and certain.all()


def test_as_many_candidates_as_rows_are_read_is_uncertain(table):
    alike, word = table.copy(), table[0]
    alike[1 : CANDIDATES - 1] = [close_to(word, 1 - 2e-5) for _ in range(CANDIDATES - 2)]
    assert ask(alike, alike[[0, 400]])[2].tolist() == [True, True]
    alike[CANDIDATES] = close_to(word, 1 - 2e-5)  # the last row read fits: others may too
    assert ask(alike, alike[[0, 400]])[2].tolist() == [False, True]


def test_entries_alike_in_the_first_dimensions_are_told_apart_by_the_others(table):
    alike = table.copy()
    alike[:4, :128] = alike[0, :128]
    alike[:4] = unit(alike[:4])
    best, known, _ = ask(alike, alike[:4])
    assert best.tolist() == [0, 1, 2, 3] and known.all()


def test_a_vocabulary_smaller_than_the_rows_that_are_read_is_searched_whole():
    table = unit(RNG.normal(size=(3, 5)))
    best, known, certain = ask(table, np.concatenate([table, -table[:1]]))
    assert best[:3].tolist() == [0, 1, 2]
    assert known.tolist() == [True, True, True, False] and certain.all()
