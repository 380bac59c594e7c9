"""The combined model: resolve, encode, decode equal the parts run one by one, and concepts stay apart."""

import dataclasses

import keras
import numpy as np
import pytest
import reference
import scipy.sparse
import tensorflow as tf

from cmask_tf import config, geometry
from cmask_tf.models.attention import coarse_maps, stack_scales
from cmask_tf.models.backbone import build_backbone
from cmask_tf.models.combined import ConceptMaskModel
from cmask_tf.models.embedding import build_head, embed_map
from cmask_tf.models.mixing import COARSE, ConceptTable
from cmask_tf.models.neighbour_table import build_mixing
from cmask_tf.models.refinement import build_refinement
from cmask_tf.models.segmentation import build_segmentation, encode
from cmask_tf.models.verification import build_verification, build_words, calibrate
from cmask_tf.vocabulary.artefact import Vocabulary
from cmask_tf.vocabulary.neighbours import second_order_of_vectors

NAMES = ["boot", "pump", "bag", "wallet", "hat", "cap", "sky", "shoe"]
LEVELS = {"hat": "box", "pump": "image", "boot": "mask", "sky": "image", "bag": "box"}
CONCEPTS = [{"name": name, "level": level} for name, level in LEVELS.items()]
BOXED = [NAMES.index(c["name"]) for c in CONCEPTS if c["level"] != "image"]
DIM = 6
THETA = {"image": 0.7, "zero": 0.4}
THRESHOLDS = {"pooled": 0.05, "concepts": {"hat": 0.3}}
PHOTOS = np.random.default_rng(6).integers(0, 256, (2, 5, 7, 3), np.uint8).repeat(10, 1).repeat(10, 2)


def settings():
    net = config.Backbone(name="efficientnet_lite0", width=0.125, depth=0.2, output_stride=8)
    tiny = config.tiny("lite")
    return dataclasses.replace(
        tiny,
        backbone=net,
        embedding=config.Embedding(hidden=(12, 12), output_activation="linear"),
        attention=config.Attention(sizes=(32, 56)),
        refinement=config.Refinement(bottleneck=7),
        segmentation=dataclasses.replace(tiny.segmentation, size=32, channels=8, low_level=4),
    )


@pytest.fixture(scope="module")
def vocabulary():
    rng = np.random.default_rng(7)
    tags = rng.random((300, len(NAMES))) < 0.4
    pairs = tags.T.astype(np.int32) @ tags.astype(np.int32)
    counts = np.diag(pairs).astype(np.int64)
    np.fill_diagonal(pairs, 0)
    vectors = rng.normal(size=(len(NAMES), DIM)).astype(np.float32)
    return Vocabulary(
        names=list(NAMES),
        counts=counts,
        idf=-np.log(counts / 300).astype(np.float32),
        kinds=["object"] * len(NAMES),
        aliases=[[] for _ in NAMES],
        vectors=vectors,
        eigenvalues=np.ones(DIM, np.float32),
        cooccurrence=scipy.sparse.csr_matrix(pairs),
        meta={"variant": "ppmi", "dimension": DIM, "documents": 300},
    )


@pytest.fixture(scope="module")
def parts():
    keras.utils.set_random_seed(0)
    made = settings()
    backbone = build_backbone(made.backbone)
    features = backbone(geometry.resize_image(PHOTOS, 56), training=False)["c5"]
    head = build_head(features.shape[-1], made.embedding, DIM)
    # Untrained features are tiny, and e would drown in the L2 normalisation's epsilon.
    kernel = head.get_layer("fc1").kernel
    kernel.assign(kernel / np.std(features))
    encoder, decoder = build_segmentation(made.segmentation, backbone)
    refinement = build_refinement(len(CONCEPTS), made.refinement.bottleneck)
    rng = np.random.default_rng(8)
    for weight in refinement.weights:
        weight.assign(rng.normal(size=weight.shape))
    for network in (head, encoder, decoder):  # no batch normalization is the identity
        for weight in network.weights:
            if weight.name in ("beta", "moving_mean"):
                weight.assign(0.1 * rng.normal(size=weight.shape))
    return {
        "backbone": backbone,
        "embedding": head,
        "refinement": refinement,
        "segmentation_encoder": encoder,
        "segmentation_decoder": decoder,
    }


def build(parts, vocabulary, neighbours="pmi", **given):
    mixing = build_mixing(vocabulary, CONCEPTS, neighbours) | {"theta": THETA}
    table = ConceptTable.build(vocabulary, CONCEPTS, mixing, THRESHOLDS)
    return ConceptMaskModel(settings(), parts, table, **given)


