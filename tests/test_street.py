"""`street`, the trained preset that the package carries: whole, and right on a photo from elsewhere."""

import json
from pathlib import Path

import numpy as np
import pytest

from cmask_tf import ConceptSegmenter, model_directory, presets
from cmask_tf.config import lite
from cmask_tf.imageio import read_image

ROOT = Path(__file__).parent.parent
LEVELS = {"mask": 12, "box": 15, "image": 17}
CONCEPTS = 50  # with the six that training never shows

pytestmark = pytest.mark.skipif("street" not in presets.names(), reason="this checkout carries no preset")


@pytest.fixture(scope="module")
def street() -> ConceptSegmenter:
    return ConceptSegmenter.load()


@pytest.fixture(scope="module")
def astronaut(street) -> dict:
    """Eileen Collins' features; her hair, face and suit fill most of the square photo."""
    return street.encode(read_image(ROOT / "docs/pictures/astronaut.jpg"))


def part(street, astronaut, concept: str) -> np.ndarray:
    return street.segment([concept], astronaut).masks[0] > 0.5


def test_it_is_lites_default_recipe_and_knows_fifty_words():
    directory = presets.locate("street")
    model_directory.check(directory)
    assert model_directory.load_config(directory) == lite()
    levels = [concept["level"] for concept in model_directory.load_concepts(directory)]
    assert {level: levels.count(level) for level in LEVELS} == LEVELS
    assert len(model_directory.load_vocabulary(directory)) == CONCEPTS


def test_its_provenance_names_no_place_on_the_machine_that_trained_it():
    def names(value):
        """Every string in a tree of JSON, keys too."""
        if isinstance(value, dict):
            return [*value, *(name for one in value.values() for name in names(one))]
        if isinstance(value, list):
            return [name for one in value for name in names(one)]
        return [value] if isinstance(value, str) else []

    found = names(json.loads((presets.locate("street") / "provenance.json").read_text()))
    assert found and not [name for name in found if Path(name).is_absolute()]


def test_hair_and_face_are_found_on_a_photo_from_elsewhere(street, astronaut):
    hair, skin = part(street, astronaut, "hair"), part(street, astronaut, "skin")
    face, crown = np.s_[100:175, 195:255], np.s_[25:65, 190:270]
    assert skin[face].mean() > 0.7 and hair[face].mean() < 0.3
    assert hair[crown].mean() > 0.7 and skin[crown].mean() < 0.3
    assert hair[300:].mean() < 0.05


def test_what_is_there_scores_above_what_is_not(street, astronaut):
    scores = dict(
        zip(
            ("hair", "skin", "socks", "boots"),
            (street.segment([name], astronaut).scores[0] for name in ("hair", "skin", "socks", "boots")),
            strict=True,
        )
    )
    assert min(scores["hair"], scores["skin"]) > max(scores["socks"], scores["boots"])
