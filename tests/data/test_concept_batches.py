"""Stage 3's photos with several of their concepts: the same pairs, each photo decoded once."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tensorflow as tf

from cmask_tf import geometry
from cmask_tf.data import attention_records, augment, pipelines, schema
from cmask_tf.data.concept_batches import concept_batches
from cmask_tf.data.sources import Annotated, Object

SIZE, CELLS = 32, (12, 20)


def mask(top, left, bottom, right):
    plane = np.zeros((60, 50), bool)
    plane[top:bottom, left:right] = True
    return plane


# Most of what training cuts out loses the corner.
MASKS = {
    "hat": mask(4, 10, 24, 40),
    "shoe": mask(40, 5, 55, 45),
    "bag": mask(20, 8, 50, 30),
    "pin": mask(0, 0, 3, 3),
}
COUNTS = (4, 1, 0, 3, 2)  # concepts of each photo


def record(folder, number, names):
    image = np.zeros((60, 50, 3), np.uint8)
    image[..., 0] = 10 * number
    for name, plane in MASKS.items():
        image[plane, 1 + len(name) % 2] = 255
    crowd = Object("hat", None, rle_of(mask(0, 30, 30, 50)), crowd=True)
    objects = tuple(Object(name, None, rle_of(MASKS[name])) for name in names) + (crowd,)
    encoded = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    serialized = schema.encode(Annotated(folder, str(number), 60, 50, objects, ()), encoded)
    maps = [np.stack([attended(names, size, flip) for flip in (False, True)]) for size in CELLS]
    return attention_records.encode(serialized, names, maps)


def attended(names, size, flip):
    planes = [MASKS[name][:, ::-1] if flip else MASKS[name] for name in names]
    small = [cv2.resize(p.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) for p in planes]
    return np.reshape(small, (len(names), size, size))


def rle_of(plane):
    from pycocotools import mask as rle

    return rle.encode(np.asfortranarray(plane, np.uint8))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attended")
    file = str(folder / "a.tfrecord")
    with tf.io.TFRecordWriter(file) as writer:
        for number, count in enumerate(COUNTS):
            writer.write(record(folder, number, list(MASKS)[:count]))
    return SimpleNamespace(files=[file])


@pytest.fixture(scope="module")
def many(records):
    """Each of the photos 16 times: a pipeline is slow to make and fast to run."""
    return SimpleNamespace(files=records.files * 16)


def batches(records, batch=2, concepts=0, **options):
    options = {"seed": 1, "epoch": 0, **options}
    found = concept_batches(records, SIZE, batch, concepts, options.pop("noise", 0.1), **options)
    return [{name: value.numpy() for name, value in one.items()} for one in found]


def real_pairs(found):
    """(photo's image, {plane: array}) of every place that is not padding."""
    for batch in found:
        for row, places in enumerate(batch["concepts"]):
            for k in np.flatnonzero(places >= 0):
                yield batch["image"][row], {n: batch[n][row, k] for n in ("attention", "mask", "weight")}


def test_as_they_are_they_are_the_pairs_of_the_paper_s_pipeline(records):
    pairs = pipelines.segmentation_batches(records, SIZE, 3, seed=1, epoch=0, train=False)
    expected = [
        dict(zip(("image", "attention", "mask", "weight"), one, strict=True))
        for batch in pairs
        for one in zip(*(batch[n].numpy() for n in ("image", "attention", "mask", "weight")), strict=True)
    ]
    found = list(real_pairs(batches(records, train=False)))
    assert len(found) == len(expected) == sum(COUNTS)
    for (image, planes), pair in zip(found, expected, strict=True):
        np.testing.assert_array_equal(image, pair["image"])
        np.testing.assert_allclose(planes["attention"], pair["attention"], atol=1e-5)
        np.testing.assert_array_equal(planes["mask"], pair["mask"])
        np.testing.assert_array_equal(planes["weight"], pair["weight"])


def test_a_photo_without_a_concept_stays_and_has_no_weight(records):
    found = batches(records, batch=1, train=False)
    assert [batch["concepts"].tolist() for batch in found] == [
        [[0, 1, 2, 3]],
        [[0]],
        [[-1]],
        [[0, 1, 2]],
        [[0, 1]],
    ]
    assert not found[2]["weight"].any()
    assert not found[2]["mask"].any()


def test_places_that_fill_a_batch_up_have_no_weight(records):
    (first, *_) = batches(records, train=False)
    assert first["concepts"].tolist() == [[0, 1, 2, 3], [0, -1, -1, -1]]
    assert not first["weight"][1, 1:].any()


def test_at_most_so_many_concepts_another_choice_each_time(many):
    (found,) = batches(many, batch=80, concepts=2)
    assert found["concepts"].shape == (80, 2)
    drawn = {tuple(sorted(places[places >= 0])) for places in found["concepts"]}
    assert {(0, 1), (0, 2), (1, 2)} < drawn


def test_photo_masks_and_attention_of_all_concepts_are_cut_and_mirrored_alike(many):
    """A concept lies where the photo has its colour, and its attention lies there too."""
    (found,) = batches(many, batch=80, noise=0.0)
    checked = 0
    for row, k in np.argwhere(found["concepts"] >= 0):
        inside = found["mask"][row, k, ..., 0]
        if inside.sum() < 20:  # the pin
            continue
        channel = 1 + len(list(MASKS)[found["concepts"][row, k]]) % 2
        assert (found["image"][row][inside, channel] > 100).mean() > 0.8
        attention = found["attention"][row, k, ..., 1]
        assert attention[inside].mean() > attention[~inside].mean() + 0.3
        checked += 1
    assert checked > 100


def test_of_a_concept_a_quarter_is_left_or_it_is_left_out(many):
    (found,) = batches(many, batch=80)
    areas = [plane.mean() for plane in MASKS.values()]
    kept = found["concepts"] >= 0
    for row, k in np.argwhere(kept):  # a cut keeps half of the photo, or more: areas do not shrink
        assert found["mask"][row, k].mean() >= 0.8 * augment.LEAST_INSIDE * areas[found["concepts"][row, k]]
    assert not found["weight"][~kept].any()
    assert kept.sum() < 16 * sum(COUNTS)  # some corners are cut off


def test_noise_is_another_for_each_concept_and_each_scale(records):
    (still,) = batches(records, batch=5, noise=0.0)
    (noisy,) = batches(records, batch=5, noise=0.2)
    np.testing.assert_array_equal(still["image"], noisy["image"])
    change = (noisy["attention"] - still["attention"])[noisy["concepts"] >= 0]
    flat = change.transpose(0, 3, 1, 2).reshape(2 * len(change), -1)
    assert (flat.std(axis=1) > 0.02).all()
    assert np.abs(np.corrcoef(flat) - np.eye(len(flat))).mean() < 0.5
    np.testing.assert_allclose(noisy["attention"].max(axis=(2, 3))[noisy["concepts"] >= 0], 1, atol=1e-5)


def test_the_same_numbers_give_the_same_batches_and_a_skip_goes_on_where_it_was(records):
    whole = batches(records, epoch=3)
    for other in (batches(records, epoch=3), [*whole[:1], *batches(records, epoch=3, skip=1)]):
        for one, same in zip(whole, other, strict=True):
            for name in one:
                np.testing.assert_array_equal(one[name], same[name])


def test_boxes_take_the_place_of_masks_and_are_marked(tmp_path):
    names, corners = ["hat", "shoe"], {"hat": (4, 10, 24, 40), "shoe": (40, 5, 55, 45)}
    size = np.array([60, 50, 60, 50])
    hat = Object("hat", tuple(np.array(corners["hat"]) / size), rle_of(MASKS["hat"] & mask(4, 10, 14, 40)))
    shoe = Object("shoe", tuple(np.array(corners["shoe"]) / size), None)
    encoded = cv2.imencode(".png", np.zeros((60, 50, 3), np.uint8))[1].tobytes()
    plain = schema.encode(Annotated(tmp_path, "0", 60, 50, (hat, shoe), ()), encoded)
    maps = [np.stack([attended(names, side, flip) for flip in (False, True)]) for side in CELLS]
    file = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(file) as writer:
        for _ in range(16):
            writer.write(attention_records.encode(plain, names, maps))
    records = SimpleNamespace(files=[file])
    (plain, *_) = batches(records, train=False)
    assert plain["boxed"].tolist() == [[False, True]] * 2
    whole = geometry.resize_labels(MASKS["shoe"][..., None].astype(np.uint8), SIZE)
    np.testing.assert_array_equal(plain["mask"][0, 1], whole)
    (cut,) = batches(records, batch=16)
    for row, k in np.argwhere(cut["concepts"] >= 0):
        assert cut["boxed"][row, k] == (cut["concepts"][row, k] == 1)
        rows, columns = (cut["mask"][row, k, ..., 0].any(axis=axis) for axis in (1, 0))
        np.testing.assert_array_equal(cut["mask"][row, k, ..., 0], rows[:, None] & columns)
