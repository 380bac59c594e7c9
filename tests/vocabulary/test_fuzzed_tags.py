"""Damaged tag lists: exit code 2 and a line, or a vocabulary that counts what was not touched."""

import json
import tempfile
from collections import Counter
from pathlib import Path

import fuzzing
import numpy as np
import plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmask_tf import Vocabulary


@pytest.fixture(scope="module", autouse=True)
def impatient():
    with fuzzing.impatient():
        yield


def test_a_damaged_tag_list_makes_no_vocabulary_or_one_that_counts_the_other_lines():
    lines = [
        json.dumps({"image": f"{k}.jpg", "tags": [f"Tag_{k % 7}", f"caf\u00e9 {k % 5}", "hound"][k % 2 :]})
        for k in range(40)
    ]
    files = {
        "tags.jsonl": "\n".join((*lines, "")).encode(),
        "aliases.txt": b"dog,hound\ntag 1,tag one\n",
        "kinds.json": b'{\n"dog": "object",\n"tag 1": {"kind": "part", "level": "zero"}\n}',
    }
    codes = Counter()

    @settings(**fuzzing.SETTINGS, max_examples=150)
    @given(st.data())
    def check(data):
        name, changed = fuzzing.damaged(data, files)
        with tempfile.TemporaryDirectory() as folder:
            fuzzing.put(folder := Path(folder), changed)
            options = ("--dim", 3, "--aliases", folder / "aliases.txt", "--kinds", folder / "kinds.json")
            code = fuzzing.run(folder / "out", "vocabulary", "build", folder / "tags.jsonl", *options)
            codes[code] += 1
            if code == 0:
                vocabulary = Vocabulary.load(folder / "out")
                check_words(vocabulary)
                if name != "aliases.txt":
                    found = fuzzing.lines_of(changed["tags.jsonl"])
                    same = [line for line in found if line in lines]
                    check_counts(vocabulary, same, len(found) - len(same))

    check()
    assert min(codes[0], codes[2]) > 15, codes


def check_words(vocabulary: Vocabulary):
    lengths = np.linalg.norm(vocabulary.vectors, axis=1)
    assert np.isfinite(lengths).all() and lengths.min() > 0
    assert all(name and name == plain.folded(name) for name in vocabulary.names)


def check_counts(vocabulary: Vocabulary, same: list[str], others: int):
    """Each word is counted as often as the lines that are as they were have it, and `others` at most do."""
    assert len(same) <= vocabulary.documents <= len(same) + others
    counts = Counter(word for line in same for word in set(map(plain.folded, json.loads(line)["tags"])))
    assert all(vocabulary.find(word) is not None for word in counts)
    for name, count in zip(vocabulary.names, vocabulary.counts.tolist(), strict=True):
        if name not in ("dog", "hound"):
            assert counts[name] <= count <= counts[name] + others
