"""A mask in other programs' forms: run lengths, polygons, a cut-out, classes."""

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from cmask_tf import shapes


def blob(height=90, width=120) -> np.ndarray:
    """Two ellipses, one of them with a hole, one cut off by the edge of the picture: bool."""
    canvas = np.zeros((height, width), np.uint8)
    cv2.ellipse(canvas, (40, 45), (30, 22), 20, 0, 360, 1, -1)
    cv2.ellipse(canvas, (40, 45), (10, 8), 0, 0, 360, 0, -1)
    cv2.ellipse(canvas, (115, 80), (20, 15), 0, 0, 360, 1, -1)
    return canvas > 0


def drawn(polygons, height, width) -> np.ndarray:
    """Which pixels' centres lie in the polygons and not in their holes: bool."""
    finer = 16
    canvas = np.zeros((height * finer, width * finer), np.uint8)
    for rings in polygons:
        cv2.fillPoly(canvas, [np.round(np.array(ring) * finer).astype(np.int32) for ring in rings], 1)
    return canvas[finer // 2 :: finer, finer // 2 :: finer] > 0


def test_run_lengths_are_cocos():
    mask = blob()
    runs = shapes.rle(mask)
    assert isinstance(runs["counts"], str)
    np.testing.assert_array_equal(coco.decode(runs), mask)
    ys, xs = np.nonzero(mask)
    assert shapes.box(mask) == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
    assert shapes.box(np.zeros((5, 7), bool)) == [0, 0, 0, 0]


def test_polygons_cover_the_mask_with_its_hole_and_at_the_edge():
    mask = blob()
    polygons = shapes.polygons(mask)
    assert sorted(len(rings) for rings in polygons) == [1, 2]
    again = drawn(polygons, *mask.shape)
    assert (mask & again).sum() / (mask | again).sum() > 0.98
    corners = np.concatenate([ring for rings in polygons for ring in rings])
    assert corners.min() >= 0 and corners[:, 0].max() <= 120 and corners[:, 1].max() <= 90
    assert len(corners) < 200  # an outline, not every pixel of it
    assert all(ring[0] == ring[-1] for rings in polygons for ring in rings)


@pytest.mark.parametrize("where", [np.s_[:0, :0], np.s_[3:4, 5:6], np.s_[:, :]])
def test_polygons_of_nothing_of_one_pixel_and_of_everything(where):
    mask = np.zeros((8, 10), bool)
    mask[where] = True
    polygons = shapes.polygons(mask)
    assert len(polygons) == bool(mask.any())
    area = sum(cv2.contourArea(np.array(ring, np.float32)) for rings in polygons for ring in rings)
    assert area == pytest.approx(mask.sum(), rel=0.01, abs=0.5)  # corners are cut


def test_a_cut_out_is_the_photo_inside_and_nothing_outside():
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    mask = blob()
    cut = shapes.cut_out(image, mask)
    assert cut.dtype == np.uint8 and cut.shape == (90, 120, 4)
    np.testing.assert_array_equal(cut[mask], np.concatenate([image, np.full((90, 120, 1), 255)], 2)[mask])
    assert not cut[~mask].any()


def test_of_several_classes_the_likeliest_has_the_pixel():
    classes = shapes.Classes(1, 4)
    for number, row in ((3, [0.9, 0.6, 0.2, 0.6]), (7, [0.8, 0.7, 0.3, 0.6])):
        probability = np.array([row], np.float32)
        classes.add(number, probability, probability >= 0.5)
    assert classes.numbers.tolist() == [[3, 7, shapes.NOTHING, 3]]


def test_the_palette_is_pascal_vocs():
    palette = shapes.palette()
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert len(np.unique(palette, axis=0)) == 256
