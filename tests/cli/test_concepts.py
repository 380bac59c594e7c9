"""`cmask concepts`: the table of a model's words, and the neighbours of one."""

import json

from cmask_tf import model_directory
from cmask_tf.cli import main


def test_the_table_lists_name_level_kind_and_count(model, capsys):
    assert main(["concepts", "--model", str(model)]) == 0
    header, *rows = [line.rsplit(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    assert header == ["name", "level", "kind", "count"]
    assert len(rows) == 8
    by_name = {row[0]: row[1:3] for row in rows}
    assert by_name["red hat"] == ["box", "object"]
    assert by_name["walking"] == ["zero", "unknown"]


def test_json_holds_the_same(model, capsys):
    assert main(["concepts", "--model", str(model), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    vocabulary = model_directory.load_vocabulary(model)
    assert rows == model_directory.describe_concepts(vocabulary, model_directory.load_concepts(model))


def test_nearest_prints_both_kinds_of_neighbours(model, capsys):
    assert main(["concepts", "--model", str(model), "--nearest", "Dresses", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    vocabulary = model_directory.load_vocabulary(model)
    assert found["name"] == "dress"
    assert [row["name"] for row in found["pmi"]] == [name for name, _ in vocabulary.nearest("dress")]
    assert [row["name"] for row in found["second_order"]] == [n for n, _ in vocabulary.substitutes("dress")]

    assert main(["concepts", "--model", str(model), "--nearest", "dress"]) == 0
    text = capsys.readouterr().out
    assert "PMI cosine" in text and "second order" in text
    assert text.index(found["pmi"][0]["name"]) < text.index("second order")


def test_an_unknown_word_and_a_missing_model_are_one_line(model, no_presets, tmp_path, capsys):
    assert main(["concepts", "--model", str(model), "--nearest", "drss"]) == 2
    assert "dress" in capsys.readouterr().err
    assert main(["concepts", "--model", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == (
        f"cmask: error: {tmp_path / 'none'}: no such model directory; this package carries no preset\n"
    )
    assert main(["concepts"]) == 2
    assert "give --model DIR" in capsys.readouterr().err
