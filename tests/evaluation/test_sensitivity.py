"""One change in the input changes exactly the figures that it should, and what is missing is an error."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import reference
from evaluation_fixture import HEIGHT, LEFT, TOP, WIDTH, write_photos

from cmask_tf.errors import UserError
from cmask_tf.evaluation import report
from cmask_tf.evaluation.evaluate import evaluate
from cmask_tf.evaluation.examples import COLUMNS
from cmask_tf.evaluation.systems import Prediction
from cmask_tf.metrics import METRICS

CATEGORIES = {
    "dress": {"level": "mask", "kind": "object"},
    "hair": {"level": "mask", "kind": "part"},
    "cape": {"level": "zero", "kind": "object"},
}
TRUTHS = [
    {"dress": TOP, "hair": LEFT},
    {"dress": TOP & LEFT, "hair": LEFT, "cape": ~TOP},
    {"dress": TOP, "cape": ~LEFT},
    {"hair": ~LEFT, "dress": ~TOP, "cape": TOP},
    {"dress": ~TOP},
]
COUNTED = {"pairs", "pairs_present"}
DECISIONS = {"mcc", "precision", "recall"}


@dataclasses.dataclass
class Given:
    """A system that answers with what a table holds: (photo, concept) -> Prediction."""

    table: dict

    def answers(self, name):
        return name != "zeppelin"

    def predict(self, path, image, names):
        for name in names:
            if (int(path.stem), name) in self.table:
                yield self.table[int(path.stem), name]


def answers() -> dict:
    """Random masks, maps and scores; found from 0.5."""
    rng = np.random.default_rng(0)
    table = {}
    for photo in range(len(TRUTHS)):
        for name in CATEGORIES:
            probability, attention = rng.random((2, HEIGHT, WIDTH), np.float32)
            score = round(float(rng.random()), 3)
            table[photo, name] = Prediction(name, probability, attention, score, score >= 0.5)
    return table


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Drawing takes most of an evaluation's time, and no figure comes from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_overlay", lambda *args: None)
        patch.setattr(report.reliability, "plot", lambda *args: None)
        yield


class Run:
    """One evaluation: its metrics and its rows by (photo, concept)."""

    def __init__(self, folder, table, truths=TRUTHS, categories=CATEGORIES):
        folder.mkdir()
        self.out = folder / "out"
        file = write_photos(folder, truths, categories)
        self.metrics = evaluate(Given(table), folder, file, self.out, title="table")
        with open(self.out / "examples.csv", newline="") as file:
            reader = csv.DictReader(file)
            self.columns = tuple(reader.fieldnames)
            self.rows = {(row["photo"], row["concept"]): row for row in reader}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("first") / "photos", answers())


def differences(a, b, place=()):
    """The places where two nested dicts differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return {d for key in a.keys() | b.keys() for d in differences(a.get(key), b.get(key), (*place, key))}
    if isinstance(a, list):
        return {place} if a != b else set()
    return {place} if a != b else set()


def test_the_file_has_a_row_for_every_pair_and_empty_fields_where_nothing_is_defined(first):
    assert first.columns == COLUMNS
    assert len(first.rows) == len(TRUTHS) * len(CATEGORIES)
    there, absent = first.rows["0.png", "dress"], first.rows["0.png", "cape"]
    assert (there["level"], there["kind"], there["truth"], absent["truth"]) == ("mask", "object", "1", "0")
    assert all(there[metric] for metric in METRICS)
    assert not any(absent[metric] for metric in METRICS)
    assert absent["area"] and absent["score"] and absent["found"]


def test_the_means_can_be_worked_out_again_from_the_file(first):
    rows = [row for row in first.rows.values() if row["truth"] == "1"]
    for metric in METRICS:
        values = [(row["photo"], row["concept"], float(row[metric])) for row in rows]
        levels = {name: about["level"] for name, about in CATEGORIES.items()}
        found = {level: row[metric] for level, row in first.metrics["levels"].items()}
        assert found == pytest.approx(reference.level_means(values, levels, 3), abs=1e-12)
    truth = np.array([row["truth"] == "1" for row in first.rows.values()])
    scores = np.array([float(row["score"]) for row in first.rows.values()])
    assert first.metrics["presence"]["auc_pooled"] == pytest.approx(reference.roc_auc(truth, scores))


