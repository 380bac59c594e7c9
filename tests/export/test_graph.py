"""The published signatures: ConceptSegmenter's answers, and what is wrong spoils its own cell."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from segmenter_fixture import WORDS, photo

from cmask_tf.export.graph import check_vectors, draw_png
from cmask_tf.segmenter import CHUNK

PHOTO, OTHER = photo(), photo(80, 100, seed=1)


@pytest.fixture(scope="module")
def expected(segmenter):
    return segmenter.segment(WORDS, segmenter.encode(PHOTO))


@pytest.fixture(scope="module")
def vectors(segmenter):
    return segmenter.vocabulary.vectors[[segmenter.vocabulary.index(word) for word in WORDS]]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ask(served, images: list[bytes], concepts: list[list[str]]) -> dict[str, np.ndarray]:
    names = np.array([[name.encode() for name in row] for row in concepts], object)
    names = names.reshape(len(concepts), -1)
    outputs = served["segment_encoded"](
        image_bytes=tf.constant(images), concepts=tf.constant(names, tf.string)
    )
    return {name: value.numpy() for name, value in outputs.items()}


def mask(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.array(image)


def test_segment_concepts_is_what_the_segmenter_gives(served, expected, vectors):
    outputs = served["segment_concepts"](image=PHOTO[None], word_vectors=vectors[None])
    np.testing.assert_allclose(outputs["mask"][0], expected.masks, atol=1e-4)
    np.testing.assert_allclose(outputs["score"][0], expected.scores, atol=1e-4)
    np.testing.assert_array_equal(outputs["present"][0], expected.present)
    assert 0 < expected.present.sum() < len(WORDS)


def test_serving_default_takes_one_concept_an_image(served, segmenter, expected, vectors):
    images = np.stack([PHOTO, photo(seed=2)])
    outputs = served["serving_default"](image=images, word_vector=vectors[:2])
    second = segmenter.segment(WORDS[1:2], segmenter.encode(images[1]))
    np.testing.assert_allclose(outputs["mask"][0], expected.masks[0], atol=1e-4)
    np.testing.assert_allclose(outputs["mask"][1], second.masks[0], atol=1e-4)
    np.testing.assert_allclose(outputs["score"], [expected.scores[0], second.scores[0]], atol=1e-4)


def test_attention_is_the_segmenters_at_the_finer_grid(served, segmenter, vectors):
    outputs = served["attention"](image=PHOTO[None], word_vector=vectors[4:5])
    coarser, finer = segmenter.attention(WORDS[4:5], segmenter.encode(PHOTO))
    assert outputs["attention"].shape == outputs["coarse"].shape == (1, 2, *finer.shape[1:])
    assert coarser.shape != finer.shape
    np.testing.assert_allclose(outputs["attention"][0, 1], finer[0], atol=1e-4)
    larger = tf.image.resize(coarser[0][..., None], finer.shape[1:])[..., 0]
    np.testing.assert_allclose(outputs["attention"][0, 0], larger, atol=1e-4)


def test_encoded_images_of_mixed_sizes_with_several_concepts_each(served, segmenter, expected):
    first, second = ["dress", "Red-Hats", "", "cape"], ["purse", "", "hair", ""]
    outputs = ask(served, [png(PHOTO), png(OTHER)], [first, second])
    other = segmenter.segment(["bag", "hair"], segmenter.encode(OTHER))
    wanted = {(0, 0): (expected, 0), (0, 1): (expected, 2), (0, 3): (expected, 6)}
    wanted |= {(1, 0): (other, 0), (1, 2): (other, 1)}
    for cell in np.ndindex(2, 4):
        drawn, score = outputs["mask_png_bytes"][cell], outputs["score"][cell]
        assert outputs["known"][cell] == (cell in wanted)
        if cell not in wanted:
            assert (drawn, score) == (b"", 0)
            continue
        result, place = wanted[cell]
        assert np.abs(mask(drawn) - 255 * result.masks[place]).max() < 0.51
        assert score == pytest.approx(result.scores[place], abs=1e-4)


def test_a_bad_image_and_an_unknown_name_spoil_their_own_cells(served):
    good = ask(served, [png(PHOTO)], [["dress", "hair"]])
    outputs = ask(
        served,
        [b"GIF89a", png(PHOTO), png(PHOTO)[:80], b""],
        [["dress", "nothing"], ["dress", "hair"], ["cape", ""], ["nothing", "bag"]],
    )
    assert outputs["known"].tolist() == [[True, False], [True, True], [True, False], [False, True]]
    for row in (0, 2, 3):
        assert outputs["mask_png_bytes"][row].tolist() == [b"", b""]
        assert outputs["score"][row].tolist() == [0, 0]
        assert outputs["present"][row].tolist() == [False, False]
    assert outputs["mask_png_bytes"][1].tolist() == good["mask_png_bytes"][0].tolist()
    assert outputs["score"][1].tolist() == good["score"][0].tolist()


def test_a_batch_without_anything_to_do_is_answered(served):
    for images, concepts in (
        ([b"x", b""], [["dress"], ["hair"]]),
        ([png(PHOTO)], [["nothing", ""]]),
        ([png(PHOTO)], [[]]),
    ):
        outputs = ask(served, images, concepts)
        shape = (len(images), len(concepts[0]))
        assert {name: value.shape for name, value in outputs.items()} == dict.fromkeys(outputs, shape)
        assert not outputs["present"].any() and not outputs["score"].any()


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_the_length_of_a_vector_does_not_matter(served, expected, vectors, scale):
    outputs = served["segment_concepts"](
        image=PHOTO[None], word_vectors=(vectors[None, :2] * scale).astype(np.float32)
    )
    np.testing.assert_allclose(outputs["mask"][0], expected.masks[:2], atol=1e-4)


def test_vectors_that_are_none_spoil_their_own_cells(served, expected, vectors):
    bad = [np.full(3, np.nan), [1, np.inf, 0], np.zeros(3)]
    mixed = np.array([vectors[0], *bad, vectors[1]], np.float32)
    outputs = served["segment_concepts"](image=PHOTO[None], word_vectors=mixed[None])
    np.testing.assert_allclose(outputs["mask"][0].numpy()[[0, 4]], expected.masks[:2], atol=1e-4)
    assert not outputs["mask"][0, 1:4].numpy().any()
    assert outputs["score"][0, 1:4].numpy().tolist() == [0, 0, 0]
    for name, output in served["attention"](image=PHOTO[None], word_vector=mixed[1:2]).items():
        assert not output.numpy().any(), name
    one = served["serving_default"](image=PHOTO[None], word_vector=mixed[1:2])
    assert not one["mask"].numpy().any() and not one["present"].numpy().any()


def test_more_concepts_than_a_chunk_are_the_same_as_one_by_one(served, expected, vectors):
    count = 2 * CHUNK + 3
    places = np.arange(count) % len(WORDS)
    outputs = served["segment_concepts"](image=PHOTO[None], word_vectors=vectors[None, places])
    np.testing.assert_allclose(outputs["mask"][0], expected.masks[places], atol=1e-4)
    np.testing.assert_allclose(outputs["score"][0], expected.scores[places], atol=1e-4)


def test_no_concept_gives_no_mask(served, vectors):
    outputs = served["segment_concepts"](image=PHOTO[None], word_vectors=vectors[None, :0])
    assert outputs["mask"].shape == (1, 0, 60, 45)
    assert outputs["score"].shape == (1, 0)


def test_concepts_of_more_or_fewer_images_are_refused(served, vectors):
    images, one = np.stack([PHOTO, PHOTO]), PHOTO[None]
    calls = {
        "serving_default": (
            {"image": images, "word_vector": vectors[:1]},
            {"image": one, "word_vector": vectors},
        ),
        "attention": ({"image": images, "word_vector": vectors[:1]}, {"image": one, "word_vector": vectors}),
        "segment_concepts": ({"image": images, "word_vectors": vectors[None, :2]},),
        "segment_encoded": (
            {"image_bytes": [png(PHOTO)], "concepts": [["dress"], ["hair"]]},
            {"image_bytes": [png(PHOTO), b""], "concepts": [["dress"]]},
        ),
    }
    for name, requests in calls.items():
        for request in requests:
            with pytest.raises(tf.errors.InvalidArgumentError):
                served[name](**{key: tf.constant(value) for key, value in request.items()})


def test_masks_that_no_message_holds_are_refused_before_any_work(served, vectors):
    image = np.zeros((1, 2000, 2000, 3), np.uint8)
    many = np.repeat(vectors[None, :1], 200, axis=1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="ask for fewer concepts or use segment_encoded"):
        served["segment_concepts"](image=image, word_vectors=many)


def test_a_drawn_level_of_128_is_a_probability_of_one_half():
    below, half = np.nextafter(np.float32(0.5), np.float32(0)), np.float32(0.5)
    probabilities = np.array([[[0, below - 1e-3], [half, 1]]], np.float32)
    [drawn] = draw_png(tf.constant(probabilities), tf.constant([[2, 2]])).numpy()
    assert mask(drawn).tolist() == [[0, 127], [128, 255]]


def test_checked_vectors_keep_their_direction():
    given = np.array([[3, -6, 1.5], [0, 0, 0], [np.nan, 1, 1], [np.inf, 1, 1]], np.float32)
    vectors, usable = check_vectors(tf.constant(given))
    assert vectors.numpy().tolist() == [[0.5, -1, 0.25], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert usable.numpy().tolist() == [True, False, False, False]
