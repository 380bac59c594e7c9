"""`evaluate`: a fake segmenter whose figures can be told beforehand."""

import json

import numpy as np
import pytest
from evaluation_fixture import HEIGHT, LEFT, TOP, WIDTH, FakeSegmenter, write_photos
from PIL import Image

from cmask_tf.errors import UserError
from cmask_tf.evaluation.evaluate import evaluate
from cmask_tf.evaluation.systems import Prediction, SegmenterSystem

CATEGORIES = {
    "dress": {"level": "mask", "kind": "object"},
    "hair": {"level": "box", "kind": "part"},
    "cape": {"level": "zero", "kind": "object"},
}
# Four photos: dress in all but the last, hair in three, cape in the first two alone.
TRUTHS = [
    {"dress": TOP, "hair": LEFT, "cape": TOP},
    {"dress": TOP, "hair": LEFT, "cape": TOP},
    {"dress": TOP & LEFT},
    {"hair": LEFT},
]
MASKS = {"dress": TOP, "hair": TOP, "cape": ~TOP}
SCORES = {
    **{(n, "dress"): 0.9 for n in range(3)},
    **{(n, "hair"): 0.8 for n in (0, 1)},  # missed in photo 3
    (2, "hair"): 0.6,  # not there
}


def system(maps=None) -> SegmenterSystem:
    return SegmenterSystem(FakeSegmenter(MASKS, SCORES, maps))


