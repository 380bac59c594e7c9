"""`cmask train concept`: one concept more, and all others as they were, to the bit."""

import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as rle
from segmenter_fixture import CONCEPTS, MIXING, THRESHOLDS, photo, smallest_model, smallest_segmenter

from cmask_tf import model_directory
from cmask_tf.cli import main
from cmask_tf.data import schema
from cmask_tf.data.records import INDEX, RecordSet, Summary
from cmask_tf.data.sources import Annotated, Object
from cmask_tf.errors import UserError
from cmask_tf.models.refinement import build_refinement, fold, with_column
from cmask_tf.segmenter import ConceptSegmenter
from cmask_tf.training.concept_photos import ConceptPhotos
from cmask_tf.training.new_concept import _tables, _threshold

OLD = [concept["name"] for concept in CONCEPTS]
SHOWN, PHOTOS = 6, 12


def ellipse(number: int) -> np.ndarray:
    """bool [60, 45], another place in every photo."""
    mask = np.zeros((60, 45), np.uint8)
    cv2.ellipse(mask, (12 + 3 * number, 40 - 4 * number), (9, 12), 0, 0, 360, 1, -1)
    return mask > 0


def bright(number: int) -> np.ndarray:
    """uint8 [60, 45, 3]: where the ellipse is the photo is bright."""
    image = photo(seed=number) // 3
    if number < SHOWN:
        image[ellipse(number)] += 150
    return image


def write_records(folder, name: str, boxes: bool = False, shown: int = SHOWN):
    """Photos of which the first show `name`; all have a mask of something else."""
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "records.tfrecord")) as writer:
        for number in range(PHOTOS):
            code = rle.encode(np.asfortranarray(ellipse(number).astype(np.uint8)))
            thing = Object(name, (0.1, 0.2, 0.5, 0.6)) if boxes else Object(name, mask=code)
            other = Object("nothing known", (0.0, 0.0, 1.0, 1.0))
            objects = (other, thing) if number < shown else (other,)
            png = cv2.imencode(".png", bright(number)[..., ::-1])[1].tobytes()
            writer.write(schema.encode(Annotated(folder, str(number), 60, 45, objects), png))
    summary = Summary("test", PHOTOS, "mask", {name: shown}, {}, ["records.tfrecord"])
    (folder / INDEX).write_text(json.dumps(asdict(summary)))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return smallest_model(tmp_path_factory.getbasetemp() / "smallest-model")


def train(model, records, word, out) -> int:
    arguments = ["--from", str(model), "--data", str(records), "--word", word, "--out", str(out)]
    return main(["train", "concept", *arguments])


@pytest.fixture(scope="module")
def learnt(model, tmp_path_factory):
    """The model, once it has learnt a word of level zero from masks, then one of level image from boxes."""
    folder = tmp_path_factory.mktemp("learnt")
    masks = write_records(folder / "masks", "cape")
    boxes = write_records(folder / "boxes", "street", boxes=True)
    assert train(model, masks, "CAPES", folder / "new") == 0
    assert train(folder / "new", boxes, "street", folder / "new") == 0
    assert sorted(f.name for f in folder.iterdir()) == ["boxes", "masks", "new"]
    return folder / "new"


@pytest.fixture(scope="module")
def segmenter(learnt):
    return ConceptSegmenter.load(learnt)


def test_the_concepts_have_a_level_and_a_column_and_borrow_no_more(model, learnt):
    concepts = model_directory.load_concepts(learnt)
    street = next(concept for concept in CONCEPTS if concept["name"] == "street")
    expected = [{**c, "level": "box"} if c is street else c for c in CONCEPTS]
    assert concepts == [*expected, {"kind": "unknown", "name": "cape", "level": "mask"}]
    before, after = (json.loads((f / "mixing.json").read_text()) for f in (model, learnt))
    assert after == {**before, "p": {q: p for q, p in before["p"].items() if q not in ("cape", "street")}}


@pytest.mark.parametrize("name", ["cape", "street"])
def test_the_map_given_to_stage_3_is_the_columns(learnt, segmenter, name):
    features = segmenter.encode(bright(0))
    refinement = model_directory.load_parts(learnt, ("refinement",))["refinement"]
    place = [c["name"] for c in segmenter.concepts].index(name)
    kernel, bias = refinement.get_weights()[2:]
    for number, found in enumerate(segmenter.attention([name], features), start=1):
        hidden = features.maps[f"hidden_{number}"].numpy()[0]
        expected = 1 / (1 + np.exp(-(hidden @ kernel[0, 0, :, place] + bias[place])))
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_old_concepts_keep_masks_scores_and_columns_to_the_bit(model, learnt, segmenter):
    old = smallest_segmenter(model)
    words = [word for word in old.vocabulary.names if word not in ("cape", "street")]
    before, after = (one.segment(words, one.encode(photo(seed=99))) for one in (old, segmenter))
    np.testing.assert_array_equal(before.masks, after.masks)
    np.testing.assert_array_equal(before.scores, after.scores)
    old, new = (
        model_directory.load_parts(f, ("refinement",))["refinement"].get_weights() for f in (model, learnt)
    )
    others = [place for place, name in enumerate(OLD) if name != "street"]
    np.testing.assert_array_equal(old[0], new[0][:, :, : len(OLD)])
    np.testing.assert_array_equal(old[2][..., others], new[2][..., others])


