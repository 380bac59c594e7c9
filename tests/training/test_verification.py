"""The verification network's training: what is asked, what it costs, what stays as it was (supp. 5)."""

import dataclasses

import keras
import numpy as np
import pytest
import reference
import refinement_fixture as fixture
import tensorflow as tf

from cmask_tf import model_directory
from cmask_tf.config import Verification
from cmask_tf.models.embedding import embed_map
from cmask_tf.models.verification import tables
from cmask_tf.training.verification import VerificationTask, _auc_by_level


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verification")
    fixture.prepare(folder)
    fixture.records(folder / "records" / "tags")
    run = fixture.run(folder)
    config = dataclasses.replace(
        run.config,
        verification=Verification(hidden=8),
        verify=dataclasses.replace(run.config.verify, batch=fixture.PHOTOS, negatives=0),
    )
    frozen = model_directory.build_parts(config, fixture.D, fixture.V, ("refinement",))
    rng = np.random.default_rng(4)
    for weight in frozen["refinement"].weights:
        weight.assign(rng.normal(size=weight.shape))
    frozen |= model_directory.load_parts(run.start, ("backbone", "embedding"))
    made = VerificationTask(dataclasses.replace(run, config=config), frozen)
    own = made.parts["verification_words"].get_layer("own")
    own.set_weights([rng.normal(size=own.embeddings.shape)])  # as after some training
    return made


@pytest.fixture(scope="module")
def batch(task):
    (batch,) = task.batches(epoch=1, skip=0)
    return batch


def cosine_by_hand(task, image, concept):
    """Supplement 5 step by step, with the verification network in place of the embedding network."""
    parts, words = task._frozen, fixture.vocabulary().vectors
    network = task.parts["verification"]
    matrix, bias, own = tables(task.parts["verification_words"])
    e, features = embed_map(parts["backbone"], parts["embedding"], image[None], training=False)
    unit = e.numpy() / np.linalg.norm(e, axis=-1, keepdims=True)
    alphas = unit[0] @ (words / np.linalg.norm(words, axis=1, keepdims=True)).T
    kernel1, bias1, kernel2, bias2 = parts["refinement"].get_weights()
    refined = reference.refinement(alphas, kernel1[0, 0], bias1, kernel2[0, 0], bias2)
    return reference.verification(
        refined[..., concept],
        features[0].numpy(),
        lambda pooled: network(pooled[None, None, None].astype(np.float32)).numpy()[0, 0, 0],
        words[concept] / np.linalg.norm(words[concept]) @ matrix + bias + own[concept],
    )


def test_the_cosine_is_the_supplements_on_the_refined_map(task, batch):
    concepts = np.array([[3, 17], [5, 39]], np.int32)
    got = task._cosines(batch["image"][:2], tf.constant(concepts), training=False).numpy()
    for photo in range(2):
        for place in range(2):
            expected = cosine_by_hand(task, batch["image"][photo], concepts[photo, place])
            assert got[photo, place] == pytest.approx(expected, abs=2e-5)


def test_the_loss_is_the_mean_cross_entropy_of_what_is_asked_and_padding_is_not(task, batch):
    one = {
        "image": batch["image"][:1],
        "concepts": tf.constant([[2, 9]]),
        "present": tf.constant([[True, False]]),
    }
    padded = {
        "image": one["image"],
        "concepts": tf.constant([[2, 9, -1]]),
        "present": tf.constant([[True, False, False]]),
    }
    cosines = task._cosines(one["image"], one["concepts"], training=False).numpy()[0]
    slope, bias = (w.item() for w in task.models["regression"].get_weights())
    likely = 1 / (1 + np.exp(-(slope * cosines + bias)))
    expected = -(np.log(likely[0]) + np.log(1 - likely[1])) / 2

    def inference(b):
        return task._entropy(task._cosines(b["image"], b["concepts"], training=False), b).numpy()

    assert inference(one)[0] == pytest.approx(expected, rel=1e-4)
    assert inference(padded)[0] == pytest.approx(expected, rel=1e-4)


def test_only_the_verification_network_and_its_regression_learn(task, batch):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(task.loss(batch)[0])
    learning = [w for model in task.models.values() for w in model.trainable_variables]
    frozen = [w for part in task._frozen.values() for w in part.trainable_variables]
    gradients = tape.gradient(loss, [v.value for v in learning + frozen])
    assert all(g is not None for g in gradients[: len(learning)])
    assert all(g is None for g in gradients[len(learning) :])


def test_a_few_steps_lower_the_loss(task, batch):
    optimizer = keras.optimizers.Adam(0.01)
    weights = [w for model in task.models.values() for w in model.trainable_variables]
    losses = []
    for _ in range(25):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(task.loss(batch)[0])
        optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)
        losses.append(float(loss))
    assert losses[-1] < 0.7 * losses[0]


def test_validation_is_the_area_under_the_curve_of_each_concept_then_the_mean_of_a_level():
    scores = np.array([[0.9, 0.1, 0.5, 0.3], [0.8, 0.2, 0.5, 0.3], [0.1, 0.3, 0.5, 0.3]])
    present = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    found = _auc_by_level(scores, present, ["mask", "mask", "box", "image"])
    # The first: 1 of 1 above both others. The second: of two pairs one is right. The third is in no photo.
    assert found == {"val_auc_mask": pytest.approx(0.75), "val_auc_image": pytest.approx(0.5)}


def test_scores_of_the_validation_photos_come_by_level(task):
    found = task.validate()
    assert all(name.startswith("val_auc_") and 0 <= value <= 1 for name, value in found.items())
