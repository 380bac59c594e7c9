"""The files to take away: what is in them, at the photo's own size, at the thresholds that were chosen."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.errors import UserError
from cmask_tf.web import downloads
from cmask_tf.web.visit import Thresholds, open_visit


@pytest.fixture
def visit(engine, photo):
    visit = open_visit(engine, photo)
    visit.ask(engine, ["dress", "bag", "hair"])
    return visit


def files(visit, tmp_path, **thresholds):
    out = tmp_path / "out"
    out.mkdir()
    masks, cut_out, coco = downloads.write(visit, Thresholds(**thresholds), out)
    assert sorted(out.iterdir()) == sorted([masks, cut_out, coco])
    return masks, cut_out, json.loads(coco.read_text())


def test_one_mask_for_every_word_that_is_there(visit, tmp_path):
    archive, _, _ = files(visit, tmp_path, presence=0.2)
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == ["scene.bag.png", "scene.dress.png"]
        dress = np.array(Image.open(io.BytesIO(opened.read("scene.dress.png"))))
    np.testing.assert_array_equal(dress == 255, visit.found("dress").probability(60, 80) >= 0.5)
    assert dress.shape == (60, 80) and set(np.unique(dress)) == {0, 255}


def test_the_cut_out_is_the_photo_where_any_word_is(visit, tmp_path, photo):
    _, path, _ = files(visit, tmp_path)
    cut = np.array(Image.open(path))
    assert cut.shape == (60, 80, 4) and path.name == "scene.cut-out.png"
    dress = visit.found("dress").probability(60, 80) >= 0.5
    np.testing.assert_array_equal(cut[..., 3] == 255, dress)
    np.testing.assert_array_equal(cut[dress, :3], np.array(Image.open(photo))[dress])


def test_the_mask_threshold_counts(visit, tmp_path):
    _, path, _ = files(visit, tmp_path, mask=0.95)
    expected = visit.found("dress").probability(60, 80) >= 0.95
    np.testing.assert_array_equal(np.array(Image.open(path))[..., 3] == 255, expected)


def test_coco_json_decodes_to_the_masks(visit, tmp_path):
    _, _, coco = files(visit, tmp_path, presence=0.2)
    assert coco["images"] == [{"id": 1, "file_name": "scene.png", "height": 60, "width": 80}]
    assert [category["name"] for category in coco["categories"]] == ["dress", "bag"]
    for annotation, name in zip(coco["annotations"], ["dress", "bag"], strict=True):
        mask = visit.found(name).probability(60, 80) >= 0.5
        np.testing.assert_array_equal(rle.decode(annotation["segmentation"]), mask)
        rows, columns = np.nonzero(mask)
        left, top = columns.min(), rows.min()
        assert annotation["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
        assert annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
        assert coco["categories"][annotation["category_id"] - 1]["name"] == name


def test_nothing_found_is_nothing_to_download(visit, tmp_path):
    with pytest.raises(UserError, match="nothing was found"):
        files(visit, tmp_path, presence=0.95)


def test_a_photo_that_was_deleted_meanwhile_is_told(visit, photo, tmp_path):
    photo.unlink()
    with pytest.raises(UserError, match="^scene.png: no such image"):
        files(visit, tmp_path)
