"""Tag lists in, a vocabulary out."""

import json

import numpy as np
import pytest

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.build import build, build_files, read_aliases, read_kinds

IMAGES = [list(tags) for tags in ("ab", "ab", "ac", "a", "b", "cd", "d", "dc")]


def test_a_vocabulary_by_hand():
    vocabulary = build(IMAGES, dim=4, variant="ppmi", kinds={"A": "part"})
    assert vocabulary.names == ["a", "b", "c", "d"]
    assert vocabulary.counts.tolist() == [4, 3, 3, 3] and vocabulary.documents == 8
    np.testing.assert_allclose(vocabulary.idf, np.log([2, 8 / 3, 8 / 3, 8 / 3]), rtol=1e-6)
    assert vocabulary.kinds == ["part", "unknown", "unknown", "unknown"]
    # The block of c and d is [[x, y], [y, x]], the block of a and b the smaller one.
    c, d = np.log(8 / 3), np.log(16 / 9)
    np.testing.assert_allclose(vocabulary.eigenvalues[0], c + d, rtol=1e-6)
    assert vocabulary.cooccurrence[0, 1] == 2
    assert {"variant", "dimension", "documents", "version", "notes"} <= set(vocabulary.meta)


def test_the_same_tags_give_the_same_bits():
    first, second = build(IMAGES, dim=3), build(iter(IMAGES), dim=3)
    np.testing.assert_array_equal(first.vectors, second.vectors)


def test_too_many_dimensions_name_the_number_available():
    with pytest.raises(UserError, match="9 dimensions were asked for: 4 are available"):
        build(IMAGES, dim=9, variant="ppmi")


def test_no_dimensions_are_an_error_before_anything_is_read():
    with pytest.raises(UserError, match="0 dimensions were asked for"):
        build(map(pytest.fail, ["read"]), dim=0)


def test_words_with_equal_vectors_become_aliases_and_are_reported():
    # "x" and "y" are on one image only, the same one: nothing tells them apart.
    vocabulary = build([*IMAGES, ["y", "x", "a"]], dim=4, variant="ppmi", aliases={"y": ["why"]})
    assert vocabulary.names == ["a", "b", "c", "d", "x"] and vocabulary.aliases[4] == ["y", "why"]
    assert vocabulary.index("y") == vocabulary.index("x")
    assert len(vocabulary) == len(vocabulary.vectors) == vocabulary.cooccurrence.shape[0]
    assert any("equal vectors" in note and "'x'" in note for note in vocabulary.meta["notes"])


def test_no_null_vector_leaves_and_it_is_reported():
    images = [[*tags, "skin"] for tags in IMAGES] + [["skin"]]
    for variant in ("pmi", "ppmi"):
        vocabulary = build(images, dim=2, variant=variant)
        assert (np.linalg.norm(vocabulary.vectors, axis=1) > 1e-3).all()
        assert vocabulary.idf[vocabulary.index("skin")] == 0
        assert any("null vectors" in note and "skin" in note for note in vocabulary.meta["notes"])


def test_given_aliases_are_counted_as_their_concept():
    images = [["handbag"], ["Bag"], ["purse", "handbags"], ["bag", "hat"], ["hat", "coat"], ["coat"]]
    vocabulary = build(images, dim=2, aliases={"bag": ["Handbag", "hand-bags", "handbags"]})
    assert vocabulary.counts[vocabulary.index("bag")] == 4
    assert vocabulary.index("handbag") == vocabulary.index("bag")
    assert vocabulary.aliases[vocabulary.index("bag")] == ["handbag", "hand bags", "handbags"]


DOGS = [["dog", "cat"], ["dog", "hat"], ["dogs", "cat"], ["hat"], ["hound"], ["Cat"]]


def test_the_rarer_of_singular_and_plural_becomes_an_alias_and_is_reported():
    given = {"kinds": {"dogs": "object"}, "aliases": {"dogs": ["hound"]}}
    vocabulary = build(DOGS, dim=2, **given)
    dog = vocabulary.names.index("dog")
    assert vocabulary.counts[dog] == 4 and vocabulary.index("Dogs") == dog
    assert vocabulary.aliases[dog] == ["dogs", "hound"] and vocabulary.kinds[dog] == "object"
    assert vocabulary.meta["notes"] == ["singular and plural, counted as one, 1 in all: dogs as dog"]


def test_singular_and_plural_that_are_both_named_by_the_caller_stay_apart():
    assert "dogs" in build(DOGS, dim=2, kinds={"dog": "object", "dogs": "stuff"}).names
    assert "dogs" in build(DOGS, dim=2, kinds={"dog": "object"}, aliases={"dogs": ["hound"]}).names