def test_every_other_file_is_the_same(model, learnt):
    changed = {"concepts.json", "mixing.json", "thresholds.json", "provenance.json"}
    changed |= {"refinement.weights.h5", "verification_words.weights.h5"}  # with a concept more
    for file in model.rglob("*"):
        if file.is_file() and file.name not in changed:
            assert (learnt / file.relative_to(model)).read_bytes() == file.read_bytes()


def test_what_was_done_is_told(learnt):
    reports = model_directory.load_provenance(learnt)["added"]
    own = json.loads((learnt / "thresholds.json").read_text())["concepts"]
    assert own["dress"] == -0.2
    for name, level, folder, report in zip(
        ("cape", "street"), ("mask", "box"), ("masks", "boxes"), reports, strict=True
    ):
        assert (report["name"], report["level"]) == (name, level)
        assert report["photos"] == {"with": SHOWN, "without": PHOTOS - SHOWN}
        assert report["cross_validation"]["folds"] == 5
        assert 0 <= report["cross_validation"]["iou"] <= 1
        assert report["records"][f"{folder}/dataset.json"].startswith("sha256:")
        assert own[name] == report["threshold"]


def test_few_photos_take_the_pooled_threshold():
    raw, shows = np.linspace(1, 0, 10), np.arange(10) < 4
    assert _threshold(raw, shows) is None and _threshold(raw, ~shows[::-1]) is None
    assert _threshold(raw, np.arange(10) < 5) == pytest.approx((raw[4] + raw[5]) / 2)
    # As many photos of one kind as one likes leave it where it is.
    many = np.r_[raw, np.repeat(raw[:5], 9)], np.r_[np.arange(10) < 5, np.ones(45, bool)]
    assert _threshold(*many) == pytest.approx((raw[4] + raw[5]) / 2)
    assert _threshold(np.zeros(10), shows | (raw > 0.5)) is None
    texts = {"mixing": MIXING, "thresholds": THRESHOLDS}
    assert _tables(texts, "bag", None)["thresholds"] == {"pooled": 0.1, "concepts": {"dress": -0.2}}


@pytest.mark.parametrize(
    "word, message",
    [
        ("crown", "'crown': not in the vocabulary of"),
        ("dress", "'dress': has level mask in"),
        ("red hats", "'red hats': has level box in"),
        ("walking", "0 photos show 'walking'; expected at least 3"),
    ],
)
def test_what_cannot_be_learnt_is_one_line_and_nothing_is_written(model, tmp_path, capsys, word, message):
    records = write_records(tmp_path / "records", "cape")
    assert train(model, records, word, tmp_path / "new") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert [f.name for f in tmp_path.iterdir()] == ["records"]


def test_no_records_and_another_folder_in_the_way_are_one_line(model, tmp_path, capsys):
    assert train(model, tmp_path, "cape", tmp_path / "new") == 2
    assert "no such record set; expected one from `cmask data`" in capsys.readouterr().err
    (tmp_path / "thesis.txt").touch()
    assert train(model, tmp_path, "cape", tmp_path) == 2
    assert "exists and is not a model directory" in capsys.readouterr().err


def test_a_target_is_the_share_of_each_cell_that_masks_and_boxes_cover(tmp_path):
    photos = ConceptPhotos.read(RecordSet.open(write_records(tmp_path / "m", "cape")), "cape", ["cape"])
    assert photos.level == "mask" and photos.shows.tolist() == [True] * 6 + [False] * 6
    np.testing.assert_array_equal(photos.truth(2), ellipse(2))
    shares = ellipse(2).reshape(3, 20, 3, 15).mean(axis=(1, 3))
    np.testing.assert_allclose(photos.target(2, 3), shares, atol=1e-6)
    assert not photos.target(7, 3).any()
    np.testing.assert_array_equal(photos.image(2), bright(2))
    boxed = ConceptPhotos.read(RecordSet.open(write_records(tmp_path / "b", "cape", True)), "cape", ["cape"])
    expected = np.zeros((60, 45), bool)
    expected[6:30, 9:27] = True
    assert boxed.level == "box"
    np.testing.assert_array_equal(boxed.truth(0), expected)


@pytest.mark.parametrize("concepts", [7, 8, 40])
def test_a_new_input_of_zeros_leaves_the_folded_layer_as_it_was_to_the_bit(concepts):
    rng = np.random.default_rng(concepts)
    network = build_refinement(concepts, 32)
    network.set_weights([rng.normal(size=w.shape) for w in network.get_weights()])
    words = rng.normal(size=(concepts + 1, 35)).astype(np.float32)
    grown = with_column(network, concepts, np.arange(32), 0.5)
    np.testing.assert_array_equal(fold(network, words[:-1])[0], fold(grown, words)[0])
    first, bias, kernel, biases = grown.get_weights()
    assert not first[0, 0, concepts].any() and biases[concepts] == 0.5
    np.testing.assert_array_equal(kernel[0, 0, :, concepts], np.arange(32))


def test_a_photo_that_does_not_decode_is_named(tmp_path):
    folder = write_records(tmp_path / "m", "cape")
    photos = ConceptPhotos.read(RecordSet.open(folder), "cape", ["cape"])
    broken = photos.serialized[0].replace(b"IHDR", b"IHDX")
    with pytest.raises(UserError, match="photo 0 of the records cannot be decoded"):
        replace(photos, serialized=[broken]).image(0)