def test_one_pixel_changes_its_own_row_and_the_means_above_it(first, tmp_path):
    table = answers()
    old = table[1, "dress"]
    probability = old.probability.copy()
    probability[2, 3] = 1 - probability[2, 3]  # a pixel of the true mask, to the other side of 0.5
    table[1, "dress"] = dataclasses.replace(old, probability=probability)
    changed = Run(tmp_path / "photos", table)
    assert {pair for pair in first.rows if first.rows[pair] != changed.rows[pair]} == {("1.png", "dress")}
    row = changed.rows["1.png", "dress"]
    fields = {key for key in row if row[key] != first.rows["1.png", "dress"][key]}
    assert (
        {"precision", "recall", "iou", "area"}
        <= fields
        <= {"precision", "recall", "iou", "boundary_iou", "area"}
    )
    masks = fields - {"area"}
    found = differences(first.metrics, changed.metrics)  # two concepts lie there: none of its own to label
    groups = [("concepts", "dress"), ("levels", "mask"), ("kinds", "object")]
    assert found == {(*group, metric) for group in groups for metric in masks}


def test_a_pixel_of_an_absent_concepts_mask_changes_false_area_alone(first, tmp_path):
    table = answers()
    old = table[0, "cape"]
    probability = old.probability.copy()
    probability[5, 5] = 1 - probability[5, 5]
    table[0, "cape"] = dataclasses.replace(old, probability=probability, present=True)
    base = Run(tmp_path / "base", {**table, (0, "cape"): dataclasses.replace(old, present=True)})
    changed = Run(tmp_path / "changed", table)
    found = differences(base.metrics, changed.metrics)
    assert found == {("presence", "false_area"), ("presence", "false_area_shown")}


def test_one_threshold_changes_that_concepts_decisions_alone(first, tmp_path):
    table = answers()
    for photo in range(len(TRUTHS)):
        old = table[photo, "hair"]
        table[photo, "hair"] = dataclasses.replace(old, present=old.score >= 0.9)
    changed = Run(tmp_path / "photos", table)
    moved = {pair for pair in first.rows if first.rows[pair] != changed.rows[pair]}
    assert moved and {name for _, name in moved} == {"hair"}
    assert all(first.rows[pair] | {"found": "0"} == changed.rows[pair] for pair in moved)
    found = {d for d in differences(first.metrics, changed.metrics) if d[0] != "semantic"}
    decided = {("presence", key) for key in DECISIONS | {"false_area_shown"}}
    assert found <= decided | {("presence", "by_concept", "hair", key) for key in DECISIONS}
    assert ("presence", "recall") in found and ("presence", "by_concept", "hair", "recall") in found


def test_a_threshold_that_moves_the_scores_along_leaves_what_orders_them(first, tmp_path):
    """As a model does it: of a concept the score is calibrated so that 0.5 is its threshold."""
    table = answers()
    for photo in range(len(TRUTHS)):
        old = table[photo, "hair"]
        score = float(1 / (1 + np.exp(2.0) * (1 / old.score - 1)))  # a higher threshold
        table[photo, "hair"] = dataclasses.replace(old, score=score, present=score >= 0.5)
    changed = Run(tmp_path / "photos", table)
    moved = {pair for pair in first.rows if first.rows[pair] != changed.rows[pair]}
    assert moved == {(f"{photo}.png", "hair") for photo in range(len(TRUTHS))}
    for pair in moved:
        fields = {key for key, value in first.rows[pair].items() if changed.rows[pair][key] != value}
        assert "score" in fields and fields <= {"score", "found"}
    found = {d for d in differences(first.metrics, changed.metrics) if d[0] != "semantic"}
    pooled = {("presence", key) for key in DECISIONS | {"false_area_shown", "auc_pooled"}}
    calibration = {("presence", "reliability", key) for key in ("ece", "bins")}
    own = {("presence", "by_concept", "hair", key) for key in DECISIONS}
    assert calibration | {("presence", "auc_pooled"), ("presence", "recall")} <= found
    assert found <= pooled | calibration | own


