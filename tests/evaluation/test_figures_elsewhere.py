"""A report for readers who may not see the data's photos shows others."""

import shutil

import numpy as np
import pytest
from figures_fixture import FakeSystem, write_data, write_reproduction
from PIL import Image

from cmask_tf.errors import UserError
from cmask_tf.evaluation.figures import figures_elsewhere


def test_photos_from_elsewhere_stand_in_for_the_datas(tmp_path):
    write_data(tmp_path / "data")
    write_reproduction(tmp_path / "reproduction", tmp_path / "data")
    photos = [tmp_path / f"{name}.png" for name in ("alps", "beach")]
    for shade, photo in zip((240, 10), photos, strict=True):
        Image.fromarray(np.full((60, 80, 3), shade, np.uint8)).save(photo)
    ours = FakeSystem(scores={"sky": 0.6, "hair": 0.9, "dress": 0.2})
    refined = FakeSystem(("sky",), masks=False)
    systems = {"Ours": lambda: ours, "Refined": lambda: refined}
    shutil.rmtree(tmp_path / "data")
    figures = figures_elsewhere(
        tmp_path / "reproduction", tmp_path / "out", ["dress", "hair", "sky"], systems, photos
    )
    assert [figure.file for figure in figures] == ["photo-alps.png", "photo-beach.png", "supp-2-overlap.png"]
    alps = np.asarray(Image.open(tmp_path / "out" / "photo-alps.png").convert("RGB"))
    assert alps.shape[1] == 112 + 3 * 169  # photo, Refined, Ours
    # Hair and sky, the surer first: Refined knows the sky alone.
    assert refined.asked == [(photo.name, ("sky",)) for photo in photos]
    # The photo twice, and half of it twice, with a line around.
    assert 0.98 < (alps == 240).all(axis=-1).sum() / (3 * 160 * 120) < 1


def test_a_photo_in_which_nothing_is_found_says_so(tmp_path):
    write_data(tmp_path / "data")
    write_reproduction(tmp_path / "reproduction", tmp_path / "data")
    photo = tmp_path / "data" / "images" / "test" / "3.png"
    figures = figures_elsewhere(
        tmp_path / "reproduction",
        tmp_path / "out",
        ["sky"],
        {"Ours": lambda: FakeSystem(scores={"sky": 0.4})},
        [photo],
    )
    assert figures[0].caption == "None of the concepts is found in it."


def test_two_photos_of_one_name_are_one_line(tmp_path):
    photos = [tmp_path / "a.png", tmp_path / "b" / "a.jpg"]
    with pytest.raises(UserError, match=r"b/a.jpg: expected another name than that of .*/a.png"):
        figures_elsewhere(tmp_path, tmp_path / "out", ["sky"], {"Ours": FakeSystem}, photos)
    assert not (tmp_path / "out").exists()
