"""Objects, stuff and parts by WordNet (supplement 6)."""

import pytest

from cmask_tf.data.paper import wordnet

KINDS = [("dog", "object"), ("person", "object"), ("sky", "stuff"), ("grass", "stuff"), ("water", "stuff")]
KINDS += [
    ("face", "part"),
    ("wheel", "part"),
    ("sleeve", "part"),
    ("red hats", "object"),
    ("qwrtz", "unknown"),
]


@pytest.mark.parametrize("name, kind", KINDS)
def test_wordnet_tells_objects_stuff_and_parts(name, kind):
    assert wordnet.kind_of(name) == kind


def test_the_table_of_kinds_is_worked_out_of_wordnets_files(tmp_path):
    (tmp_path / "data.noun").write_text(
        "  1 a licence\n"
        "00000001 03 n 01 entity 0 000 | all\n"
        "00000002 05 n 01 dog 0 002 @ 00000001 n 0000 %p 00000003 n 0000 | a pet\n"
        "00000003 05 n 01 flag 0 002 @ 00000001 n 0000 #p 00000002 n 0000 | its tail\n"
        "00000004 27 n 02 mud 0 slime 0 001 @ 00000001 n 0000 | wet\n"
        "00000005 09 n 01 idea 0 001 @ 00000001 n 0000 | thought\n"
    )
    (tmp_path / "index.noun").write_text(
        "  1 a licence\n"
        "dog n 1 2 @ %p 1 0 00000002  \n"
        "hot_dog n 2 1 @ 2 0 00000005 00000002  \n"
        "flag n 1 2 @ #p 1 0 00000003  \n"
        "mud n 1 1 @ 1 0 00000004  \n"
        "idea n 1 1 @ 1 0 00000005  \n"
    )
    expected = {"dog": "object", "hot dog": "object", "flag": "part", "mud": "stuff"}
    assert wordnet.work_out(tmp_path) == expected