def test_a_missing_photo_takes_its_rows_along_and_nothing_else(first, tmp_path):
    """The last photo holds a dress alone: of the other concepts quality stays, presence loses a pair."""
    without = Run(tmp_path / "photos", answers(), TRUTHS[:-1])
    assert without.rows == {pair: row for pair, row in first.rows.items() if pair[0] != "4.png"}
    found = differences(first.metrics, without.metrics)
    assert {d[1] for d in found if d[0] == "concepts"} == {"dress"}
    assert {d[1] for d in found if d[0] == "levels"} == {"mask"}
    for name in CATEGORIES:
        assert ("presence", "by_concept", name, "pairs") in found
        assert (("presence", "by_concept", name, "pairs_present") in found) == (name == "dress")
    assert without.metrics["photos"] == 4
    assert without.metrics["presence"]["pairs"] == 12


def test_a_concept_that_the_system_does_not_answer_has_empty_rows_and_takes_no_part(first, tmp_path):
    truths = [{**masks, "zeppelin": LEFT} for masks in TRUTHS]
    wider = Run(tmp_path / "photos", answers(), truths, {**CATEGORIES, "zeppelin": {}})
    empty = wider.rows["0.png", "zeppelin"]
    assert (empty.pop("truth"), empty.pop("level"), empty.pop("kind")) == ("1", "unknown", "unknown")
    assert not any(value for key, value in empty.items() if key not in ("photo", "concept"))
    assert {pair: row for pair, row in wider.rows.items() if pair[1] != "zeppelin"} == first.rows
    assert differences(first.metrics, wider.metrics) == {("not_in_vocabulary",)}


def given(**changes):
    return lambda prediction: dataclasses.replace(prediction, **changes)


def spoiled(array, value):
    array = array.copy()
    array[3, 4] = value
    return array


HALVES = np.full((HEIGHT, WIDTH), 0.5, np.float32)
FAULTS = {
    "probability: not a finite number": given(probability=spoiled(HALVES, np.nan)),
    "attention: not a finite number": given(attention=spoiled(HALVES, np.inf)),
    r"probability: expected values in \[0, 1\], not 0.5 to 255": given(probability=spoiled(HALVES, 255)),
    r"probability: expected \[12, 16\], the photo's size, not \[5, 5\]": given(probability=HALVES[:5, :5]),
    r"score: expected a number in \[0, 1\], not nan": given(score=float("nan")),
    "expected its prediction, not that of gown": given(name="gown"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_prediction_that_is_none_is_an_error_that_names_it(message, tmp_path):
    table = answers()
    table[2, "hair"] = FAULTS[message](table[2, "hair"])
    with pytest.raises(UserError, match=rf"^table: .*2\.png: hair: {message}") as error:
        Run(tmp_path / "photos", table)
    assert "\n" not in str(error.value)
    assert not [file for file in (tmp_path / "photos").iterdir() if file.suffix not in (".png", ".json")]


def test_a_missing_prediction_is_an_error_and_not_a_skipped_row(tmp_path):
    table = answers()
    del table[3, "cape"]
    with pytest.raises(UserError, match=r"^table: .*3\.png: cape: no prediction"):
        Run(tmp_path / "photos", table)
    assert not (tmp_path / "photos" / "out").exists()


def test_metrics_json_holds_no_number_that_json_does_not_know(first):
    def refuse(constant):
        raise AssertionError(constant)

    json.loads((first.out / "metrics.json").read_text(), parse_constant=refuse)
