"""What is one concept in several sources."""

import pytest
from vocabulary_fixture import plain_vocabulary

from cmask_tf.data.paper import labels as label_space
from cmask_tf.errors import UserError

MERGED = [
    ("open images", "Mouse", None),  # an animal there
    ("coco", "mouse", "computer mouse"),
    ("visual genome", "dogs", "dog"),  # the vocabulary's word, in the plural
    ("visual genome", "hound", "dog"),  # its alias
    ("visual genome", "glasses", "glasses"),  # no plural of the word glass
    ("visual genome", "yurt", "yurts"),  # not in the vocabulary: as most photos have it
    ("open images", "yurts", "yurts"),
    ("visual genome", "pony", "horse"),  # the user's own alias
    ("visual genome", "jeans", "jeans"),
]


def test_names_that_mean_one_concept(tmp_path):
    (tmp_path / "aliases.txt").write_text("horse,pony\n")
    aliases = label_space.read_aliases(label_space.ALIASES, tmp_path / "aliases.txt")
    words = plain_vocabulary(["dog", "glass", "computer mouse"], aliases=[["hound"], [], []])
    photos = {(source, name.lower()): 5 + name.endswith("s") for source, name, _ in MERGED}
    labels = label_space.merge(photos, words, aliases)
    for source, name, concept in MERGED:
        expected = concept or name.lower()
        assert labels.names[labels.of[source, name.lower()]] == expected
    assert [n for n, known in zip(labels.names, labels.known, strict=True) if known] == [
        "computer mouse",
        "dog",
    ]


def test_an_alias_line_without_its_own_name_is_an_error(tmp_path):
    (tmp_path / "aliases.txt").write_text("horse,pony\n,mule\n")
    with pytest.raises(UserError, match="aliases.txt:2: expected the concept's own name first"):
        label_space.read_aliases(tmp_path / "aliases.txt")
