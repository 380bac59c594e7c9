"""benchmarks/tagged_word.py: which lines a word is learnt from, and what counts as its mask."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from cmask_tf.errors import UserError

FILE = Path(__file__).parents[2] / "benchmarks" / "tagged_word.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("tagged_word_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tags(tmp_path):
    lines = [["boots", "hat"], ["hat"], ["shoes", "boots", "dress"], ["sandals"], ["shoes"]]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps({"image": f"{n}.jpg", "tags": t}) + "\n" for n, t in enumerate(lines)))
    return file


def test_the_word_takes_the_place_of_the_things_in_the_first_lines_that_name_one(benchmark, tags):
    lines = [json.loads(line) for line in benchmark.tag_lines(tags, "footwear", ("boots", "shoes"), 2)]
    assert lines == [
        {"image": "0.jpg", "tags": ["hat", "footwear"]},
        {"image": "2.jpg", "tags": ["dress", "footwear"]},
    ]


def test_too_few_photos_are_an_error(benchmark, tags):
    with pytest.raises(UserError, match=r"train\.jsonl: 3 photos with one of boots, shoes; expected 4"):
        benchmark.tag_lines(tags, "footwear", ("boots", "shoes"), 4)


def test_the_true_mask_is_the_union_of_the_things_and_photos_without_them_have_none(benchmark):
    boots, shoes = np.array([[1, 0, 0]], bool), np.array([[0, 1, 0]], bool)
    photos = [("a.jpg", {"boots": boots, "shoes": shoes, "hat": boots}), ("b.jpg", {"hat": boots})]
    first, second = benchmark.unions(iter(photos), "footwear", ("boots", "shoes"))
    assert first[1]["footwear"].tolist() == [[True, True, False]]
    assert set(first[1]) == {"boots", "shoes", "hat", "footwear"} and set(second[1]) == {"hat"}


def test_the_table_names_the_best_stand_in(benchmark):
    word = {"IoU": 0.4321, "presence AUC": 0.7, "photos": 9, "level": "zero"}
    stand_ins = {"boots": 0.1, "shoes": 0.3, "the whole photo": 0.2}
    lines = benchmark.table("footwear", {"word": word, "stand_ins": stand_ins}).splitlines()
    assert lines[3] == "| footwear, after | 0.432 | 0.700 | 9 |"
    assert lines[4].startswith("| shoes in its place") and "0.300" in lines[4]
    assert lines[5] == "| the whole photo | 0.200 | | 9 |"