@pytest.fixture
def world(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder, write_photos(folder, TRUTHS, CATEGORIES)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One evaluation for the tests that only look at it: the metrics and the folder."""
    folder = tmp_path_factory.mktemp("photos")
    file = write_photos(folder, TRUTHS, CATEGORIES)
    return evaluate(system(), folder, file, folder / "out"), folder / "out"


@pytest.fixture
def metrics(finished):
    return finished[0]


def test_quality_is_measured_where_the_concept_is_present(metrics):
    dress, hair, cape = (metrics["concepts"][name] for name in CATEGORIES)
    assert dress["examples"] == 3
    assert dress["iou"] == pytest.approx((1 + 1 + 0.5) / 3)  # TOP is twice as large as the third truth
    assert dress["precision"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert dress["recall"] == 1.0
    assert (hair["iou"], hair["precision"], hair["recall"]) == pytest.approx((1 / 3, 1 / 2, 1 / 2))
    assert (cape["iou"], cape["examples"]) == (0.0, 2)


def test_attention_is_measured_on_its_own_map(metrics):
    dress, hair, cape = (metrics["concepts"][name] for name in CATEGORIES)
    assert (dress["pointing_game"], hair["pointing_game"], cape["pointing_game"]) == (1.0, 1.0, 0.0)
    assert dress["soft_iou"] == dress["iou"]  # binary maps


def test_both_scales_are_upsampled_and_averaged(world, tmp_path):
    low, high = np.full((3, 4), 0.2, np.float32), np.full((6, 8), 0.6, np.float32)
    maps = {name: (low, high) for name in CATEGORIES}
    found = evaluate(system(maps), *world, tmp_path / "out")
    # A constant map of 0.4 against a truth that fills half the photo: .4 * .5 / (.5 + .4 * .5)
    assert found["concepts"]["hair"]["soft_iou"] == pytest.approx(0.2 / 0.7, abs=1e-6)


def test_levels_and_kinds_hold_the_keys_that_others_read(metrics):
    keys = {"precision", "recall", "iou", "boundary_iou", "pointing_game", "soft_iou", "concepts", "examples"}
    assert set(metrics["levels"]) == {"mask", "box"}  # cape has but two photos
    assert set(metrics["kinds"]) == {"object", "part"}
    for row in [*metrics["levels"].values(), *metrics["kinds"].values()]:
        assert set(row) == keys
    assert metrics["levels"]["box"]["iou"] == pytest.approx(1 / 3)
    assert metrics["minimum_photos"] == 3


def test_presence_is_over_all_pairs(metrics):
    found = metrics["presence"]
    assert found["pairs"] == 12
    assert found["precision"] == pytest.approx(5 / 6)  # hair in photo 2 is wrong
    assert found["recall"] == pytest.approx(5 / 8)  # hair in photo 3 and both capes are missed
    # Absent: dress in 3, hair in 2, cape in 2 and 3; every mask covers half of the photo.
    assert found["false_area"] == pytest.approx(0.5)
    assert found["false_area_shown"] == pytest.approx(0.5 / 4)
    assert set(found) >= {"auc_macro", "auc_pooled", "auc_pooled_photo_blind", "ap", "mcc"}


def test_a_photo_is_encoded_once_besides_the_pictures(world, tmp_path):
    segmenter = FakeSegmenter(MASKS, SCORES)
    evaluate(SegmenterSystem(segmenter), *world, tmp_path / "out")
    assert segmenter.encoded[:4] == [0, 1, 2, 3]
    assert len(segmenter.encoded) <= 4 + 5


def test_the_report_is_written_with_its_pictures(finished):
    metrics, out = finished
    assert json.loads((out / "metrics.json").read_text()) == metrics
    text = (out / "report.md").read_text()
    for piece in ("## Levels", "## Kinds", "## Presence", "fewer than 3 photos", "worst", "best", "| dress "):
        assert piece in text
    pictures = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(pictures) >= 3
    assert sorted(p.name for p in out.glob("*.png")) == sorted(pictures)
    assert "reliability.png" in pictures


class MapsAlone:
    """A system without masks, scores or decisions; it knows two of the three concepts."""

    def answers(self, name):
        return name != "cape"

    def predict(self, path, image, names):
        for name in names:
            yield Prediction(name, attention=MASKS[name].astype(np.float32))


def test_what_a_system_does_not_say_is_null_and_a_dash(world, tmp_path):
    metrics = evaluate(MapsAlone(), *world, tmp_path / "out", title="maps")
    mask = metrics["levels"]["mask"]
    assert (mask["pointing_game"], mask["iou"], mask["boundary_iou"]) == (1.0, None, None)
    assert metrics["semantic"] is None
    known = {key for key, value in metrics["presence"].items() if isinstance(value, float)}
    assert not known
    assert metrics["not_in_vocabulary"] == ["cape"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert "# Evaluation: maps" in text and " - |" in text and "![" not in text


def test_a_floor_that_knows_fewer_concepts_has_a_dash_beside(world, tmp_path):
    metrics = evaluate(system(), *world, tmp_path / "out", floors={"maps": MapsAlone()})
    assert metrics["baselines"]["maps"]["levels"]["mask"]["soft_iou"] == pytest.approx(2.5 / 3)
    assert "IoU, maps" in (tmp_path / "out" / "report.md").read_text()


def test_levels_and_kinds_that_the_file_does_not_give_are_the_models(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    file = write_photos(folder, TRUTHS, {name: {} for name in CATEGORIES})
    concepts = evaluate(system(), folder, file, tmp_path / "out")["concepts"]
    assert {name: (row["level"], row["kind"]) for name, row in concepts.items()} == {
        "dress": ("mask", "object"),
        "hair": ("box", "part"),
        "cape": ("zero", "object"),
    }


def test_a_category_outside_the_vocabulary_is_left_out_and_named(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    file = write_photos(folder, [{"dress": TOP, "zeppelin": LEFT}] * 3, {"dress": {}, "zeppelin": {}})
    metrics = evaluate(system(), folder, file, tmp_path / "out")
    assert metrics["not_in_vocabulary"] == ["zeppelin"]
    assert list(metrics["concepts"]) == ["dress"]
    assert "zeppelin" in (tmp_path / "out" / "report.md").read_text()


def test_a_turned_photos_masks_are_turned_along(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    file = write_photos(folder, [{"dress": TOP}], {"dress": {}})
    exif = Image.Exif()
    exif[0x0112] = 5  # a person sees rows and columns exchanged
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(folder / "0.png", exif=exif)
    maps = {"dress": (np.ones((2, 2), np.float32),) * 2}
    metrics = evaluate(SegmenterSystem(FakeSegmenter(MASKS, {}, maps)), folder, file, tmp_path / "out")
    assert metrics["concepts"]["dress"]["iou"] == 1.0


def test_a_photo_of_another_size_than_its_masks_is_named(world, tmp_path):
    folder, file = world
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(folder / "1.png")
    with pytest.raises(UserError, match=r"1\.png: 5 x 5 pixels"):
        evaluate(system(), folder, file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_an_earlier_report_is_replaced(tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    world = folder, write_photos(folder, [{"dress": TOP}], {"dress": {}})
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not an evaluation"):
        evaluate(system(), *world, out)
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]
    (out / "thesis.tex").unlink()
    for _ in range(2):
        evaluate(system(), *world, out)
    assert (out / "metrics.json").is_file()
    assert not out.with_name("out.partial").exists()
