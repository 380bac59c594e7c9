"""The job that asks the frozen network about every photo once: exact, resumed, bound to its teacher."""

from types import SimpleNamespace

import numpy as np
import pytest
import reference
import refinement_fixture as fixture
import tensorflow as tf

from cmask_tf import model_directory
from cmask_tf.data import pipelines, schema, teacher_records
from cmask_tf.data.order import Share
from cmask_tf.data.records import RecordSet
from cmask_tf.errors import UserError
from cmask_tf.models.embedding import embed_map
from cmask_tf.training import teacher_cache
from cmask_tf.training.teacher_cache import Choice, Teacher, cache_teacher

SIZE, THRESHOLD = 64, 0.1
SPELLINGS = {name: i for i, name in enumerate(fixture.NAMES)}
WHOLE = (0.0, 0.0, 1.0, 1.0)
ALONE = Share()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    fixture.prepare(folder)
    return folder


@pytest.fixture(scope="module")
def boxes(folder):
    return RecordSet.open(folder / "records" / "boxes")


@pytest.fixture(scope="module")
def parts(folder):
    return model_directory.load_parts(folder / "embedding", ("backbone", "embedding"))


@pytest.fixture(scope="module")
def teacher(parts):
    return Teacher(parts, tf.nn.l2_normalize(fixture.vocabulary().vectors, -1), THRESHOLD)


def cached(boxes, out, load, choice=None, share=ALONE, **made_from):
    choice = choice or Choice(6, SPELLINGS)
    return cache_teacher(load, choice, SIZE, boxes, out, made_from=made_from, share=share).files


def test_blocks_of_concepts_give_the_maps_of_eqn_1(teacher, parts, monkeypatch):
    image = np.random.default_rng(0).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    embedding, _ = embed_map(parts["backbone"], parts["embedding"], image, training=False)
    vectors = fixture.vocabulary().vectors
    monkeypatch.setattr(teacher_cache, "_BLOCK", 7)
    for concepts in (None, np.array([3, 20, 39]), np.zeros(0, int)):
        maxima, above = teacher.maps(image, concepts)
        wanted = range(fixture.V) if concepts is None else concepts
        assert maxima.shape == (2, len(wanted)) and above.shape == (2, 4, 4, len(wanted))
        for column, concept in enumerate(wanted):
            for row in range(2):
                alpha = reference.attention(embedding[row].numpy(), vectors[concept])
                assert maxima[row, column] == pytest.approx(alpha.max(), abs=1e-5)
                clear = np.abs(alpha - THRESHOLD) > 1e-5
                np.testing.assert_array_equal(above[row, ..., column][clear], (alpha > THRESHOLD)[clear])


@pytest.mark.parametrize("tagged", [None, range(fixture.BOXED, fixture.V)], ids=["all", "tagged"])
def test_whatever_a_crop_shows_psi_n_is_exact(boxes, teacher, tmp_path, tagged):
    """With any of the annotated concepts seen, the N best of the rest come out of what is stored."""
    n = 6
    files = cached(boxes, tmp_path, lambda: teacher, Choice(n, SPELLINGS, tagged))
    assert [f.rsplit("/")[-1] for f in files] == [f.rsplit("/")[-1] for f in boxes.files]
    photos = list(pipelines.photo_batches(boxes, (SIZE,), 100))[0]
    stored = list(tf.data.TFRecordDataset(files).as_numpy_iterator())
    rng = np.random.default_rng(0)
    for row, one in enumerate(photos["serialized"].numpy()):
        record = schema.parse(one)
        objects = record["names"].numpy()[~record["crowd"].numpy()]
        annotated = np.unique([SPELLINGS[name.decode()] for name in objects]).astype(np.int32)
        tags = {SPELLINGS.get(name.decode()) for name in record["tags"].numpy()}
        for flipped in (False, True):
            image = photos[f"image_{SIZE}"][row : row + 1]
            maxima, _ = teacher.maps(image[:, :, ::-1] if flipped else image)
            for _ in range(4):
                shown = rng.permutation(annotated)[: rng.integers(0, len(annotated) + 1)]
                free = set(range(fixture.V)) - set(shown.tolist())
                free &= free if tagged is None else tags & set(tagged)
                psi = sorted(free, key=lambda k: -maxima[0, k])[:n]
                shown = tf.constant(np.append(shown, -1), tf.int32)
                ids, maps = teacher_records.targets(
                    tf.constant(stored[row]), tf.constant(flipped), tf.constant(WHOLE), shown, n, 4
                )
                assert ids.numpy().tolist() == psi and maps.shape == (4, 4, len(psi))


