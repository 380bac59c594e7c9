"""Spellings: one folding, the forms of a name, and its name in files."""

import pytest

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.text import fold, forms, slug


@pytest.mark.parametrize(
    "name, folded",
    [
        ("Red Hat", "red hat"),
        ("  t-shirt\n", "t shirt"),
        ("ice__cream \t-cone", "ice cream cone"),
        ("ﬁsh", "fish"),  # the ligature
        ("CAFE\u0301", "café"),  # a combining accent
        ("１２", "12"),  # full-width digits
        ("man, old", "man, old"),
        ("STRASSE ß", "strasse ß"),  # lower, not casefold
        ("_-_", ""),
    ],
)
def test_case_unicode_form_hyphens_and_spaces_fold_to_one_spelling(name, folded):
    assert fold(name) == folded


def test_folding_twice_changes_nothing_for_any_character():
    characters = [chr(c) for c in range(0x30000) if not 0xD800 <= c < 0xE000]
    assert [c for c in characters if fold(fold(c)) != fold(c)] == []


def test_forms_are_the_name_its_aliases_and_their_numbers_own_names_first():
    assert forms("Shoe", ["trainers"]) == ["shoe", "trainers", "shoes", "trainer"]
    assert forms("person") == ["person", "people"]
    assert "children" in forms("child") and "child" in forms("children")
    assert forms("red hat") == ["red hat", "red hats"]
    assert "buses" in forms("bus") and "dresses" in forms("dress")


def test_forms_of_a_plural_hold_no_second_plural():
    assert forms("boots") == ["boots", "boot"]


@pytest.mark.parametrize("name", ["lions (animal)", "1920s", "...", "'", "café", "m.d.,"])
def test_odd_names_have_at_least_themselves(name):
    assert forms(name)[0] == fold(name)


@pytest.mark.parametrize(
    "name, expected", [("Red hat", "red-hat"), ("T-shirt (blue)", "t-shirt-blue"), ("Café 2", "café-2")]
)
def test_slug_keeps_letters_and_digits(name, expected):
    assert slug(name) == expected


def test_a_name_without_letters_has_no_slug():
    with pytest.raises(UserError, match="letter or digit"):
        slug("...")


def test_a_word_that_no_dictionary_has_has_no_other_forms():
    assert forms("red " + "hat" * 2000) == ["red " + "hat" * 2000]
