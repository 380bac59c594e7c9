"""Names in the graph: what `Vocabulary.find` understands, and where the two cannot agree."""

import random
import unicodedata

import numpy as np
import pytest
import scipy.sparse
import tensorflow as tf

from cmask_tf.export import spelling
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.text import fold

NAMES = ["red hat", "café", "straße", "한복", "dress", "t shirt", "crème brûlée", "bus", "İzmir", "が", "x²"]
ALIASES = {"dress": ["gown", "robe longue"], "bus": ["omnibus"]}


def make(names: list[str], folded: bool) -> Vocabulary:
    spelled = [fold(name) if folded else name for name in names]
    count = len(names)
    return Vocabulary(
        names=spelled,
        counts=np.arange(count, 0, -1),
        idf=np.ones(count, np.float32),
        kinds=["object"] * count,
        aliases=[ALIASES.get(name, []) for name in names],
        vectors=np.eye(count, dtype=np.float32),
        eigenvalues=np.ones(count, np.float32),
        cooccurrence=scipy.sparse.csr_matrix((count, count), dtype=np.int32),
        meta={"documents": 9, "folded": folded},
    )


@pytest.fixture(scope="module")
def vocabulary():
    return make(NAMES, folded=True)


@pytest.fixture(scope="module")
def table(vocabulary):
    return spelling.SpellingTable(vocabulary)


def found(table, names: list[str]) -> list[int]:
    return table.find(tf.constant([name.encode() for name in names])).numpy().tolist()


def expected(vocabulary, names: list[str]) -> list[int]:
    return [spelling.UNKNOWN if (i := vocabulary.find(name)) is None else i for name in names]


def wide(text: str) -> str:
    """The full-width forms of East Asian typography."""
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        str.title,
        str.capitalize,
        wide,
        lambda text: text.replace(" ", "_"),
        lambda text: text.replace(" ", " - "),
        lambda text: f"\u3000 {text}\t\n",
        lambda text: text.replace(" ", "\u00a0"),
        *(lambda text, form=form: unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKD")),
        lambda text: unicodedata.normalize("NFD", text.upper()),
    ],
)
def test_every_spelling_in_every_dress_is_what_python_finds(vocabulary, table, change):
    names = [change(name) for name in vocabulary.spellings()]
    python = expected(vocabulary, names)
    assert found(table, names) == python
    assert python.count(spelling.UNKNOWN) < len(python) / 4  # "STRASSE" is not "straße" in either


def test_plurals_and_aliases_are_their_concepts(table):
    assert found(table, ["Red-Hats", "gowns", "BUSES", "omnibus", "Robe longue"]) == [0, 4, 7, 7, 4]


@pytest.mark.parametrize("name", ["", " ", "hat", "red", "redhat", "dres s", "../dress", "-", "?" * 100_000])
def test_what_python_does_not_know_is_unknown(vocabulary, table, name):
    assert vocabulary.find(name) is None
    assert found(table, [name]) == [spelling.UNKNOWN]


def test_bytes_that_are_not_utf_8_are_unknown(table):
    assert table.find(tf.constant([b"\xff\xfe", b"dress\xff", b"dress"])).numpy().tolist() == [-1, -1, 4]


def test_any_shape_of_names_gives_entries_of_that_shape(table):
    assert table.find(tf.constant([["dress", ""], ["bus", "x"]])).numpy().tolist() == [[4, -1], [7, -1]]
    assert table.find(tf.zeros([3, 0], tf.string)).shape == (3, 0)


def test_random_text_folds_as_in_python(table):
    """Of all scripts; the graph's form is Python's, decomposed, but for the two differences below."""
    rng = random.Random(0)
    assigned = [c for c in map(chr, range(0x20, 0x3000)) if unicodedata.category(c) not in ("Cn", "Cs")]
    texts = ["".join(rng.choices(assigned, k=rng.randint(1, 6))) for _ in range(5000)]
    graph = [text.decode() for text in table.fold(tf.constant([t.encode() for t in texts])).numpy()]
    sorted_marks = [unicodedata.normalize("NFD", text) for text in graph]
    assert sorted_marks == [unicodedata.normalize("NFKD", fold(t)).replace("ς", "σ") for t in texts]


def test_marks_in_another_order_are_not_sorted():
    """The first difference: Python's NFKC puts a dot below before an acute, the graph leaves them."""
    vocabulary = make(["ọ́"], folded=True)
    table = spelling.SpellingTable(vocabulary)
    canonical, other = "o\u0323\u0301", "o\u0301\u0323"
    assert expected(vocabulary, [canonical, other]) == [0, 0]
    assert found(table, [canonical, other]) == [0, spelling.UNKNOWN]


def test_both_small_sigmas_are_one_letter():
    """The second: a capital at the end of a word is found, and so is a word with the wrong small one."""
    vocabulary = make(["οδος"], folded=True)
    table = spelling.SpellingTable(vocabulary)
    names = ["ΟΔΟΣ", "οδοσ"]
    assert expected(vocabulary, names) == [0, spelling.UNKNOWN]
    assert found(table, names) == [0, 0]


def test_a_vocabulary_that_tells_cases_apart_keeps_them_apart():
    vocabulary = make(["Turkey", "turkey", "US", "us", "Polish  work", "nut"], folded=False)
    table = spelling.SpellingTable(vocabulary)
    names = ["Turkey", "turkey", "TURKEY", "Nut", " US ", "us", "Us", "Polish  work", "polish work", "NUTS"]
    assert found(table, names) == expected(vocabulary, names)
    assert found(table, names)[:2] == [0, 1]


def test_padding_is_never_a_concept():
    vocabulary = make(["--", "hat"], folded=False)
    assert vocabulary.find("") == 0  # in Python nothing pads
    assert found(spelling.SpellingTable(vocabulary), ["", " ", "--", "hat"]) == [-1, -1, 0, 1]
