"""Any photo comes in as a person sees it; masks and overlays go out whole."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cmask_tf import imageio
from cmask_tf.errors import UserError

ROOT = Path(__file__).parent.parent


def quadrants():
    """[32, 48, 3] in four flat colours: no rotation or mirroring maps it to itself."""
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :32], image[:16, 32:] = (200, 30, 30), (30, 200, 30)
    image[16:, :32], image[16:, 32:] = (30, 30, 200), (230, 230, 230)
    return image


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def test_jpeg_pixels_are_those_that_tensorflow_trains_on(tmp_path, ccp):
    smooth = np.asarray(Image.fromarray(noise(9, 7, 3)).resize((101, 77)))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=80)  # odd sizes, chroma halved
    for path in [tmp_path / "a.jpg", *sorted(ccp.glob("images/test/*.jpg"))[:3]]:
        expected = tf.io.decode_jpeg(path.read_bytes(), channels=3, dct_method="INTEGER_ACCURATE")
        image = imageio.read_image(path)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, expected)


def test_grayscale(tmp_path):
    gray = noise(5, 4)
    Image.fromarray(gray).save(tmp_path / "a.png")
    np.testing.assert_array_equal(imageio.read_image(tmp_path / "a.png"), np.repeat(gray[..., None], 3, 2))


def test_black_and_white(tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
    np.testing.assert_array_equal(imageio.read_image(tmp_path / "a.png"), [[[0] * 3, [255] * 3]])


@pytest.mark.parametrize(
    "alpha, expected", [(0, (255, 255, 255)), (255, (10, 20, 250)), (51, (206, 208, 254))]
)
def test_transparent_pixels_lie_over_white(tmp_path, alpha, expected):
    Image.fromarray(np.full((2, 3, 4), (10, 20, 250, alpha), np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(imageio.read_image(tmp_path / "a.png"), np.full((2, 3, 3), expected))


def test_cmyk_jpeg(tmp_path):
    cmyk = Image.fromarray(quadrants()).convert("CMYK")
    cmyk.save(tmp_path / "a.jpg", quality=95)
    difference = imageio.read_image(tmp_path / "a.jpg").astype(int) - quadrants()
    assert np.abs(difference).max() <= 6


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_png_keeps_the_high_byte(tmp_path, channels):
    deep = noise(6, 5, channels, dtype=np.uint16)
    if channels == 4:
        deep[..., 3] = 65535
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    expected = np.broadcast_to(deep[..., :3], (6, 5, 3))[..., ::-1] >> 8
    image = imageio.read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image, expected)
    stored = tf.io.decode_png((tmp_path / "a.png").read_bytes(), channels=3)
    np.testing.assert_array_equal(image, stored)


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.fromarray(quadrants()).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(imageio.read_image(tmp_path / "a.png"), quadrants())
    image.save(tmp_path / "b.png", transparency=image.getpixel((0, 0)))
    see_through = imageio.read_image(tmp_path / "b.png")
    assert (see_through[:16, :32] == 255).all()
    np.testing.assert_array_equal(see_through[16:], quadrants()[16:])


# How a camera stores what a person sees, by EXIF orientation.
STORED = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.transpose(1, 0, 2),
    6: lambda seen: np.rot90(seen, 1),
    7: lambda seen: seen[::-1, ::-1].transpose(1, 0, 2),
    8: lambda seen: np.rot90(seen, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_exif_orientation_is_applied(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](quadrants())))
    stored.save(tmp_path / f"a.{kind}", exif=exif, quality=95, subsampling=0)
    image = imageio.read_image(tmp_path / f"a.{kind}")
    assert image.shape == (32, 48, 3)
    assert np.abs(image.astype(int) - quadrants()).max() <= 3


def broken_files(folder):
    Image.fromarray(noise(64, 64, 3)).save(folder / "whole.jpg")
    Image.fromarray(noise(64, 64, 3)).save(folder / "whole.png")
    (folder / "text.jpg").write_text("not a picture\n")
    (folder / "empty.jpg").write_bytes(b"")
    for kind in ("jpg", "png"):
        data = (folder / f"whole.{kind}").read_bytes()
        (folder / f"truncated.{kind}").write_bytes(data[: len(data) // 2])
        (folder / f"header.{kind}").write_bytes(data[:30])
    Image.fromarray(noise(4, 4).astype(np.float32)).save(folder / "float.tif")
    (folder / "folder.jpg").mkdir()


@pytest.mark.parametrize(
    "name, message",
    [
        ("missing.jpg", "no such image"),
        ("folder.jpg", "no such image"),
        ("text.jpg", "not an image"),
        ("empty.jpg", "not an image"),
        ("truncated.jpg", "damaged or truncated"),
        ("truncated.png", "damaged or truncated"),
        ("header.jpg", "(not an image|damaged or truncated)"),
        ("header.png", "(not an image|damaged or truncated)"),
        ("float.tif", "expected 8 or 16"),
    ],
)
def test_wrong_input_is_told_in_one_line_with_the_file(tmp_path, name, message):
    broken_files(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        imageio.read_image(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_a_mask_is_a_png_of_0_and_255(tmp_path):
    mask = noise(20, 30) > 128
    imageio.write_mask(tmp_path / "a.hat.png", mask)
    with Image.open(tmp_path / "a.hat.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), mask * 255)
    assert [f.name for f in tmp_path.iterdir()] == ["a.hat.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    imageio.write_mask(tmp_path / "a.png", np.ones((2, 2), bool))
    before = (tmp_path / "a.png").read_bytes()

    def full_disk(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        imageio.write_mask(tmp_path / "a.png", np.zeros((2, 2), bool))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["a.png"]


def panels_of(picture, count):
    """The panels of an overlay of a white square photo, which has a panel beside it for each concept."""
    size = imageio.PANEL_PIXELS
    step = size + 10
    return [picture[-size - 10 : -10, 10 + i * step : 10 + i * step + size].astype(int) for i in range(count)]


def test_an_overlay_dims_outside_tints_inside_and_leaves_out_what_is_not_found(tmp_path):
    mask = np.zeros((50, 50), bool)
    mask[10:40, 10:40] = True
    white = np.full((50, 50, 3), 255, np.uint8)
    panels = [("red hat", mask, 0.93, True), ("bag", mask, 0.12, False)]
    imageio.write_overlay(tmp_path / "a.overlay.png", white, panels)
    photo, present, absent = panels_of(imageio.read_image(tmp_path / "a.overlay.png"), 3)
    middle, corner = (220, 220), (30, 30)
    assert photo.min() >= 250
    assert np.ptp(present[middle]) > 60  # a colour
    assert np.ptp(present[corner]) <= 3 and present[corner].max() < 160
    assert np.ptp(absent.reshape(-1, 3), axis=0).max() <= 3 and absent.max() < 160
    assert [f.name for f in tmp_path.iterdir()] == ["a.overlay.png"]


@pytest.mark.parametrize("count, rows", [(0, 1), (5, 1), (6, 2), (13, 3)])
def test_at_most_six_columns(tmp_path, count, rows):
    mask = np.ones((30, 30), bool)
    panels = [(f"concept {i}", mask, 0.5, False) for i in range(count)]
    imageio.write_overlay(tmp_path / "a.png", np.zeros((30, 30, 3), np.uint8), panels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width <= 6 * (imageio.PANEL_PIXELS + 10) + 10
        assert round(image.height / (imageio.PANEL_PIXELS + 50)) == rows


def test_names_may_be_long_and_hold_dollars(tmp_path):
    names = ["$x^{$", "a name of a concept that goes on and on and does not end " * 5, "été"]
    panels = [(name, np.ones((40, 20), bool), 0.5, True) for name in names]
    imageio.write_overlay(tmp_path / "a.png", np.zeros((40, 20, 3), np.uint8), panels)
    assert imageio.read_image(tmp_path / "a.png").std() > 0


def test_reading_photos_needs_neither_tensorflow_nor_matplotlib():
    heavy = {"tensorflow", "matplotlib", "cv2"}
    code = f"import sys, cmask_tf.imageio; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
