"""Image bytes in the graph: the pixels of `read_image`, or nothing, never an error."""

import io
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from segmenter_fixture import photo

from cmask_tf import geometry
from cmask_tf.export import photos
from cmask_tf.export.signatures import MAX_PIXELS
from cmask_tf.imageio import read_image

PIXELS = photo(40, 55, seed=3)
RGB = Image.fromarray(PIXELS)
NOISE = np.random.default_rng(1).integers(0, 256, (40, 55), np.uint8)


@pytest.fixture(scope="module")
def decode():
    return tf.function(
        lambda encoded: photos.decode(encoded, [16, 24]), input_signature=[tf.TensorSpec([None], tf.string)]
    )


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_of(width: int, height: int) -> bytes:
    """The header of a PNG of that size, its checksum right, and no pixels."""
    chunk = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + chunk + zlib.crc32(chunk).to_bytes(4, "big")


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG whose header says another size."""
    data = bytearray(encoded(RGB, "JPEG"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def seen_through(alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([PIXELS, alpha]))


GOOD = {
    "JPEG": encoded(RGB, "JPEG", quality=90),
    "progressive JPEG": encoded(RGB, "JPEG", progressive=True),
    "gray JPEG": encoded(RGB.convert("L"), "JPEG"),
    "CMYK JPEG": encoded(RGB.convert("CMYK"), "JPEG"),
    "PNG": encoded(RGB),
    "gray PNG": encoded(RGB.convert("L")),
    "16-bit PNG": encoded(Image.fromarray((NOISE.astype(np.uint16) << 8) + 200)),
    "1-bit PNG": encoded(RGB.convert("1")),
    "palette of 256": encoded(RGB.quantize(256)),
    "palette of 12": encoded(RGB.quantize(12)),
    "palette of 2": encoded(RGB.quantize(2)),
    "palette with alphas": encoded(RGB.quantize(12), transparency=bytes(range(0, 240, 20))),
    "a transparent colour": encoded(RGB, transparency=RGB.getpixel((7, 7))),
    "a transparent gray": encoded(RGB.convert("L"), transparency=RGB.convert("L").getpixel((7, 7))),
    "RGBA": encoded(seen_through(NOISE)),
    "gray with alpha": encoded(seen_through(NOISE).convert("LA")),
    "one pixel": encoded(Image.new("RGB", (1, 1), (9, 8, 7))),
    "a line": encoded(Image.new("RGB", (3000, 1), (9, 8, 7))),
}
BAD = {
    "nothing": b"",
    "text": b"photo",
    "half a JPEG": GOOD["JPEG"][: len(GOOD["JPEG"]) // 2],
    "a JPEG without its end": GOOD["JPEG"][:-2],
    "half a PNG": GOOD["PNG"][: len(GOOD["PNG"]) // 2],
    "a PNG with a wrong checksum": GOOD["PNG"].replace(b"IDAT", b"IDAT\0", 1),
    "the start of a JPEG": b"\xff\xd8\xff",
    "the start of a PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": encoded(RGB.quantize(16), "GIF"),
    "BMP": encoded(RGB, "BMP"),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "a PNG of 30,000 x 30,000": png_of(30_000, 30_000),
    "a PNG of 0 x 5": png_of(0, 5),
    "a PNG of 2^31 x 2": png_of(2**31, 2),
    "a JPEG of 30,000 x 30,000": jpeg_of(30_000, 30_000),
}


def test_good_images_are_the_pixels_that_python_reads(decode, tmp_path):
    squares, shapes = decode(list(GOOD.values()))
    for row, (name, data) in enumerate(GOOD.items()):
        (tmp_path / "image").write_bytes(data)
        pixels = read_image(tmp_path / "image")
        assert shapes[row].numpy().tolist() == list(pixels.shape[:2]), name
        for size in (16, 24):
            np.testing.assert_array_equal(
                squares[str(size)][row], geometry.resize_image(pixels, size), err_msg=name
            )


def test_bad_images_are_zeros_of_no_size(decode):
    squares, shapes = decode(list(BAD.values()))
    assert dict(zip(BAD, shapes.numpy().tolist(), strict=True)) == {name: [0, 0] for name in BAD}
    assert not squares["16"].numpy().any()


def test_a_bad_image_leaves_the_others_of_its_batch_alone(decode):
    alone, _ = decode([GOOD["JPEG"]])
    together, shapes = decode([b"", GOOD["JPEG"], BAD["half a JPEG"], GOOD["RGBA"]])
    np.testing.assert_array_equal(together["24"][1], alone["24"][0])
    assert shapes.numpy().tolist() == [[0, 0], [40, 55], [0, 0], [40, 55]]


def test_every_alpha_over_white_is_rounded_as_pillow_does():
    value, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    image = np.dstack([value, value, 255 - value, alpha])
    white = Image.new("RGBA", (256, 256), "white")
    pillow = Image.alpha_composite(white, Image.fromarray(image)).convert("RGB")
    np.testing.assert_array_equal(photos._over_white(tf.constant(image)), np.array(pillow))


def test_the_most_pixels_are_counted_from_the_header(decode, monkeypatch):
    """A file may claim any size: what is too large is refused before a buffer for it is made."""
    assert MAX_PIXELS < 30_000 * 30_000
    monkeypatch.setattr(photos, "MAX_PIXELS", 40 * 55 - 1)
    _, shapes = photos.decode(tf.constant([GOOD["PNG"], GOOD["JPEG"], GOOD["one pixel"]]), [16])
    assert shapes.numpy().tolist() == [[0, 0], [0, 0], [1, 1]]