@pytest.fixture(scope="module")
def model(parts, vocabulary):
    return build(parts, vocabulary)


@pytest.fixture(scope="module")
def features(model):
    return model.encode(PHOTOS)


def outside_word():
    return np.linspace(-1, 1, DIM, dtype=np.float32)


def literal_maps(parts, vocabulary, photo, size, word, name):
    """Attention of one concept the long way: all V coarse maps, both layers, then 4.4."""
    image = geometry.resize_image(photo[None], size)
    e, _ = embed_map(parts["backbone"], parts["embedding"], image, training=False)
    trained = vocabulary.vectors[[NAMES.index(c["name"]) for c in CONCEPTS]]
    alphas = coarse_maps(e, trained).numpy()[0]
    kernel1, bias1, kernel2, bias2 = parts["refinement"].get_weights()
    refined = reference.refinement(alphas, kernel1[0, 0], bias1, kernel2[0, 0], bias2)
    column = {c["name"]: i for i, c in enumerate(CONCEPTS)}
    if LEVELS.get(name) in ("mask", "box"):
        return refined[..., column[name]]
    p = column[NAMES[reference.pmi_neighbour(vocabulary.vectors, word, BOXED)]]
    if name in column:
        return reference.mixing(THETA["image"], refined[..., column[name]], refined[..., p])
    coarse = np.maximum(reference.attention(e.numpy()[0], word), 0)
    return reference.mixing(THETA["zero"], coarse, refined[..., p])


@pytest.mark.parametrize("name", ["hat", "boot", "pump", "cap", None], ids=str)
def test_attention_equals_the_literal_network(model, parts, vocabulary, features, name):
    """Box, mask and image level, a word that was not trained, a word outside the vocabulary."""
    word = outside_word() if name is None else vocabulary.vectors[NAMES.index(name)]
    maps, coarse = model.attention(features, model.resolve(word[None]), np.array([1], np.int32))
    for scale, size in enumerate((32, 56)):
        expected = literal_maps(parts, vocabulary, PHOTOS[1], size, word, name)
        assert np.ptp(expected) > 0.01
        np.testing.assert_allclose(maps[scale][0], expected, atol=2e-5)
        e, _ = embed_map(
            parts["backbone"], parts["embedding"], geometry.resize_image(PHOTOS[1:], size), training=False
        )
        np.testing.assert_allclose(coarse[scale][0], reference.attention(e.numpy()[0], word), atol=1e-5)


def test_decode_equals_segmentation_and_verification_of_that_attention(model, parts, vocabulary, features):
    parameters = model.resolve(vocabulary.vectors[[4, 1]])
    rows = np.array([1, 0], np.int32)
    probabilities, scores, raw = (t.numpy() for t in model.decode(features, parameters, rows))
    assert probabilities.shape == (2, 32, 32)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    maps, _ = model.attention(features, parameters, rows)
    photos = tf.gather(geometry.resize_image(PHOTOS, 32), rows)
    seen = parts["backbone"](photos, training=False)
    inputs = encode(parts["segmentation_encoder"], photos, seen, training=False)
    inputs = {**inputs, "attention": stack_scales(maps, 32)}
    logits = parts["segmentation_decoder"](inputs, training=False)
    np.testing.assert_allclose(probabilities, tf.sigmoid(logits)[..., 0], atol=2e-5)
    head = parts["embedding"]
    c5 = seen["c5"].numpy()
    for k, entry in enumerate((4, 1)):
        score = reference.verification(
            maps[0][k].numpy(),
            c5[k],
            lambda pooled: head(pooled[None, None, None].astype(np.float32)).numpy()[0, 0, 0],
            vocabulary.vectors[entry],
        )
        np.testing.assert_allclose(raw[k], score, atol=1e-5)
    np.testing.assert_allclose(
        scores, calibrate(raw, np.array([0.3, 0.05], np.float32), model.slope), atol=1e-6
    )


