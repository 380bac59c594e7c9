"""benchmarks/street_card.py: the tables of the preset's model card."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from segmenter_fixture import smallest_model, smallest_segmenter

from cmask_tf.errors import UserError

FILE = Path(__file__).parents[2] / "benchmarks" / "street_card.py"
QUALITY = ("precision", "recall", "iou", "boundary_iou", "pointing_game", "soft_iou")


@pytest.fixture(scope="module")
def card():
    spec = importlib.util.spec_from_file_location("street_card", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def found():
    """What `scores` returns, of one concept a level: IoU .1, .2, .3 and .4."""
    levels = ("mask", "box", "image", "zero")
    quality = {
        level: dict.fromkeys(QUALITY, (n + 1) / 10) | {"concepts": 1, "examples": 5}
        for n, level in enumerate(levels)
    }
    concepts = {f"a {level}": one | {"level": level} for level, one in quality.items()}
    presence = {"by_concept": {name: {"auc": 0.5 + one["iou"]} for name, one in concepts.items()}}
    presence["by_concept"]["a zero"]["auc"] = None
    presence |= {"auc_macro": 0.7, "precision": 0.25, "recall": 0.75, "mcc": 0.5}
    floor = {"levels": {level: {"iou": 0.01} for level in levels}}
    street = {
        "levels": quality,
        "concepts": concepts,
        "presence": presence,
        "baselines": {"whole image": floor},
    }
    vectors = {"levels": {"zero": {"iou": 0.35}}}
    return {"street": street, "GrabCut": floor, "by vector": vectors}


def test_each_level_stands_beside_the_floors(card, found):
    lines = card.level_table(found)
    assert lines[0].endswith("| IoU, whole image | IoU, GrabCut in the middle |")
    assert lines[2].startswith("| mask | 1 | 0.100 | 0.100 | **0.100** |") and lines[2].count("0.010") == 2
    assert lines[-1] == (
        "Zero level by bare vectors in place of names: 0.350. 2 of 4 concepts have an IoU above 0.2."
    )


def test_presence_is_told_by_level_where_it_is_defined(card, found):
    found["street"]["concepts"]["another zero"] = found["street"]["concepts"]["a zero"]
    found["street"]["presence"]["by_concept"]["another zero"] = {"auc": 0.9}
    lines = card.presence_table(found)
    assert lines[2] == "| ROC AUC of the score | 0.600 | 0.700 | 0.800 | 0.900 | **0.700** |"
    assert lines[3] == "| concepts | 1 | 1 | 1 | 1 | 4 |"
    assert lines[-1] == "Decisions: precision 0.25, recall 0.75, Matthews correlation 0.50."


def test_concepts_are_ranked(card, found):
    lines = card.concept_table(found["street"])
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["a zero", "a image", "a box", "a mask"]
    assert lines[2] == "| a zero | zero | 0.40 | 0.40 | 0.40 |  | 5 |"


def test_only_the_figures_of_the_document_are_replaced(card, tmp_path):
    document = tmp_path / "card.md"
    document.write_text(f"before\n{card.BEGIN}\nold\n{card.END}\nafter\n")
    card.write(document, ["new"])
    assert document.read_text() == f"before\n{card.BEGIN}\n\nnew\n\n{card.END}\nafter\n"
    document.write_text("no place")
    with pytest.raises(UserError, match=r"card\.md: no section between"):
        card.write(document, ["new"])


def test_a_bare_vector_is_next_to_its_word_and_not_taken_for_it(card, tmp_path_factory):
    segmenter = smallest_segmenter(smallest_model(tmp_path_factory.getbasetemp() / "smallest-model"))
    vocabulary = segmenter.vocabulary
    for name in vocabulary.names:
        vector = card.beside(vocabulary, name)
        own = vocabulary.vectors[vocabulary.index(name)]
        cosine = vector @ own / np.linalg.norm(vector) / np.linalg.norm(own)
        assert 0.999 < cosine < 1 - 1e-4
    image = np.full((40, 30, 3), 90, np.uint8)
    system = card.BareVectors(segmenter)
    names = [name for name in vocabulary.names if system.answers(name)]
    assert names and not {concept["name"] for concept in segmenter.concepts} & set(names)
    answers = list(system.predict(Path("a.jpg"), image, names))
    assert [one.name for one in answers] == names and answers[0].probability.shape == (40, 30)
