"""Predictions that never look at the photo, learned from training records."""

import numpy as np
import pytest
from evaluation_fixture import HEIGHT, LEFT, TOP, WIDTH, FakeSegmenter, FakeVocabulary, write_photos
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data import records
from cmask_tf.data.sources import Annotated, Annotations, Object
from cmask_tf.errors import UserError
from cmask_tf.evaluation.baselines import PositionPrior, WholeImage
from cmask_tf.evaluation.evaluate import evaluate
from cmask_tf.evaluation.systems import SegmenterSystem

BOX_LEFT = (0.0, 0.0, 1.0, 0.5)
BOX_TOP = (0.0, 0.0, 0.5, 1.0)


def coded(mask):
    return rle.encode(np.asfortranarray(mask.astype(np.uint8)))


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """Dress by masks (the top, once the top left), hair by boxes (the left), cape by nothing."""
    folder = tmp_path_factory.mktemp("training")
    photo = folder / "photo.png"
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(photo)

    def annotated(*objects):
        return Annotated(photo, "photo", HEIGHT, WIDTH, objects)

    dresses = [annotated(Object(name, BOX_TOP, coded(TOP))) for name in ("dress", "gown", "dress")]
    dresses.append(
        annotated(Object("dress", BOX_TOP, coded(TOP & LEFT)), Object("zeppelin", BOX_TOP, coded(~TOP)))
    )
    write_set(dresses, folder / "masks")
    pieces = annotated(Object("hair", (0.0, 0.0, 0.5, 0.5)), Object("hair", (0.5, 0.0, 1.0, 0.5)))
    boxed = [annotated(Object("hair", BOX_LEFT)), pieces, annotated(Object("dress", BOX_TOP))]
    write_set(boxed, folder / "boxes")
    return folder


def predicted(system, name, height, width):
    """The mask bool and the map of one concept in a photo of a size."""
    [found] = system.predict("photo.png", np.zeros((height, width, 3), np.uint8), [name])
    assert (found.name, found.score, found.present) == (name, None, None)
    return found.probability >= 0.5, found.attention


def write_set(photos, out):
    records.write(lambda work, faults: Annotations.of(photos), out, inputs={}, source="test")


@pytest.fixture(scope="module")
def prior(training):
    return PositionPrior(training, FakeVocabulary())


def test_the_whole_image_is_every_pixel():
    mask, attention = predicted(WholeImage(), "dress", 3, 5)
    assert mask.shape == attention.shape == (3, 5)
    assert mask.all() and (attention == 1).all()


def test_a_concept_with_masks_gets_their_mean_cut_where_training_iou_is_best(prior):
    dress = prior.maps["masks", 0]
    np.testing.assert_allclose(dress[:31, :31], 1.0)
    np.testing.assert_allclose(dress[:31, 33:], 0.75)
    np.testing.assert_allclose(dress[33:], 0.0)
    # Three of four examples fill the top: a cut below .75 has mean IoU (3 + 1/2) / 4, above it (3/2 + 1) / 4.
    assert 0 < prior.cuts["masks", 0] <= 0.75
    mask, _ = predicted(prior, "dress", HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask, TOP)


def test_a_concept_without_masks_gets_its_boxes_and_pieces_are_one_example(prior):
    np.testing.assert_allclose(prior.maps["boxes", 1][:, :32], 1.0)
    np.testing.assert_array_equal(predicted(prior, "hair", HEIGHT, WIDTH)[0], LEFT)


def test_a_concept_with_neither_gets_the_mean_of_all_boxes(prior):
    _, attention = predicted(prior, "cape", 64, 64)
    expected = np.zeros((64, 64))
    expected[:, :32] += 2 / 3
    expected[:32] += 1 / 3
    np.testing.assert_allclose(attention, expected, atol=1e-6)


def test_the_prior_has_the_photos_size(prior):
    mask, attention = predicted(prior, "dress", 7, 31)
    assert mask.shape == attention.shape == (7, 31)


def test_without_a_vocabulary_equal_names_are_one_concept(training):
    prior = PositionPrior(training)
    assert prior.answers("anything")
    dress, _ = predicted(prior, "dress", HEIGHT, WIDTH)
    gown, _ = predicted(prior, "gown", HEIGHT, WIDTH)
    np.testing.assert_array_equal(dress, TOP)  # of two photos, one of them the top left
    np.testing.assert_array_equal(gown, TOP)  # of the one that is called so
    np.testing.assert_allclose(predicted(prior, "hat", 64, 64)[1][:32, :32], 1.0)


def test_missing_records_are_named(tmp_path):
    with pytest.raises(UserError, match="masks/dataset.json: missing"):
        PositionPrior(tmp_path, FakeVocabulary())


def test_the_baselines_stand_beside_the_model_in_the_report(training, tmp_path):
    file = write_photos(tmp_path, [{"dress": TOP}] * 3 + [{"hair": LEFT}] * 3, {"dress": {}, "hair": {}})
    segmenter = FakeSegmenter({"dress": TOP, "hair": ~LEFT}, {})
    floors = {"whole image": WholeImage(), "position prior": PositionPrior(training, FakeVocabulary())}
    metrics = evaluate(SegmenterSystem(segmenter), tmp_path, file, tmp_path / "out", floors=floors)
    assert metrics["baselines"]["whole image"]["levels"]["mask"]["iou"] == 0.5
    assert metrics["baselines"]["whole image"]["levels"]["mask"]["recall"] == 1.0
    assert metrics["baselines"]["position prior"]["levels"]["mask"]["iou"] == 1.0
    assert metrics["baselines"]["position prior"]["kinds"]["part"]["iou"] == 1.0
    assert metrics["levels"]["box"]["iou"] == 0.0
    header = next(
        line for line in (tmp_path / "out" / "report.md").read_text().splitlines() if "| level" in line
    )
    assert "IoU, whole image" in header and "IoU, position prior" in header
