"""Stage 2's step: the fast form is the paper's form, which `refine.literal` keeps (4.2)."""

import copy
import dataclasses
import shutil

import numpy as np
import pytest
import refinement_fixture as fixture
import tensorflow as tf

from cmask_tf import losses
from cmask_tf.data import augment
from cmask_tf.training import refine, refine_loss


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage2")
    fixture.prepare(folder)
    return folder


@pytest.fixture(scope="module")
def uncut():
    """Photos are mirrored, not cropped nor lit: then the cached teacher sees what the literal one sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "crop_window", lambda drawn, height, width: tf.stack([0, 0, height, width]))
        patch.setattr(augment, "jitter", lambda image, drawn: image)
        yield


@pytest.fixture(scope="module")
def base(folder, uncut):
    """A task, and the teacher that it let go."""
    teachers, load = [], refine.RefinementTask._teacher
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            refine.RefinementTask, "_teacher", lambda self: teachers.append(load(self)) or teachers[0]
        )
        task = refine.RefinementTask(fixture.run(folder))
    assert task.teacher is None
    return task, teachers[0]


@pytest.fixture(
    scope="module",
    params=[("all", 12), ("all", 800), ("tagged", 12)],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def tasks(request, folder, base):
    """The fast task and the literal one on the same networks; a batch for both."""
    task, teacher = base
    scope, maps = request.param
    fast = planned(task, matching_scope=scope, matching_maps=maps, matching_weight=0.3, threshold=0.1)
    fast._teacher = lambda: teacher
    shutil.rmtree(folder / "refine.run")
    fast.matched = fast._targets(fixture.vocabulary().vectors)
    literal = planned(fast, literal=True)
    literal.teacher = teacher
    (batch,) = fast.batches(epoch=1, skip=0)
    return fast, literal, batch


def planned(task, **fields):
    """The task with other fields of its plan, on the same networks."""
    task = copy.copy(task)
    task.plan = dataclasses.replace(task.plan, **fields)
    task.of_maps = dataclasses.replace(task.of_maps, plan=task.plan)
    return task


def step(task, batch):
    """Loss and terms of each example, and the gradient of every weight of the three networks."""
    weights = {
        f"{part} {weight.path}": weight
        for part, model in task.models.items()
        for weight in model.trainable_variables
    }
    with tf.GradientTape() as tape:
        loss, terms = task.loss(batch)
        total = tf.reduce_sum(loss)
    gradients = tape.gradient(total, list(weights.values()))
    return {"loss": loss, **terms}, dict(zip(weights, gradients, strict=True))


def assert_equal_steps(fast, literal, batch):
    (terms, gradients), (expected, wanted) = step(fast, batch), step(literal, batch)
    assert terms.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(terms[name], expected[name], rtol=2e-5, atol=1e-6, err_msg=name)
    parts = {name.split()[0] for name in wanted}
    assert parts == {"backbone", "embedding", "refinement"}
    largest = max(np.linalg.norm(gradient) for gradient in wanted.values())
    for name, gradient in wanted.items():
        apart = np.linalg.norm(gradients[name] - gradient)
        # A shift that the next normalisation takes out again has no gradient but rounding.
        assert apart <= 1e-4 * np.linalg.norm(gradient) + 1e-6 * largest, name
    return terms, wanted


@pytest.mark.parametrize(("product", "options"), [
    (True, {"keep_positives": True, "dice_weight": 0.5}),
    (False, {"keep_positives": False, "dice_weight": 0.0}),
], ids=["product, lite's terms", "coarse maps, the paper's terms"])  # fmt: skip
def test_loss_terms_and_every_gradient_are_those_of_the_literal_step(tasks, options, product, monkeypatch):
    fast, literal, batch = tasks
    monkeypatch.setattr(refine_loss, "forms_product", lambda *sizes: product)
    terms, gradients = assert_equal_steps(planned(fast, **options), planned(literal, **options), batch)
    assert all(np.abs(gradients[name]).max() > 0 for name in gradients if "refinement" in name)
    assert all(np.asarray(term).max() > 0 for term in terms.values())


def test_the_batch_has_the_cases_that_matter(tasks):
    """Photos without an annotated concept, fewer maps than N and none, bits of both kinds."""
    fast, _, batch = tasks
    assert sorted(batch["concepts"].numpy()[:, 0] < 0) == [False] * 5 + [True] * 2
    matched = [row[row >= 0] for row in batch["matched"].numpy()]
    lengths = set(map(len, matched))
    if fast.plan.matching_scope == "tagged":
        assert 0 in lengths and 12 in lengths and len(lengths) > 2
        assert all(set(row) <= set(range(fixture.BOXED, fixture.V)) for row in matched)
    else:
        assert lengths == {12} or max(lengths) == fixture.V and min(lengths) < fixture.V
    binary = batch["binary"].numpy()
    assert 0.1 < binary.mean() < 0.9


def test_psi_n_and_its_maps_are_the_live_teachers_also_of_mirrored_photos(tasks):
    """Exactly, but for maps within rounding of the threshold."""
    fast, literal, batch = tasks
    original = fast.of_maps.coarse(refine._embedding(literal.teacher, batch["image"], False)).numpy()
    allowed = fast.of_maps.allowed(batch["tags"])
    psi = losses.strongest(original, batch["concepts"], fast.plan.matching_maps, allowed).numpy()
    for row, ours in enumerate(batch["matched"].numpy()):
        chosen = ours[ours >= 0]
        np.testing.assert_array_equal(chosen, psi[row][psi[row] >= 0])
        alpha = original[row][..., chosen]
        clear = np.abs(alpha - fast.plan.threshold) > 1e-5
        binary = batch["binary"].numpy()[row][..., : len(chosen)]
        np.testing.assert_array_equal(binary[clear], (alpha > fast.plan.threshold)[clear])
    assert 0 < mirrored(fast, batch) < fixture.PHOTOS


def mirrored(task, batch) -> int:
    """How many photos of a batch are mirror images of what the records hold."""
    (plain,) = refine.pipelines.photo_batches(task.records, (task.size,), fixture.PHOTOS)
    plain, count = plain[f"image_{task.size}"].numpy(), 0
    for image in batch["image"].numpy():
        as_it_is, flipped = (np.abs(image - p).max(axis=(1, 2, 3)).min() for p in (plain, plain[:, :, ::-1]))
        count += flipped < as_it_is
    return count


def test_no_teacher_is_loaded_when_its_targets_lie_there(tasks, folder, monkeypatch):
    fast, _, _ = tasks
    monkeypatch.setattr(fast, "_teacher", None)
    assert fast._targets(fixture.vocabulary().vectors) == fast.matched


def test_the_literal_task_reads_no_targets(base, monkeypatch):
    monkeypatch.setattr(refine.RefinementTask, "_teacher", lambda self: base[1])
    task = refine.RefinementTask(fixture.run(base[0].run.records.parent, literal=True))
    assert task.matched is None and set(task.teacher) == {"backbone", "embedding"}
    (batch,) = task.batches(0, 0)
    assert "matched" not in batch and np.isfinite(task.loss(batch)[0]).all()
