"""What the page's tests share: a model that needs no TensorFlow and counts its work, photos, and zips."""

import io
import zipfile
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image
from segmenter_fixture import smallest_vocabulary

CHANNEL = {"dress": 0, "bag": 1, "hair": 2}  # the others are nowhere


@dataclass
class ToyFeatures:
    """A photo as the toy encodes it: its channels as probabilities, small and square."""

    small: np.ndarray
    height: int
    width: int


class ToySegmenter:
    """The parts of `ConceptSegmenter` that the page uses: a dress is what is red, a bag green, hair blue.

    The score is the channel's mean. `encoded` and `decoded` count photos and words.
    """

    def __init__(self):
        self.vocabulary = smallest_vocabulary()
        self.encoded, self.decoded = 0, []

    def encode(self, image):
        self.encoded += 1
        small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        return ToyFeatures(small, *image.shape[:2])

    def scores(self, features):
        return np.array([self._map(name, features).mean() for name in self.vocabulary.names], np.float32)

    def decode(self, names, features):
        self.decoded += names
        for name in names:
            small = self._map(name, features)
            yield name, small, float(small.mean())

    def attention(self, names, features):
        maps = np.stack([self._map(name, features) for name in names])
        return [maps[:, ::4, ::4], maps[:, ::2, ::2]]

    def _map(self, name, features):
        if name not in CHANNEL:
            return np.zeros((32, 32), np.float32)
        return np.ascontiguousarray(features.small[..., CHANNEL[name]])


def red_and_green(height=60, width=80):
    """uint8 RGB: three quarters red at the left, the rest green."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : 3 * width // 4, 0] = 255
    image[:, 3 * width // 4 :, 1] = 255
    return image


def png(image) -> bytes:
    """A photo as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def huge_png(side=20_000) -> bytes:
    """A PNG of `side` x `side` pixels of one bit, all of one colour: few bytes, many pixels."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def zip_of(path, members, **how):
    """Writes a zip of {name: bytes}."""
    with zipfile.ZipFile(path, "w", **({"compression": zipfile.ZIP_DEFLATED} | how)) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path
