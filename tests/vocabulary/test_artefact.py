"""The vocabulary directory and the words in it."""

import json
import re

import numpy as np
import pytest
import scipy.sparse

from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import FILES, Vocabulary


def make(names, aliases=None, kinds=None, dim=3) -> Vocabulary:
    words = len(names)
    rng = np.random.default_rng(0)
    pairs = np.triu(rng.integers(0, 4, (words, words)), 1)
    return Vocabulary(
        names=list(names),
        counts=np.arange(words, 0, -1) + 10,
        idf=rng.uniform(0, 10, words).astype(np.float32),
        kinds=kinds or ["unknown"] * words,
        aliases=aliases or [[] for _ in names],
        vectors=rng.normal(size=(words, dim)).astype(np.float32),
        eigenvalues=np.arange(dim, 0, -1).astype(np.float32),
        cooccurrence=scipy.sparse.csr_matrix((pairs + pairs.T).astype(np.int32)),
        meta={"documents": 20, "notes": ["é"]},
    )


@pytest.fixture
def clothes():
    return make(["shoes", "dress", "red hat", "glass", "glasses"], [["trainer"], ["Gown"], [], [], []])


def test_a_saved_vocabulary_loads_equal(tmp_path):
    names = ["man, old", "arm/arms raised", "a|b", "back\\slash", "tab\tand\nline", "'one' \"two\"", "日本"]
    aliases = [["x|y", "z"], [], ["p\\|q"], ["\\p"], [], [","], ["\t"]]
    saved = make(names, aliases, ["part", "stuff", "object", "action", "attribute", "unknown", "object"])
    saved.save(tmp_path / "v")
    loaded = Vocabulary.load(tmp_path / "v")
    assert (loaded.names, loaded.aliases, loaded.kinds) == (names, aliases, saved.kinds)
    for part in ("counts", "idf", "vectors", "eigenvalues"):
        np.testing.assert_array_equal(getattr(loaded, part), getattr(saved, part))
        assert getattr(loaded, part).dtype == getattr(saved, part).dtype
    assert (loaded.cooccurrence != saved.cooccurrence).nnz == 0
    assert loaded.meta == saved.meta and loaded.documents == 20 and loaded.dim == 3 and len(loaded) == 7


def test_the_directory_holds_the_files_of_the_contract_and_nothing_is_left_beside_it(tmp_path, clothes):
    clothes.save(tmp_path / "deep" / "v")
    assert sorted(f.name for f in (tmp_path / "deep" / "v").iterdir()) == sorted(FILES)
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["v"]
    table = (tmp_path / "deep" / "v" / "concepts.tsv").read_text().splitlines()
    assert table[0] == "name\tcount\tidf\tkind\taliases"
    assert re.fullmatch(r"shoes\t15\t0\.3358\d+\tunknown\ttrainer", table[1])


def test_saving_replaces_an_older_vocabulary_and_nothing_else(tmp_path, clothes):
    clothes.save(tmp_path / "v")
    make(["one", "two"]).save(tmp_path / "v")
    assert Vocabulary.load(tmp_path / "v").names == ["one", "two"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(UserError, match="not a vocabulary"):
        clothes.save(tmp_path / "photos")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["photos", "v"]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path, clothes, name):
    clothes.save(tmp_path / "v")
    (tmp_path / "v" / name).unlink()
    with pytest.raises(UserError, match=re.escape(f"v/{name}: no such file")):
        Vocabulary.load(tmp_path / "v")


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_a_user_error(tmp_path, clothes, name):
    clothes.save(tmp_path / "v")
    (tmp_path / "v" / name).write_bytes(b"not this")
    with pytest.raises(UserError) as error:
        Vocabulary.load(tmp_path / "v")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("\tunknown\t", "\tgarment\t", "line 2: kind 'garment'"),
        ("shoes\t15", "shoes\tmany", "line 2: expected name, count"),
        ("dress\t", "shoes\t", "a name occurs twice"),
    ],
)
def test_a_broken_table_names_what_was_expected(tmp_path, clothes, old, new, message):
    clothes.save(tmp_path / "v")
    table = tmp_path / "v" / "concepts.tsv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        Vocabulary.load(tmp_path / "v")


def test_files_that_do_not_belong_together_are_refused(tmp_path, clothes):
    clothes.save(tmp_path / "v")
    np.save(tmp_path / "v" / "vectors.npy", np.zeros((4, 3), np.float32))
    with pytest.raises(UserError, match=r"vectors.npy: expected shape \(5, 3\), not \(4, 3\)"):
        Vocabulary.load(tmp_path / "v")
    clothes.save(tmp_path / "v")
    (tmp_path / "v" / "meta.json").write_text(json.dumps([]))
    with pytest.raises(UserError, match="number of documents"):
        Vocabulary.load(tmp_path / "v")


@pytest.mark.parametrize(
    "spelling, index",
    [("Shoes", 0), ("shoe", 0), ("trainers", 0), ("GOWN", 1), ("gowns", 1), ("dresses", 1), ("red-hats", 2)],
)
def test_any_spelling_finds_its_concept(clothes, spelling, index):
    assert clothes.find(spelling) == clothes.index(spelling) == index


def test_an_own_name_goes_before_a_guessed_form_and_before_an_alias(clothes):
    assert clothes.index("glass") == 3 and clothes.index("glasses") == 4
    assert make(["bag", "purse"], [["purse"], []]).index("purse") == 1


def test_find_and_the_spelling_table_agree(clothes):
    assert all(clothes.find(form) == i for form, i in clothes.spellings().items())
    assert {"shoes", "shoe", "gown", "red hat"} <= set(clothes.spellings())


def test_an_unknown_name_lists_the_nearest_names(clothes):
    assert clothes.find("dresss") is None
    with pytest.raises(UserError, match="unknown concept 'dresss'; the nearest names are: dress, "):
        clothes.index("dresss")
    assert clothes.nearest_spellings("traner", k=1) == ["shoes"]
    assert len(clothes.nearest_spellings("qqq", k=2)) == 2


def test_nearest_by_name_leaves_the_name_out_and_by_vector_does_not(clothes):
    clothes.vectors[:] = [[1, 0, 0], [0, 1, 0], [2, 1, 0], [-1, 0, 0], [0, 0, 1]]
    assert [name for name, _ in clothes.nearest("shoe", k=2)] == ["red hat", "dress"]
    (first, cosine), *_ = clothes.nearest(np.array([3.0, 0, 0]), k=1)
    assert first == "shoes" and cosine == pytest.approx(1)
    with pytest.raises(UserError, match=r"expected 3 numbers, not an array of shape \(2,\)"):
        clothes.nearest(np.zeros(2))


def test_substitutes_keep_the_same_company(clothes):
    pairs = np.zeros((5, 5), np.int32)
    pairs[0, 3] = pairs[1, 3] = pairs[2, 4] = 9
    clothes.cooccurrence = scipy.sparse.csr_matrix(pairs + pairs.T)
    names = [name for name, _ in clothes.substitutes("shoes", k=4)]
    assert names[0] == "dress" and "shoes" not in names