def test_a_report_of_plurals_has_their_number_and_the_first_twenty():
    things = (
        "hat coat shoe sock scarf belt ring boot shirt skirt bag cap glove tie vest suit bra purse".split()
    )
    things += ["apple", "pear", "necklace", "blouse"]
    images = [[thing, other] for thing, other in zip(things, things[1:] + things[:1], strict=True)]
    vocabulary = build([*images, *([f"{thing}s"] for thing in things)], dim=2)
    (note,) = [note for note in vocabulary.meta["notes"] if "plural" in note]
    assert "22 in all" in note and note.endswith(", ...") and note.count(" as ") == 21


def test_without_folding_names_are_as_written_and_the_exact_spelling_goes_first(tmp_path):
    images = [["Dog", "cat"], ["dog", "hat"], ["dogs", "cat"], ["Dog", "hat"], ["Red Hat ", "cat", "Dog"]]
    build(images, dim=2, folded=False, kinds={"Dog": "object"}, aliases={"Red Hat": ["RH"]}).save(
        tmp_path / "v"
    )
    vocabulary = Vocabulary.load(tmp_path / "v")
    assert sorted(vocabulary.names) == ["Dog", "Red Hat", "cat", "dog", "dogs", "hat"]
    for exact in vocabulary.names:
        assert vocabulary.names[vocabulary.index(exact)] == exact
        assert vocabulary.spellings()[exact] == vocabulary.index(exact)
    for other, name in (("DOG", "dog"), ("red-hat", "Red Hat"), ("rh", "Red Hat"), ("CATS", "cat")):
        assert vocabulary.names[vocabulary.index(other)] == name
    assert vocabulary.kinds[vocabulary.index("Dog")] == "object" and not vocabulary.folded


def test_aliases_of_a_name_that_no_image_has_are_reported():
    notes = build(IMAGES, dim=2, aliases={"ghost": ["spook"]}).meta["notes"]
    assert any("ghost" in note for note in notes)


def test_unknown_kinds_variants_and_empty_corpora_are_errors():
    with pytest.raises(UserError, match="'a': kind 'garment': expected one of object, stuff"):
        build(IMAGES, dim=2, kinds={"a": "garment"})
    with pytest.raises(UserError, match="'npmi': expected one of pmi, ppmi"):
        build(IMAGES, dim=2, variant="npmi")
    with pytest.raises(UserError, match="no tag occurs in 9 images"):
        build(IMAGES, dim=2, min_count=9)


def test_aliases_are_read_in_visual_genomes_form(ccp):
    aliases = read_aliases(ccp / "visual_genome" / "object_alias.txt")
    assert aliases["pants"] == ["pant", "trousers"]
    assert aliases["t-shirt"] == ["tshirt", "t shirt", "tee shirt"]


def test_kinds_are_read_in_either_form(tmp_path):
    path = tmp_path / "kinds.json"
    path.write_text(json.dumps({"hair": {"kind": "part", "level": "box"}, "sky": "stuff", "x": {}}))
    assert read_kinds(path) == {"hair": "part", "sky": "stuff", "x": "unknown"}
    path.write_text('{"hair": "hairy"}')
    with pytest.raises(UserError, match="kinds.json: 'hair': kind 'hairy'"):
        read_kinds(path)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    path = tmp_path / "a"
    path.write_text("dog,hound\n", encoding="utf-8-sig")
    assert read_aliases(path) == {"dog": ["hound"]}
    path.write_text('{"dog": "object"}', encoding="utf-8-sig")
    assert read_kinds(path) == {"dog": "object"}


def test_ccp_builds_and_its_dimensions_are_the_positive_eigenvalues(ccp):
    tags = [ccp / "tags" / "all_tags_for_pmi.jsonl"]
    for variant, available in (("pmi", 37), ("ppmi", 47)):
        assert build_files(tags, available, variant).dim == available
        with pytest.raises(UserError, match=f"{available} are available"):
            build_files(tags, available + 1, variant)


def test_tates_terms_with_commas_survive_the_directory(tate, tmp_path):
    vocabulary = build_files([tate], dim=32, min_count=100)
    vocabulary.save(tmp_path / "tate")
    loaded = Vocabulary.load(tmp_path / "tate")
    assert loaded.names == vocabulary.names and "man, old" in loaded.names
    assert loaded.index("Man, old") == vocabulary.names.index("man, old")
