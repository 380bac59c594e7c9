"""Stage 2's batches with the teacher's maps (4.2): the photo's own, cropped and mirrored with it."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cmask_tf import geometry
from cmask_tf.data import balance, pipelines, schema, teacher_records
from cmask_tf.data.order import Share
from cmask_tf.data.sources import Annotated, Object

COUNT, SIZE, STRIDE, FILES = 23, 32, 5, 3


def scene(number):
    """A dark photo with a bright rectangle, the hat, and its box."""
    random = np.random.default_rng(number)
    top, left = random.integers(4, 20, 2)
    bottom, right = top + random.integers(16, 28), left + random.integers(16, 28)
    image = np.zeros((60, 56, 3), np.uint8)
    image[top:bottom, left:right] = 255
    return image, (top / 60, left / 56, bottom / 60, right / 56)


def records(folder, number):
    """The photo's record and what a teacher says: the hat (5), the photo's number, whether it is mirrored.

    All maps are the hat's.
    """
    image, box = scene(number)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    photo = Annotated(folder, str(number), 60, 56, (Object("hat", box),), ())
    hat = geometry.resize_labels((image[..., :1] > 0).astype(np.uint8), 14).numpy().astype(bool)
    maps = [np.repeat(hat[:, ::step], 4, axis=2) for step in (1, -1)]
    ids = [[5, 100 + number, 800 + flip, 900] for flip in (0, 1)]
    return schema.encode(photo, file.getvalue()), teacher_records.encode(ids, maps)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Box records and teacher records beside them, in files of several lengths."""
    folder, files = tmp_path_factory.mktemp("photos"), []
    for shard in range(FILES):
        files.append([str(folder / f"{kind}-{shard}") for kind in ("boxes", "teacher")])
        both = [records(folder, number) for number in range(COUNT)[shard::FILES]]
        for file, serialized in zip(files[-1], zip(*both, strict=True), strict=True):
            with tf.io.TFRecordWriter(file) as writer:
                for one in serialized:
                    writer.write(one)
    boxes, beside = zip(*files, strict=True)
    return SimpleNamespace(files=list(boxes), teacher=pipelines.Teacher(list(beside), maps=2))


def run(photos, batch=4, records=None, **options):
    options = {"seed": 1, "epoch": 0, **options}
    batches = pipelines.refinement_batches(
        records or photos, {"hat": 5}, SIZE, STRIDE, batch, photos.teacher, **options
    )
    batches = [one if isinstance(one, dict) else one[0] for one in batches]
    return [{name: value.numpy() for name, value in one.items()} for one in batches]


def rows(batches):
    """(annotated concepts, Psi_N, G, B) of every photo."""
    names = ("concepts", "matched", "targets", "binary")
    return [row for batch in batches for row in zip(*(batch[name] for name in names), strict=True)]


def numbers(batches):
    """Which photos they are; one whose crop shows no hat has the hat in Psi_N before its number."""
    return [int(matched[matched != 5][0]) - 100 for _, matched, _, _ in rows(batches)]


@pytest.mark.parametrize("train", [True, False])
def test_the_maps_are_the_photos_own_and_follow_it_through_flip_and_crop(photos, train):
    batches, agreement, flips = run(photos, train=train), [], set()
    assert sorted(numbers(batches)) == list(range(COUNT))
    for batch in batches:
        assert batch["matched"].dtype == np.int32 and batch["binary"].dtype == bool
    for concepts, matched, targets, binary in rows(batches):
        if concepts[0] != 5:  # the crop left the hat out: it is not annotated, and enters
            assert matched[0] == 5
            continue
        assert matched[1] - 800 in (0, 1)
        flips.add(matched[1] - 800)
        agreement.append((binary[..., 0] == (targets[..., 0] > 0)).mean())
    assert flips == ({0, 1} if train else {0})
    assert len(agreement) > 0.8 * COUNT and np.mean(agreement) > 0.9 and np.min(agreement) > 0.7


def test_the_targets_do_not_change_the_rest_of_a_batch(photos):
    alone = pipelines.refinement_batches(photos, {"hat": 5}, SIZE, STRIDE, 4, seed=1, epoch=0)
    for one, other in zip(alone, run(photos), strict=True):
        assert set(other) == set(one) | {"matched", "binary"}
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_skipping_goes_on_exactly_and_batches_may_have_any_size(photos):
    batches = run(photos)
    for one, other in zip(run(photos, skip=4), batches[4:], strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    for one, other in zip(rows(batches), rows(run(photos, batch=7)), strict=True):
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[3], other[3])


def test_balanced_photos_and_hosts_keep_their_targets(photos):
    starts = [0, 8, 16]  # files of 8, 8 and 7
    balanced = balance.Balanced(photos.files, starts, np.where(np.arange(COUNT) == 3, 4.0, 1.0))
    whole = run(photos, records=balanced)
    assert np.bincount(numbers(whole), minlength=COUNT).max() == 4
    hosts = [run(photos, records=balanced, share=Share(host, host + 1, 2)) for host in range(2)]
    for step, batch in enumerate(whole):
        dealt = numbers([hosts[0][step]]) + numbers([hosts[1][step]])
        assert sorted(dealt) == sorted(numbers([batch]))
