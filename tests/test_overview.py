"""One picture of everything that was found: each concept where it is, and a legend beside it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmask_tf import imageio, outputs
from cmask_tf.overview import PIXELS, shrunk, write_overview

EDGE = 16  # white around everything
GRAY = np.full((90, 60, 3), 128, np.uint8)


def square(top: int, left: int, side: int, shape=(90, 60)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def picture(path, image, found) -> tuple[np.ndarray, np.ndarray]:
    """The photo's part of what was written, in the photo's own pixels, and the legend's."""
    write_overview(path, image, found)
    whole = imageio.read_image(path)
    height, width = imageio.fit_image(image, PIXELS).shape[:2]
    part = Image.fromarray(whole[EDGE : EDGE + height, EDGE : EDGE + width])
    small = np.asarray(part.resize(image.shape[1::-1], Image.Resampling.BOX)).astype(int)
    return small, whole[:, 2 * EDGE + width :]


def colour(pixel) -> bool:
    return np.ptp(pixel) > 40


def test_what_was_found_is_tinted_and_the_rest_is_not(tmp_path):
    photo, legend = picture(tmp_path / "a.png", GRAY, [("red hat", square(5, 5, 20), 0.9)])
    assert colour(photo[8, 8]) and colour(photo[22, 22])
    assert np.ptp(photo[60, 30]) <= 3 and np.ptp(photo[8, 40]) <= 3
    assert (legend < 100).any()
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_a_small_thing_on_a_large_one_has_its_own_colour_in_any_order(tmp_path):
    large, small = ("dress", square(10, 5, 50), 0.6), ("bag", square(25, 20, 16), 0.9)
    photo, _ = picture(tmp_path / "a.png", GRAY, [small, large])
    dress, bag = photo[54, 10], photo[27, 22]
    assert colour(dress) and colour(bag) and np.abs(dress - bag).max() > 40
    again, _ = picture(tmp_path / "b.png", GRAY, [large, small])
    np.testing.assert_array_equal(photo, again)


def test_with_nothing_found_the_photo_is_as_it_was_and_words_say_so(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (9, 6, 3)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    photo, legend = picture(tmp_path / "a.png", image, [])
    assert np.abs(photo - image)[5::10, 5::10].max() <= 3
    assert (legend < 100).any()


def test_a_concept_without_a_pixel_is_in_the_legend_alone_and_pale(tmp_path):
    photo, legend = picture(tmp_path / "a.png", GRAY, [("ring", np.zeros((90, 60), bool), 0.9)])
    assert np.ptp(photo, axis=2).max() <= 3
    assert not (legend.max(axis=2) < 60).any() and (legend < 200).any()


@pytest.mark.parametrize("count, shape", [(1, (90, 60)), (2, (1, 1)), (14, (10, 90)), (50, (90, 60))])
def test_the_legend_has_room_for_all(count, shape, tmp_path):
    found = [(f"$concept_{i}$ with a long name", np.ones(shape, bool), 0.5) for i in range(count)]
    _, legend = picture(tmp_path / "a.png", np.zeros((*shape, 3), np.uint8), found)
    ink = (legend.min(axis=2) < 128).any(axis=1)
    assert not ink[:EDGE].any() and not ink[-EDGE // 2 :].any()
    assert not (legend.min(axis=2) < 128)[:, -2:].any()


def test_masks_may_be_shrunk_before(tmp_path):
    mask = square(5, 5, 30)
    write_overview(tmp_path / "a.png", GRAY, [("hat", mask, 0.9)])
    write_overview(tmp_path / "b.png", GRAY, [("hat", shrunk(mask), 0.9)])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert shrunk(mask).shape == (PIXELS, PIXELS * 2 // 3)


def test_a_photos_overlay_is_one_picture_when_everything_was_asked_for(tmp_path):
    found = [("hat", square(5, 5, 30), 0.9, True), ("bag", square(50, 5, 30), 0.8, True)]
    for together in (True, False):
        rows = outputs.write(Path("a.jpg"), GRAY, found, tmp_path / str(together), together=together)
        assert [row["area"] for row in rows] == [900, 900]
    sizes = [Image.open(tmp_path / name / "a.overlay.png").height for name in ("True", "False")]
    assert sizes == [PIXELS + 2 * EDGE, imageio.PANEL_PIXELS + 60]


def test_it_needs_neither_tensorflow_nor_matplotlib_before_it_draws():
    heavy = {"tensorflow", "matplotlib", "cv2"}
    code = f"import sys, cmask_tf.overview; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent).returncode == 0
