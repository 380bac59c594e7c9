"""Which tags are singular and plural of one word."""

import pytest

from cmask_tf.vocabulary.plurals import owners


@pytest.mark.parametrize(
    "singular, plural",
    [("dog", "dogs"), ("box", "boxes"), ("city", "cities"), ("knife", "knives"), ("child", "children")]
    + [("tooth", "teeth"), ("red hat", "red hats"), ("wine glass", "wine glasses")],
)
def test_the_more_frequent_owns_the_other(singular, plural):
    assert owners([singular, plural, "sky"], [5, 2, 9]) == {plural: singular}
    assert owners([singular, plural, "sky"], [2, 5, 9]) == {singular: plural}


def test_of_equally_frequent_ones_the_first_by_name_owns():
    assert owners(["dogs", "dog"], [3, 3]) == {"dogs": "dog"}


@pytest.mark.parametrize("names", [("glass", "glasses"), ("scale", "scales"), ("short", "shorts")])
def test_plurals_that_are_another_thing_stay_apart(names):
    assert owners(names, [5, 2]) == {}


@pytest.mark.parametrize(
    "names", [("dress", "dre"), ("red hat", "blue hats"), ("bus", "boats"), ("hat", "hat s")]
)
def test_other_words_stay_apart(names):
    assert owners(names, [5, 2]) == {}


@pytest.mark.parametrize("images", [[9, 5, 1], [5, 9, 1], [1, 5, 9], [5, 1, 9]])
def test_of_three_the_most_frequent_owns_all(images):
    names = ["person", "people", "persons"]
    best = names[images.index(9)]
    assert owners(names, images) == {name: best for name in names if name != best}


def test_names_that_the_caller_tells_apart_stay_so():
    assert owners(["dog", "dogs"], [5, 2], apart={"dog", "dogs"}) == {}
    assert owners(["dog", "dogs"], [5, 2], apart={"dog"}) == {"dogs": "dog"}


def test_pairs_that_cannot_reach_the_minimum_count_are_not_looked_for():
    assert owners(["dog", "dogs"], [4, 4], min_count=8) == {"dogs": "dog"}
    assert owners(["dog", "dogs"], [4, 4], min_count=9) == {}
