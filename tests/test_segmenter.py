"""ConceptSegmenter: a photo and concepts in, masks and scores out."""

import numpy as np
import pytest
from segmenter_fixture import WORDS, photo, smallest_model, smallest_segmenter

from cmask_tf import segmenter as module
from cmask_tf.errors import UserError


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return smallest_segmenter(smallest_model(tmp_path_factory.getbasetemp() / "smallest-model"))


@pytest.fixture(scope="module")
def features(segmenter):
    return segmenter.encode(photo())


def test_masks_fit_the_photo_and_scores_decide_presence(segmenter, features):
    result = segmenter.segment(["dress", "bag", "cape"], features)
    assert result.names == ["dress", "bag", "cape"]
    assert result.masks.shape == (3, 60, 45)
    assert result.masks.dtype == np.float32
    assert 0 <= result.masks.min() <= result.masks.max() <= 1
    assert result.scores.shape == (3,)
    np.testing.assert_array_equal(result.present, result.scores >= 0.5)
    np.testing.assert_array_equal(result.known, [True, True, True])


def test_the_mask_differs_from_concept_to_concept_and_from_photo_to_photo(segmenter, features):
    dress, hair = segmenter.segment(["dress", "hair"], features).masks
    other = segmenter.segment(["dress"], segmenter.encode(photo(seed=1))).masks[0]
    assert np.abs(dress - hair).max() > 1e-4
    assert np.abs(dress - other).max() > 1e-4


def test_any_spelling_means_the_concept(segmenter, features):
    one = segmenter.segment(["red hat"], features).masks
    for spelling in ("Red-Hats", "RED_HAT", "red  hat"):
        np.testing.assert_array_equal(segmenter.segment([spelling], features).masks, one)
    np.testing.assert_array_equal(
        segmenter.segment(["purse"], features).masks, segmenter.segment(["bag"], features).masks
    )


def test_a_word_vector_of_the_vocabulary_is_that_word(segmenter, features):
    vector = segmenter.vocabulary.vectors[segmenter.vocabulary.index("dress")]
    result = segmenter.segment([3 * vector, "dress"], features)
    assert result.names == ["dress", "dress"]
    np.testing.assert_allclose(result.masks[0], result.masks[1], atol=1e-6)
    assert result.scores[0] == pytest.approx(result.scores[1], abs=1e-6)


def test_any_other_word_vector_is_segmented_and_not_known(segmenter, features):
    result = segmenter.segment([np.array([1.0, -2.0, 0.5]), "dress"], features)
    assert result.names == ["vector 0", "dress"]
    np.testing.assert_array_equal(result.known, [False, True])
    assert np.isfinite(result.masks).all()


def test_a_concepts_mask_does_not_depend_on_the_others(segmenter, features, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)  # so that the eight words take three chunks
    together = segmenter.segment(WORDS, features)
    for i, word in enumerate(WORDS):
        alone = segmenter.segment([word], features)
        np.testing.assert_allclose(alone.masks[0], together.masks[i], atol=1e-5)
        assert alone.scores[0] == pytest.approx(together.scores[i], abs=1e-5)


def test_iterate_yields_what_segment_returns(segmenter, features):
    result = segmenter.segment(WORDS, features)
    for i, (name, mask, score, present) in enumerate(segmenter.iterate(WORDS, features)):
        assert (name, present) == (result.names[i], result.present[i])
        np.testing.assert_allclose(mask, result.masks[i], atol=1e-6)
        assert score == pytest.approx(result.scores[i], abs=1e-6)


def test_iterate_decodes_a_chunk_only_when_it_is_asked_for(segmenter, features, monkeypatch):
    calls = []
    monkeypatch.setattr(module, "CHUNK", 2)
    resolve = segmenter._resolve
    monkeypatch.setattr(segmenter, "_resolve", lambda vectors: calls.append(len(vectors)) or resolve(vectors))
    masks = segmenter.iterate(WORDS, features)
    next(masks)
    assert calls == [2]