def test_verification_networks_are_asked_in_place_of_embedding_head_and_word_vector(
    model, parts, vocabulary, features
):
    own = build_verification(parts["embedding"].input.shape[-1], 8)
    words = build_words(vocabulary.dim, 8, len(CONCEPTS))
    rows_of_concepts = np.random.default_rng(9).normal(size=(len(CONCEPTS), 8)).astype(np.float32)
    words.get_layer("own").set_weights([rows_of_concepts])
    kernel = own.get_layer("fc1").kernel
    kernel.assign(kernel / np.std(features["c5"]))  # untrained features are tiny
    other = build({**parts, "verification": own, "verification_words": words}, vocabulary)
    # Two trained concepts, a word that was never trained, and a vector that is no word.
    vectors = np.concatenate([vocabulary.vectors[[4, 1, 3]], -vocabulary.vectors[:1]])
    rows = np.zeros(len(vectors), np.int32)
    maps, _ = model.attention(features, model.resolve(vectors), rows)
    raw = other.raw_scores(features, other.resolve(vectors), rows).numpy()
    matrix, bias = words.get_layer("shared").get_weights()
    trained = list(LEVELS)
    for k, name in enumerate(["hat", "pump", "wallet", None]):
        sought = vectors[k] / np.linalg.norm(vectors[k]) @ matrix + bias
        if name in trained:
            sought = sought + rows_of_concepts[trained.index(name)]
        score = reference.verification(
            maps[0][k].numpy(),
            features["c5"][0].numpy(),
            lambda pooled: own(pooled[None, None, None].astype(np.float32)).numpy()[0, 0, 0],
            sought,
        )
        np.testing.assert_allclose(raw[k], score, atol=1e-5)
    by_entry = other.raw_scores(features, other.resolve_entries([4, 1, 3]), rows[:3])
    np.testing.assert_allclose(by_entry, raw[:3], atol=1e-5)


def test_one_size_given_twice_is_one_attention_on_both_channels(parts, vocabulary):
    first = settings().attention.sizes[0]
    single = dataclasses.replace(settings(), attention=config.Attention(sizes=(first, first)))
    mixing = build_mixing(vocabulary, CONCEPTS, "pmi") | {"theta": THETA}
    model = ConceptMaskModel(single, parts, ConceptTable.build(vocabulary, CONCEPTS, mixing, THRESHOLDS))
    parameters, rows = model.resolve(vocabulary.vectors[:2]), np.zeros(2, np.int32)
    maps, _ = model.attention(model.encode(PHOTOS), parameters, rows)
    np.testing.assert_array_equal(maps[0], maps[1])
    expected, _ = build(parts, vocabulary).attention(
        build(parts, vocabulary).encode(PHOTOS), parameters, rows
    )
    np.testing.assert_allclose(maps[0], expected[0], atol=1e-6)


def test_a_mask_does_not_depend_on_the_other_concepts(model, vocabulary, features):
    words = np.concatenate([vocabulary.vectors, outside_word()[None]])
    rows = np.zeros(len(words), np.int32)
    together, scores, _ = model.decode(features, model.resolve(words), rows)
    for k in (0, 3, 8):
        alone, score, _ = model.decode(features, model.resolve(words[k : k + 1]), rows[:1])
        np.testing.assert_allclose(together[k], alone[0], atol=1e-5)
        np.testing.assert_allclose(scores[k], score[0], atol=1e-5)


def test_one_encoding_of_two_photos_equals_each_alone(model, vocabulary, features):
    parameters = model.resolve(vocabulary.vectors[[2, 6, 2]])
    rows = np.array([0, 1, 1], np.int32)
    together, scores, _ = model.decode(features, parameters, rows)
    for k, photo in enumerate(rows):
        alone_features = model.encode(PHOTOS[photo : photo + 1])
        one = {name: value[k : k + 1] for name, value in parameters.items()}
        alone, score, _ = model.decode(alone_features, one, np.zeros(1, np.int32))
        np.testing.assert_allclose(together[k], alone[0], atol=1e-5)
        np.testing.assert_allclose(scores[k], score[0], atol=1e-5)
    assert np.abs(together[0] - together[2]).max() > 1e-3  # the same concept in two photos


def test_concepts_of_many_photos_in_any_order(model, vocabulary, features):
    """Three photos of which two are asked about, their concepts not side by side."""
    three = {name: tf.concat([value, value[:1]], axis=0) for name, value in features.items()}
    parameters = model.resolve(vocabulary.vectors[[2, 6, 0, 2]])
    maps, coarse = model.attention(three, parameters, np.array([2, 1, 1, 1], np.int32))
    for k, photo in enumerate((0, 1, 1, 1)):
        one = {name: value[k : k + 1] for name, value in parameters.items()}
        alone, alone_coarse = model.attention(features, one, np.array([photo], np.int32))
        for scale in range(2):
            np.testing.assert_allclose(maps[scale][k], alone[scale][0], atol=1e-5)
            np.testing.assert_allclose(coarse[scale][k], alone_coarse[scale][0], atol=1e-5)


