"""Photos with all their masks on planes: what a plane unites, what has no weight, what training cuts."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from cmask_tf import geometry
from cmask_tf.data import schema
from cmask_tf.data.mask_batches import mask_batches
from cmask_tf.data.sources import Annotated, Object

HEIGHT, WIDTH, SIZE = 60, 48, 32
PLANES = {"hat": 0, "hats": 0, "bag": 1}


def area(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


HAT, SECOND, CROWD, BAG = area(4, 4, 30, 24), area(20, 12, 44, 40), area(24, 0, 60, 30), area(8, 20, 50, 44)
OBJECTS = {
    "whole": [("hat", HAT, False), ("hats", SECOND, False), ("hat", CROWD, True), ("bag", BAG, False)],
    "other": [("dog", HAT, False), ("bag", None, False)],  # an unknown name; a box alone
    "empty": [],
}


def serialized(objects):
    """A photo that shows the first mask in red and the second in green."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for channel, (_, mask, _) in enumerate(objects[:2]):
        if mask is not None:
            image[mask, channel] = 255
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")

    def encoded(mask):
        return None if mask is None else rle.encode(np.asfortranarray(mask.astype(np.uint8)))

    things = tuple(Object(name, (0.0, 0.0, 1.0, 1.0), encoded(m), crowd=crowd) for name, m, crowd in objects)
    return schema.encode(Annotated(Path("a.png"), "a", HEIGHT, WIDTH, things, ()), file.getvalue())


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    file = tmp_path_factory.mktemp("masks") / "records"
    with tf.io.TFRecordWriter(str(file)) as writer:
        for objects in OBJECTS.values():
            writer.write(serialized(objects))
    return SimpleNamespace(files=[str(file)])


def small(mask):
    return geometry.resize_labels(mask[..., np.newaxis].astype(np.uint8), SIZE).numpy()[..., 0] > 0


def batch(records, planes=PLANES, **order):
    return next(
        iter(mask_batches(records, planes, SIZE, 3, **{"seed": 0, "epoch": 0, "train": False, **order}))
    )


def test_a_plane_is_the_union_of_the_masks_of_its_names(records):
    mask = batch(records)["mask"].numpy()
    np.testing.assert_array_equal(mask[0, ..., 0], small(HAT | SECOND))
    np.testing.assert_array_equal(mask[0, ..., 1], small(BAG))


def test_one_plane_takes_the_masks_of_all_names(records):
    mask = batch(records, dict.fromkeys(("hat", "hats", "bag", "dog"), 0))["mask"].numpy()
    np.testing.assert_array_equal(mask[0, ..., 0], small(HAT | SECOND | BAG))
    np.testing.assert_array_equal(mask[1, ..., 0], small(HAT))


def test_only_a_crowd_without_a_mask_has_no_weight(records):
    weight = batch(records)["weight"].numpy()
    np.testing.assert_array_equal(weight[0, ..., 0], ~small(CROWD & ~HAT & ~SECOND))
    assert weight[0, ..., 1].all() and weight[1:].all()


def test_photos_without_masks_have_empty_planes(records):
    assert not batch(records)["mask"].numpy()[1:].any()


def test_training_cuts_and_mirrors_masks_like_the_photo(records):
    planes = {"hat": 0, "hats": 1}
    windows = set()
    for epoch in range(3):
        for image, mask, index in rows(mask_batches(records, planes, SIZE, 3, seed=1, epoch=epoch)):
            if not index:
                continue
            seen = image[..., :2] - image[..., 2:]
            inside, outside = seen[mask], seen[~mask]
            assert np.median(inside) > 100 > 40 > np.median(outside)
            assert ((seen > 100) == mask).mean() > 0.93
            windows.add(mask.tobytes())
    assert len(windows) == 3


def rows(batches):
    """(photo, masks, whether it is the photo with masks) of each example."""
    for one in batches:
        for image, mask in zip(one["image"].numpy(), one["mask"].numpy(), strict=True):
            yield image, mask, mask.any()


def test_a_batch_follows_from_seed_epoch_and_place(records):
    first, second = (list(mask_batches(records, PLANES, SIZE, 1, seed=3, epoch=2, skip=s)) for s in (0, 2))
    assert (len(first), len(second)) == (3, 1)
    for name in ("image", "mask", "weight"):
        np.testing.assert_array_equal(first[2][name], second[0][name])
