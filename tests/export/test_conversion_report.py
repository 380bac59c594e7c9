"""benchmarks/conversion_report.py: what it measures, that it goes on where it stopped, and its tables."""

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_fixture import LEFT, TOP, write_photos
from lively_fixture import lively_model

from cmask_tf.errors import UserError

ROOT = Path(__file__).parents[2]
CATEGORIES = {
    "dress": {"level": "mask", "kind": "object"},
    "hair": {"level": "box", "kind": "part"},
    "cape": {"level": "zero", "kind": "object"},
}

# Conversions take seconds each; on a busy machine minutes.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", autouse=True)
def paths():
    added = [str(ROOT / "benchmarks"), str(ROOT / "export" / "examples")]
    sys.path[:0] = added
    yield
    for path in added:
        sys.path.remove(path)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Four photos; every level's concepts are in at least three of them."""
    folder = tmp_path_factory.mktemp("split")
    truths = [{"dress": TOP, "hair": LEFT, "cape": ~TOP}] * 3 + [{"dress": LEFT}]
    return write_photos(folder, truths, CATEGORIES)


@pytest.fixture(scope="module")
def run(split, tmp_path_factory):
    """The report of three forms, of which one is skipped: its options."""
    import conversion_report
    import conversion_variants

    named = {variant.title: variant for variant in conversion_variants.VARIANTS}
    few = [named[title] for title in (conversion_variants.REFERENCE, "TFLite dynamic", "TFLite int8")]
    args = argparse.Namespace(
        model=str(lively_model(tmp_path_factory.getbasetemp() / "lively-report")),
        images=split.parent,
        masks=split,
        photos=None,
        concepts=2,
        threads=1,
        limit=None,
        document=tmp_path_factory.mktemp("document") / "doc.md",
        out=tmp_path_factory.mktemp("report") / "out",
    )
    args.document.write_text("before\n<!-- measured -->\nold\n<!-- end of measured -->\nbehind\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(conversion_variants, "VARIANTS", tuple(few))
        patched.setattr("tensorflow.config.threading.set_intra_op_parallelism_threads", lambda count: None)
        conversion_report.report(args)
        yield args


def test_every_form_has_a_row_or_the_reason_why_it_has_none(run):
    rows = json.loads((run.out / "conversion.json").read_text())["rows"]
    assert rows["TFLite int8"] == {"skipped": "no --photos to measure ranges on"}
    assert rows["TensorRT"] == {"skipped": "no package tensorrt"}
    reference, dynamic = rows["SavedModel float32"], rows["TFLite dynamic"]
    assert set(reference["levels"]) == set(dynamic["levels"]) == {"mask", "box", "zero"}
    assert dynamic["sizes"]["networks"] < reference["sizes"]["networks"]
    assert dynamic["process"]["alone_mib"] < dynamic["process"]["peak_mib"] < reference["process"]["peak_mib"]
    turns = dynamic["turns"]
    assert turns["masks"] == 10
    assert turns["mask"]["spread"] > 0.1 > turns["mask"]["apart"] > 0
    assert min(turns[step][key] for step in ("encode", "decode") for key in turns[step]) > 0


def test_a_document_gets_the_tables_between_its_marks(run, tmp_path):
    import conversion_report

    text = run.document.read_text()
    assert text.startswith("before\n<!-- measured -->\n\nModel `lively-report`; 4 photos; 2 concepts")
    assert text.endswith("\n\n<!-- end of measured -->\nbehind\n")
    (tmp_path / "bare.md").write_text("no marks")
    with pytest.raises(UserError, match="bare.md: expected the marks"):
        conversion_report.filled_in(tmp_path / "bare.md", "")


def test_the_reference_is_scored_as_the_model_is(run):
    from cmask_tf.evaluation.evaluate import evaluate
    from cmask_tf.evaluation.systems import SegmenterSystem
    from cmask_tf.segmenter import ConceptSegmenter

    system = SegmenterSystem(ConceptSegmenter.load(run.model))
    expected = evaluate(system, run.images, run.masks, run.out.parent / "model")
    found = json.loads((run.out / "conversion.json").read_text())["rows"]["SavedModel float32"]
    assert found["levels"] == pytest.approx({n: v["iou"] for n, v in expected["levels"].items()}, abs=1e-3)
    assert found["auc"] == pytest.approx(expected["presence"]["auc_macro"], abs=1e-3)


def test_what_was_measured_is_not_measured_again(run, monkeypatch):
    import conversion_report

    (run.out / "results" / "tflite-int8.json").unlink()
    asked = []
    monkeypatch.setattr(
        conversion_report, "measured", lambda variant, *_: asked.append(variant.title) or {"skipped": "again"}
    )
    conversion_report.report(run)
    assert asked == ["TFLite int8"]
    assert "- TFLite int8: again" in (run.out / "conversion.md").read_text()


def test_a_report_of_something_else_is_not_mixed_in(run):
    import conversion_report

    with pytest.raises(UserError, match="holds a report with another concepts; give another --out"):
        conversion_report.report(argparse.Namespace(**{**vars(run), "concepts": 3}))
    with pytest.raises(UserError, match="exists and is no report of conversions"):
        conversion_report.same_run(run.images, {})


class Fake:
    """Answers with constants; `shift` is added to every probability."""

    concepts = 2

    def __init__(self, shift: float = 0.0) -> None:
        self._shift, self.asked = shift, []

    def prepare(self, image):
        return image

    def encode(self, given):
        return given

    def parameters(self, names):
        return names

    def decode(self, features, names):
        self.asked.append(names)
        masks = np.stack([np.eye(4), np.zeros((4, 4))]) * 0.5
        return masks + self._shift, np.array([0.25, 0.75]) + self._shift


def test_photos_are_asked_of_both_in_turns():
    import conversion_report

    vocabulary = SimpleNamespace(names=["a", "b", "c"], find={"a": 0, "b": 1, "c": 2}.get)
    photos = [SimpleNamespace(image=None, truths={"c": None})] * 3
    ours, theirs = Fake(-0.125), Fake()
    found = conversion_report.turns(ours, theirs, photos, vocabulary)
    assert ours.asked == theirs.asked == [("c", "a")] * 3
    assert found["masks"] == 3 and found["iou"] == 0  # of "c" alone: its diagonal is below 0.5 now
    assert found["mask"]["apart"] == found["mask"]["largest"] == 0.125
    assert found["mask"]["spread"] == pytest.approx(np.stack([np.eye(4), np.zeros((4, 4))]).std() / 2)
    assert found["score"]["spread"] == 0.25
    assert found["decode"]["times"] > 0


@pytest.mark.parametrize(
    "own, expected",
    [
        ([], ["a", "b"]),
        (["c"], ["c", "a"]),
        (["a", "b"], ["a", "b"]),
        (["a", "b", "c"], ["a", "b", "c", "c"]),
    ],
)
def test_words_make_whole_groups(own, expected):
    import conversion_report

    assert conversion_report.filled(own, ["a", "b", "c"], 2) == expected


def test_a_split_is_cut_evenly(split):
    import conversion_report

    cut = conversion_report.chosen(split, 2)
    assert [image["id"] for image in cut["images"]] == [0, 3]
    assert {a["image_id"] for a in cut["annotations"]} == {0, 3}
    with pytest.raises(UserError, match="expected a COCO instances file"):
        conversion_report.chosen(split.parent / "0.png", 2)


def test_the_tables_of_given_figures():
    import conversion_tables
    from conversion_variants import Variant

    step = {"ms": 5.0, "reference_ms": 10.0, "times": 0.5}
    row = {"sizes": {"networks": 8_000_000, "words": 0}, "levels": {"mask": 0.5, "zero": 0.25}, "auc": 0.75}
    row |= {"process": {"load_s": 1.5, "alone_mib": 300.0, "peak_mib": 500.0}, "ops": {}}
    same = {"apart": 0.001, "largest": 0.2, "spread": 0.3}
    turns = {"encode": step, "decode": step, "iou": 0.99, "masks": 10, "mask": same, "score": same}
    variants = (
        Variant("SavedModel float32", "saved_model", "float32"),
        Variant("TFLite float16", "tflite", "float16", 0.005, 0.005),
        Variant("TFLite int8", "tflite", "int8", 0.02, 0.02),
        Variant("ONNX float32", "onnx", "float32", 1e-4, 0.005),
    )
    rows = {"SavedModel float32": row, "ONNX float32": {"skipped": "not here"}}
    rows["TFLite float16"] = row | {"turns": turns, "levels": {"mask": 0.504, "zero": 0.246}, "auc": 0.74}
    rows["TFLite int8"] = {**rows["TFLite float16"], "levels": {"mask": 0.47, "zero": 0.25}}
    rows["TFLite int8"] |= {"sizes": {"networks": 2_000_000, "words": 500_000}, "ops": {"encode": {"ADD": 3}}}
    rows["TFLite int8"]["turns"] = turns | {"mask": {**same, "apart": 0.1}, "score": {**same, "spread": 0.1}}
    about = {"name": "street", "photos": 10, "concepts": 8, "threads": 2}
    text = conversion_tables.report({"about": about, "rows": rows}, variants)
    assert "| TFLite int8 | 2.00 | 0.25 | 0.50 | 1.500 | 500 | 300 | 5.00 | 10.00 | 0.50 |" in text
    assert "| TFLite float16 | 0.9900 | +0.0040 | -0.0040 | -0.0100 |" in text
    assert "- TFLite float16: within 0.005 of mean IoU on every level (most 0.0040)" in text
    assert "- TFLite int8: **not within** 0.02 of mean IoU on every level (most 0.0300)" in text
    assert "| TFLite int8 | mask | 1.0e-01 | 2.0e-01 | 0.02 | 0.30 | **no** |" in text
    assert "| 0.02 | 0.10 | says nothing: less than 10 bounds |" in text
    assert "- TFLite int8, `encode`: 3 ADD" in text
    assert "- ONNX float32: not here" in text