def test_a_step_is_traced_once_whatever_it_is_given(model, vocabulary):
    for photos in (PHOTOS[:1], PHOTOS, PHOTOS[:, :30]):
        features = model.encode(photos)
        for count in (1, 2, 5):
            parameters = model.resolve(vocabulary.vectors[:count])
            model.decode(features, parameters, np.zeros(count, np.int32))
    for step in (model.resolve, model._encode_bytes, model.encode_squares, model.decode):
        assert step.experimental_get_tracing_count() == 1


def test_float_photos_are_the_same_photos(model, features):
    for name, value in model.encode(PHOTOS.astype(np.float32)).items():
        np.testing.assert_allclose(value, features[name], rtol=1e-5, atol=1e-5)


def test_a_vector_equal_to_an_entry_is_that_entry(model, vocabulary):
    noise = np.random.default_rng(9).normal(size=vocabulary.vectors.shape).astype(np.float32)
    exact = model.resolve(vocabulary.vectors)
    near = model.resolve(3 * (vocabulary.vectors + 1e-3 * noise))
    np.testing.assert_array_equal(exact["entry"], np.arange(len(NAMES)))
    for name, value in exact.items():
        np.testing.assert_array_equal(near[name], value)


def test_any_other_vector_is_outside_the_vocabulary(model, vocabulary):
    words = vocabulary.vectors / np.linalg.norm(vocabulary.vectors, axis=1, keepdims=True)
    side = np.random.default_rng(10).normal(size=words.shape).astype(np.float32)
    side -= words * (side * words).sum(axis=1, keepdims=True)
    away = words + 0.03 * side / np.linalg.norm(side, axis=1, keepdims=True)
    assert all(0.999 < reference.cosine(a, w) < 1 - 1e-4 for a, w in zip(away, words, strict=True))
    got = model.resolve(away)
    assert (got["entry"].numpy() == -1).all()
    assert (got["path"].numpy() == COARSE).all()
    np.testing.assert_allclose(got["theta"], THETA["zero"])
    np.testing.assert_allclose(got["threshold"], THRESHOLDS["pooled"])
    column = [c["name"] for c in CONCEPTS]
    for k, word in enumerate(away):
        p = column.index(NAMES[reference.pmi_neighbour(vocabulary.vectors, word, BOXED)])
        np.testing.assert_allclose(got["p_weights"][k], model.column_weights[p])
        np.testing.assert_allclose(got["p_bias"][k], model.column_bias[p])


def test_second_order_reaches_bare_vectors(parts, vocabulary):
    model = build(parts, vocabulary, "second_order")
    words = np.random.default_rng(11).normal(size=(25, DIM)).astype(np.float32)
    candidates = np.array(sorted(BOXED))
    best = second_order_of_vectors(words, vocabulary.vectors, vocabulary, candidates).argmax(axis=1)
    column = [c["name"] for c in CONCEPTS]
    expected = [column.index(NAMES[candidates[i]]) for i in best]
    assert len(set(expected)) > 1
    got = model.resolve(words)
    assert (got["entry"].numpy() == -1).all()
    np.testing.assert_allclose(got["p_weights"], tf.gather(model.column_weights, expected))


@pytest.mark.parametrize("tables", ["float32", "float16"])
def test_an_entry_by_number_is_the_same_as_by_vector(parts, vocabulary, model, tables):
    model = model if tables == "float32" else build(parts, vocabulary, tables=tables)
    found = model.resolve(vocabulary.vectors)
    for name, value in model.resolve_entries(np.arange(len(NAMES), dtype=np.int32)).items():
        np.testing.assert_array_equal(value, found[name])


@pytest.mark.parametrize(("neighbours", "rows"), [("pmi", 3), ("second_order", 4)])
def test_half_tables_answer_as_full_ones_do(
    parts, vocabulary, model, features, monkeypatch, neighbours, rows
):
    """Read in pieces: 3 + 3 + 2 of the 8 words, and two halves."""
    monkeypatch.setattr("cmask_tf.models.combined._ROWS", rows)
    full = model if neighbours == "pmi" else build(parts, vocabulary, neighbours)
    half = build(parts, vocabulary, neighbours, tables="float16")
    assert half.words.dtype == half.column_weights.dtype == tf.float16
    words = np.concatenate([vocabulary.vectors, outside_word()[None]])
    expected, got = full.resolve(words), half.resolve(words)
    assert got["entry"].numpy().tolist() == [*range(len(NAMES)), -1]
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=2**-10, atol=1e-6)
    ids = np.zeros(len(words), np.int32)
    masks, halves = (m.decode(features, p, ids)[0].numpy() for m, p in ((full, expected), (half, got)))
    np.testing.assert_allclose(halves, masks, atol=5e-3)