def test_a_job_that_was_stopped_goes_on_with_the_shards_that_are_missing(
    boxes, teacher, tmp_path, monkeypatch
):
    whole = [open(file, "rb").read() for file in cached(boxes, tmp_path / "whole", lambda: teacher)]
    examples = teacher_cache._examples

    def stopped(*given):
        found = examples(*given)
        yield next(found)
        if "-1." in given[-1]:
            raise KeyboardInterrupt
        yield from found

    monkeypatch.setattr(teacher_cache, "_examples", stopped)
    with pytest.raises(KeyboardInterrupt):
        cached(boxes, tmp_path / "work", lambda: teacher)
    assert not (tmp_path / "work" / "records-1.tfrecord").exists()
    made = []
    monkeypatch.setattr(teacher_cache, "_examples", lambda *a: made.append(a[-1]) or examples(*a))
    files = cached(boxes, tmp_path / "work", lambda: teacher)
    assert [open(file, "rb").read() for file in files] == whole
    assert made == [boxes.files[1]]
    cached(boxes, tmp_path / "work", load=None)  # nothing is missing: no teacher is loaded
    assert not list((tmp_path / "work").glob("*.partial"))


def test_hosts_begin_at_different_shards_and_make_each_once(boxes, teacher, tmp_path, monkeypatch):
    examples, made = teacher_cache._examples, []

    def other_host_at_once(teacher, choice, size, source):
        made.append(source)
        if len(made) == 1:
            cached(boxes, tmp_path, lambda: teacher, share=Share(0, 1, 2))
        return examples(teacher, choice, size, source)

    monkeypatch.setattr(teacher_cache, "_examples", other_host_at_once)
    cached(boxes, tmp_path, lambda: teacher, share=Share(1, 2, 2))
    assert made[:2] == [boxes.files[1], boxes.files[0]]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "records-0.tfrecord", "records-1.tfrecord", "teacher.json",
    ]  # fmt: skip


def test_targets_of_another_teacher_or_of_other_records_are_not_taken_up(boxes, teacher, tmp_path):
    cached(boxes, tmp_path, lambda: teacher, inputs="a")
    with pytest.raises(UserError, match=r"teacher\.json: targets of another teacher.*remove"):
        cached(boxes, tmp_path, lambda: teacher, inputs="b")
    other = SimpleNamespace(files=boxes.files[:1], examples=4)
    with pytest.raises(UserError, match=r"teacher\.json: targets of another"):
        cached(other, tmp_path, lambda: teacher, inputs="a")


def test_the_fingerprint_depends_on_names_levels_and_vectors():
    vectors = np.eye(2, dtype=np.float32)
    concepts = [{"name": "a", "level": "box"}, {"name": "b", "level": "image"}]
    swapped = [{"name": "a", "level": "image"}, {"name": "b", "level": "box"}]
    prints = {
        teacher_cache.fingerprint(concepts, vectors),
        teacher_cache.fingerprint(swapped, vectors),
        teacher_cache.fingerprint(concepts[::-1], vectors),
        teacher_cache.fingerprint(concepts, 2 * vectors),
    }
    assert len(prints) == 4