def test_encoding_in_bfloat16_is_near(segmenter, tmp_path_factory):
    directory = smallest_model(tmp_path_factory.getbasetemp() / "smallest-model")
    half = module.ConceptSegmenter.load(directory, bfloat16=True)
    assert half.model.backbone.output["c5"].dtype == "bfloat16"
    assert half.model.segmentation_decoder.output.dtype == "float32"
    got, expected = (one.segment(WORDS, one.encode(photo())) for one in (half, segmenter))
    difference = np.abs(got.masks - expected.masks)
    assert 0 < difference.mean() < 0.02
    np.testing.assert_allclose(got.scores, expected.scores, atol=0.05)


def test_set_image_is_encode_for_one_photo_at_a_time(segmenter, features):
    segmenter.set_image(photo())
    np.testing.assert_allclose(
        segmenter.segment(["dress"]).masks, segmenter.segment(["dress"], features).masks, atol=1e-6
    )


def test_encode_leaves_the_current_photo_alone(segmenter):
    segmenter.set_image(photo())
    before = segmenter.segment(["dress"]).masks
    segmenter.encode(photo(seed=2))
    np.testing.assert_array_equal(segmenter.segment(["dress"]).masks, before)


def test_without_a_photo_it_says_what_to_do(segmenter, monkeypatch):
    monkeypatch.setattr(segmenter, "_current", None)
    with pytest.raises(UserError, match="set_image"):
        segmenter.segment(["dress"])


def test_no_concepts_give_empty_results(segmenter, features):
    result = segmenter.segment([], features)
    assert result.masks.shape == (0, 60, 45)
    assert result.names == []


def test_present_lists_what_segment_finds(segmenter, features):
    result = segmenter.segment(WORDS, features)
    found = {name for name, there in zip(WORDS, result.present, strict=True) if there}
    assert 0 < len(found) < len(WORDS), "the fixture should have both"
    assert set(segmenter.present(features)) == found


def test_attention_is_one_map_a_scale_before_min_max(segmenter, features):
    first, second = segmenter.attention(["dress", "bag"], features)
    assert (first.shape, second.shape) == ((2, 4, 4), (2, 6, 6))
    assert 0 <= first.min() < first.max() < 1  # stretched maps would reach 1


def test_an_unknown_name_is_an_error_that_lists_the_nearest(segmenter, features):
    with pytest.raises(UserError, match="drss.*dress"):
        segmenter.segment(["drss"], features)


@pytest.mark.parametrize(
    ("vector", "complaint"),
    [
        (np.ones(4), r"\[3\]"),
        (np.ones((1, 3)), r"\[3\]"),
        (np.array([1, 2, 3]), "float"),
        (np.zeros(3), "zeros"),
        (np.array([1.0, np.nan, 0.0]), "finite"),
    ],
)
def test_a_broken_word_vector_is_an_error(segmenter, features, vector, complaint):
    with pytest.raises(UserError, match=complaint):
        segmenter.segment(["dress", vector], features)


def test_a_single_name_instead_of_a_list_is_an_error(segmenter, features):
    with pytest.raises(UserError, match="list"):
        segmenter.segment("dress", features)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_not_a_photo_is_an_error(segmenter, image):
    with pytest.raises(UserError, match=r"uint8 RGB \[H, W, 3\]"):
        segmenter.encode(image)


def test_too_many_masks_for_memory_are_an_error_and_iterate_serves_them(segmenter, features, monkeypatch):
    monkeypatch.setattr(segmenter, "max_mask_bytes", 60 * 45 * 4 * 2)
    assert len(segmenter.segment(["dress", "bag"], features).masks) == 2
    with pytest.raises(UserError, match=r"max_mask_bytes = 21600.*iterate"):
        segmenter.segment(["dress", "bag", "hair"], features)
    assert len(list(segmenter.iterate(["dress", "bag", "hair"], features))) == 3
