"""The steps at fixed sizes answer as the model does, in operations that converters know."""

import numpy as np
import pytest
import tensorflow as tf
from lively_fixture import lively_model
from segmenter_fixture import photo

from cmask_tf import geometry
from cmask_tf.export.fixed import FixedSteps
from cmask_tf.segmenter import ConceptSegmenter

BOUND = 1e-5
PHOTOS = [photo(), photo(35, 70, seed=1), photo(64, 64, seed=2)]
# No converter has these, or not at fixed sizes.
UNWANTED = ("Unique", "If", "While", "String", "ScaleAndTranslate", "TensorList", "PartitionedCall", "Where")
KINDS = {
    "lite": {},
    "one scale": {"sizes": (64, 64)},
    "paper": {"design": "paper", "neighbours": "pmi"},
}


@pytest.fixture(scope="module", params=KINDS)
def segmenter(request, tmp_path_factory):
    directory = tmp_path_factory.getbasetemp() / f"lively-{request.param}"
    return ConceptSegmenter.load(lively_model(directory, **KINDS[request.param]))


@pytest.fixture(scope="module")
def fixed(segmenter):
    return FixedSteps(segmenter.model)


@pytest.fixture(scope="module")
def traced(fixed):
    """The steps for one concept, as graphs."""
    return {name: step.traced() for name, step in fixed.steps().items()}


def vectors(segmenter) -> np.ndarray:
    """All words, one of them longer than it was, and three vectors that are none."""
    known = segmenter.vocabulary.vectors.copy()
    known[1] *= 3
    return np.concatenate([known, np.random.default_rng(3).normal(size=(3, known.shape[1]))]).astype("f4")


def squares(fixed: FixedSteps, image: np.ndarray) -> dict[str, tf.Tensor]:
    return {f"image_{s}": geometry.resize_image(image[np.newaxis], s) for s in fixed.image_sizes}


def same(found, expected) -> None:
    assert np.abs(found - expected).max() <= BOUND * max(1, np.abs(expected).max())


def test_resolve_finds_what_the_model_finds(segmenter, fixed):
    expected = segmenter.model.resolve(vectors(segmenter))
    found = fixed.resolve(tf.constant(vectors(segmenter)))
    assert {*expected} - {*found} == {"entry"}
    assert len(set(expected["path"].numpy())) == 3  # every way of mixing is there
    for name, value in found.items():
        same(value.numpy(), expected[name].numpy())


def test_encode_makes_the_models_features(segmenter, fixed):
    for image in PHOTOS:
        expected = segmenter.model.encode(image[np.newaxis])
        found = fixed.encode(**squares(fixed, image))
        twice = {f"{name}_2" for name in ("embedding", "hidden")}
        assert {*expected} - {*found} == (twice if len({*segmenter.model.sizes}) == 1 else set())
        for name, value in found.items():
            assert np.std(value) > 0
            same(value.numpy(), expected[name].numpy())


def test_decode_makes_the_models_masks_and_scores(segmenter, fixed):
    parameters = segmenter.model.resolve(vectors(segmenter))
    for image in PHOTOS:
        features = segmenter.model.encode(image[np.newaxis])
        rows = np.zeros(len(vectors(segmenter)), np.int32)
        masks, scores, _ = segmenter.model.decode(features, parameters, rows)
        found = fixed.decode(**features, **parameters)
        # A mask that is gray all over would agree with everything.
        assert np.std(masks) > 0.1 and np.std(scores) > 0.02
        same(found["mask"].numpy(), masks.numpy())
        same(found["score"].numpy(), scores.numpy())


def test_one_shot_is_all_three_steps(segmenter, fixed, traced):
    one_shot = traced["one_shot"]
    features = segmenter.model.encode(PHOTOS[0][np.newaxis])
    for vector in vectors(segmenter)[[0, 4, -1]]:
        parameters = segmenter.model.resolve(vector[np.newaxis])
        masks, scores, _ = segmenter.model.decode(features, parameters, tf.zeros(1, tf.int32))
        found = one_shot(**squares(fixed, PHOTOS[0]), word_vector=tf.constant(vector[np.newaxis]))
        same(found["mask"].numpy(), masks.numpy())
        same(found["score"].numpy(), scores.numpy())


def test_the_steps_fit_together(fixed, traced):
    assert_fit(fixed, fixed.steps(), traced, concepts=1)


def test_the_number_of_concepts_may_be_free(fixed):
    steps = fixed.steps(concepts=None)
    assert_fit(fixed, steps, {name: step.traced() for name, step in steps.items()}, concepts=None)


def assert_fit(fixed, steps, traced, concepts) -> None:
    out = {name: graph.structured_outputs for name, graph in traced.items()}
    decoded = {**out["encode"], **out["resolve"]}
    assert {n: (v.shape.as_list(), v.dtype) for n, v in decoded.items()} == {
        n: (v.shape.as_list(), v.dtype) for n, v in steps["decode"].inputs.items()
    }
    size = fixed.model.size
    assert out["decode"]["mask"].shape.as_list() == [concepts, size, size]
    assert out["one_shot"]["mask"].shape.as_list() == [1, size, size]
    assert all(value.shape.is_fully_defined() for value in out["encode"].values())


def test_no_operation_that_converters_lack(traced):
    for graph in traced.values():
        kinds = {operation.type for operation in graph.graph.get_operations()}
        assert not [kind for kind in kinds for name in UNWANTED if name in kind]
