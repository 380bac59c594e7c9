"""Table 1's attention maps against the equations written out in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from refinement_fixture import CONCEPTS, prepare, vocabulary
from segmenter_fixture import photo, smallest_config, smallest_model

from cmask_tf import geometry, model_directory
from cmask_tf.errors import UserError
from cmask_tf.evaluation.attention_systems import FOLDERS, attention_system
from cmask_tf.models.embedding import embed_map
from cmask_tf.segmenter import ConceptSegmenter

NAMES = ["c3", "c0", "c17"]
COLUMNS = [3, 0, 17]
IMAGE = photo(60, 45, seed=8)


@pytest.fixture(scope="module")
def seed_dir(tmp_path_factory):
    """Stage 1, and a Stage 2 whose networks are others: with and without the spatial discrimination loss."""
    import keras

    folder = tmp_path_factory.mktemp("seed")
    prepare(folder)
    for number, name in enumerate(("refine", "refine-noNeg")):
        parts = model_directory.load_parts(folder / "embedding", ("backbone", "embedding"))
        keras.utils.set_random_seed(number + 5)
        parts |= model_directory.build_parts(smallest_config(), 6, len(CONCEPTS), ("refinement",))
        last = parts["embedding"].layers[-2]
        last.set_weights([w + 0.3 * (number + 1) for w in last.get_weights()])
        model_directory.save(folder / name, smallest_config(), vocabulary(), CONCEPTS, parts)
    return folder


def literal(stage, refined):
    """Eqn. 1 and the refinement network on V maps, in NumPy but for the backbone and the resizing."""
    parts = model_directory.load_parts(stage, ("backbone", "embedding", *(["refinement"] if refined else [])))
    words = vocabulary().vectors
    words = words / np.linalg.norm(words, axis=1, keepdims=True)
    scales = []
    for size in smallest_config().attention.sizes:
        square = geometry.resize_image(IMAGE[None], size)
        e = embed_map(parts["backbone"], parts["embedding"], square, training=False)[0].numpy()[0]
        maps = (e / np.maximum(np.linalg.norm(e, axis=-1, keepdims=True), 1e-12)) @ words.T
        if refined:
            maps = 1 / (1 + np.exp(-parts["refinement"](maps[None]).numpy()[0]))
        chosen = np.maximum(maps[..., COLUMNS], 0).astype(np.float32)
        scales.append(tf.image.resize(chosen, IMAGE.shape[:2]).numpy())
    return np.mean(scales, axis=0).transpose(2, 0, 1)


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_map_is_the_mean_of_both_scales_of_its_stages_equation(seed_dir, kind):
    found = list(attention_system(kind, seed_dir).predict(seed_dir, IMAGE, NAMES))
    expected = literal(seed_dir / FOLDERS[kind], kind.startswith("Refined"))
    assert np.ptp(expected, axis=(1, 2)).min() > 1e-3  # maps that show something
    assert [one.name for one in found] == NAMES
    for one, map_ in zip(found, expected, strict=True):
        assert one.attention.shape == IMAGE.shape[:2] and one.attention.dtype == np.float32
        np.testing.assert_allclose(one.attention, map_, atol=2e-5)
        assert (one.probability, one.score, one.present) == (None, None, None)


def test_the_four_maps_are_of_different_networks(seed_dir):
    maps = [
        next(attention_system(kind, seed_dir).predict(seed_dir, IMAGE, ["c3"])).attention for kind in FOLDERS
    ]
    for number, one in enumerate(maps):
        assert all(np.abs(one - other).max() > 1e-3 for other in maps[:number])


def test_every_trained_concept_is_answered_by_any_spelling(seed_dir):
    system = attention_system("Refined", seed_dir)
    assert all(system.answers(concept["name"]) for concept in CONCEPTS)
    assert system.answers("C3") and not system.answers("zeppelin")
    assert list(system.predict(seed_dir, IMAGE, [])) == []


def test_a_photo_is_encoded_once_a_size(seed_dir):
    system = attention_system("Original", seed_dir)
    attend, seen = system._attend, []
    system._attend = lambda image, columns: seen.append(image.shape[1]) or attend(image, columns)
    assert len(list(system.predict(seed_dir, IMAGE, NAMES))) == len(NAMES)
    assert seen == list(smallest_config().attention.sizes)


def test_a_missing_stage_or_kind_is_one_line(tmp_path):
    with pytest.raises(UserError, match="refine-noNeg: no such model directory"):
        attention_system("Refined-noNeg", tmp_path)
    with pytest.raises(UserError, match="expected one of Original, Original-Finetuned"):
        attention_system("refined", tmp_path)


def test_refined_is_what_the_finished_system_gives_stage_3(tmp_path):
    smallest_model(tmp_path / "refine")
    segmenter, names = ConceptSegmenter.load(tmp_path / "refine"), ["dress", "hair"]  # mask and box level
    scales = segmenter.attention(names, segmenter.encode(IMAGE))
    for number, one in enumerate(attention_system("Refined", tmp_path).predict(tmp_path, IMAGE, names)):
        full = [tf.image.resize(scale[number][..., None], IMAGE.shape[:2])[..., 0] for scale in scales]
        np.testing.assert_allclose(one.attention, np.mean(full, axis=0), atol=1e-5)
