"""Photos' files, several at a time: each has an answer of its own, whatever the others are like."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmask_tf.data.sources import Annotated
from cmask_tf.data.stored_photos import decoded_sizes, read_photos
from cmask_tf.faults import BadRecord

HEIGHT, WIDTH = 40, 60


def stored(kind: str, size: tuple[int, int] = (WIDTH, HEIGHT), **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


JPEG, PNG = stored("JPEG"), stored("PNG")
TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
FILES = {
    "good.jpg": (JPEG, None),
    "good.png": (PNG, None),
    "turned.jpg": (stored("JPEG", exif=TURNED), None),
    "picture.gif": (stored("GIF"), "it is GIF"),
    "words.jpg": (b"no photo at all", "of no type that Pillow knows"),
    "empty.jpg": (b"", "of no type that Pillow knows"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "truncated"),
    "half.png": (PNG[:-20], "truncated"),
    "no-pixels.png": (PNG.replace(b"IDAT", b"IDAx"), "of no type that Pillow knows"),
    "other-bytes.png": (PNG[:2000] + bytes(100) + PNG[2100:], "damaged"),
    "larger.jpg": (stored("JPEG", (80, 50)), "stored as 80 x 50, annotated as 60 x 40"),
}  # fmt: skip


@pytest.fixture
def photos(tmp_path) -> list[Annotated]:
    for name, (content, _) in FILES.items():
        (tmp_path / name).write_bytes(content)
    return [Annotated(tmp_path / name, name, HEIGHT, WIDTH) for name in (*FILES, "missing.jpg")]


def test_each_photo_of_several_has_its_bytes_or_its_own_fault(photos):
    found = read_photos(photos)
    assert isinstance(found[-1], BadRecord) and "missing.jpg" in str(found[-1])
    for photo, one, (content, fault) in zip(photos, found, FILES.values(), strict=False):
        if fault is None:
            assert one == content
        else:
            assert isinstance(one, BadRecord) and str(photo.image) in str(one)
            assert fault in str(one)


def test_what_is_said_of_a_photo_does_not_depend_on_the_others(photos):
    together = [str(one) for one in read_photos(photos)]
    assert together == [str(read_photos([photo])[0]) for photo in photos]


def test_decoded_sizes_are_those_of_the_stored_pixels_in_their_order():
    files = [JPEG, JPEG[:100], stored("PNG", (7, 3)), Path(__file__).read_bytes(), b""]
    assert decoded_sizes(files) == [(HEIGHT, WIDTH), None, (3, 7), None, None]
    assert decoded_sizes([]) == []
