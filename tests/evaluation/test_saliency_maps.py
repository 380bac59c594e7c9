"""A folder of saliency maps as a system."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmask_tf.errors import UserError
from cmask_tf.evaluation.saliency_maps import SaliencyMaps

IMAGE = np.zeros((40, 60, 3), np.uint8)


def write(file: Path, values: np.ndarray) -> None:
    Image.fromarray(values.astype(np.uint8)).save(file)


def test_every_name_gets_the_photo_s_map(tmp_path):
    values = np.arange(40 * 60).reshape(40, 60) % 256
    write(tmp_path / "a.png", values)
    system = SaliencyMaps(tmp_path)
    assert system.answers("dress") and system.answers("whatever")
    found = list(system.predict(Path("photos/a.jpg"), IMAGE, ["dress", "bag"]))
    assert [one.name for one in found] == ["dress", "bag"]
    for one in found:
        np.testing.assert_allclose(one.probability, values / 255, atol=1e-6)
        assert one.attention is one.probability and one.probability.dtype == np.float32
        assert one.score is None and one.present is None


def test_a_map_of_another_size_is_enlarged_bilinearly(tmp_path):
    write(tmp_path / "a.jpg", np.repeat([[0, 255]], 2, axis=0))
    (found,) = SaliencyMaps(tmp_path).predict(Path("a.png"), IMAGE, ["dress"])
    row = found.probability[20]
    assert found.probability.shape == (40, 60) and row[0] < 0.02 and row[-1] > 0.98
    places = (np.arange(60) + 0.5) / 60 * 2 - 0.5
    np.testing.assert_allclose(row, np.clip(places, 0, 1), atol=0.02)


def test_a_photo_without_a_map_is_named(tmp_path):
    write(tmp_path / "a.png", IMAGE[..., 0])
    with pytest.raises(UserError, match=r"no saliency map of photos/b.jpg; expected b.png or b.jpg"):
        list(SaliencyMaps(tmp_path).predict(Path("photos/b.jpg"), IMAGE, ["dress"]))


def test_a_damaged_map_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="a.png: not an image"):
        list(SaliencyMaps(tmp_path).predict(Path("a.jpg"), IMAGE, ["dress"]))


def test_a_folder_that_will_not_do_is_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        SaliencyMaps(tmp_path / "nowhere")
    (tmp_path / "readme.txt").write_text("maps are elsewhere")
    with pytest.raises(UserError, match="no saliency maps"):
        SaliencyMaps(tmp_path)
    for name in ("a.png", "a.jpg"):
        write(tmp_path / name, IMAGE[..., 0])
    with pytest.raises(UserError, match="a.png: a second map of one photo, beside a.jpg"):
        SaliencyMaps(tmp_path)
