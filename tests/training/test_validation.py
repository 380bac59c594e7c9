"""What an evaluation during training looks at, and what it finds in known maps."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data import schema
from cmask_tf.data.sources import Annotated, Object
from cmask_tf.training.validation import PICTURES, AttentionValidation

PHOTOS, SIZE = 11, 16


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Photos whose left half is a hat; red tells the photo's number."""
    folder = tmp_path_factory.mktemp("records")
    left = np.zeros((SIZE, SIZE), np.uint8)
    left[:, : SIZE // 2] = 1
    path = str(folder / "val.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for number in range(PHOTOS):
            file = io.BytesIO()
            Image.fromarray(np.full((SIZE, SIZE, 3), 10 * number, np.uint8)).save(file, "PNG")
            hat = Object("hat", None, rle.encode(np.asfortranarray(left)))
            photo = Annotated(folder, str(number), SIZE, SIZE, (hat,), ())
            writer.write(schema.encode(photo, file.getvalue()))
    return SimpleNamespace(files=[path], examples=PHOTOS)


class Attention:
    """One map a photo, bright where it is told; remembers the photos that it saw."""

    def __init__(self, left, right):
        self.row, self.seen = [left] * 2 + [right] * 2, []

    def __call__(self, images):
        self.seen += [round(float(image.numpy().mean()) / 10) for image in images]
        maps = np.broadcast_to(np.float32(self.row)[None, None, :, None], (len(images), 4, 4, 1))
        return tf.constant(maps)


def validation(records, photos=0):
    return AttentionValidation(records, SIZE, {"hat": 0}, ["mask"], photos)


def test_attention_in_the_right_place_scores_and_in_the_wrong_one_does_not(records):
    right, wrong = validation(records).score(Attention(1, 0)), validation(records).score(Attention(0, 1))
    assert right["val_pointing_game_mask"] == 1 and wrong["val_pointing_game_mask"] == 0
    assert right["val_soft_iou_mask"] > 0.7 > 0.2 > wrong["val_soft_iou_mask"]
    assert right["val_lit"] == 0.5 and right["val_deviation"] == pytest.approx(0.5)


def test_no_more_photos_than_wanted_and_the_same_ones_each_time(records):
    attention, limited = Attention(1, 0), validation(records, photos=5)
    limited.score(attention)
    first, attention.seen = attention.seen, []
    limited.score(attention)
    assert attention.seen == first and len(first) == 5 and first[0] <= 2 and first[-1] >= 8


def test_pictures_are_of_the_same_photos_each_time(records):
    limited = validation(records, photos=5)
    one, two = (limited.pictures(Attention(1, 0))["attention"] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (PICTURES, SIZE, 5 * SIZE, 3) and one.dtype == np.uint8
    white = (one[:, :, SIZE : 2 * SIZE] == 255).all(axis=(0, 1, 3))
    assert np.flatnonzero(white).tolist() == [0, SIZE // 2 - 1]  # around the left half
