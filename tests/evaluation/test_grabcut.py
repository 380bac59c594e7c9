"""GrabCut from the centre: a floor that sees the photo and never the concept."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cmask_tf.evaluation import grabcut
from cmask_tf.evaluation.grabcut import CentreGrabCut

SIZE = (120, 160)
DISC = cv2.circle(np.zeros(SIZE, np.uint8), (75, 62), 30, 1, -1).astype(bool)


def photo_of(mask):
    """Something orange on noisy green."""
    noise = np.random.default_rng(0).integers(0, 40, (*mask.shape, 3))
    return (np.where(mask[..., None], (220, 120, 20), (20, 110, 60)) + noise).clip(0, 255).astype(np.uint8)


def masks_of(system, photo, names, path="a.png"):
    return [one.probability for one in system.predict(Path(path), photo, names)]


def test_it_finds_what_stands_out_in_the_middle():
    (mask,) = masks_of(CentreGrabCut(), photo_of(DISC), ["disc"])
    assert mask.dtype == np.float32 and mask.shape == SIZE
    assert ((mask > 0.5) & DISC).sum() / ((mask > 0.5) | DISC).sum() > 0.95


def test_nothing_outside_the_centred_rectangle_is_ever_in_the_mask():
    (mask,) = masks_of(CentreGrabCut(), photo_of(np.roll(DISC, 60, axis=1)), ["disc"])
    rows, columns = (round(side * (1 - grabcut.SHARE) / 2) for side in SIZE)
    inside = np.zeros(SIZE, bool)
    inside[rows:-rows, columns:-columns] = True
    assert mask.any() and not (mask.astype(bool) & ~inside).any()


def test_every_concept_gets_the_same_mask_and_no_word_on_presence():
    system = CentreGrabCut()
    assert system.answers("disc") and system.answers("a word nobody knows")
    first, second = system.predict(Path("a.png"), photo_of(DISC), ["disc", "sky"])
    np.testing.assert_array_equal(first.probability, second.probability)
    assert (first.name, second.name) == ("disc", "sky")
    assert first.score is first.present is first.attention is None


def test_a_photo_is_cut_once_and_the_next_photo_anew(monkeypatch):
    calls = []
    cut = grabcut.grabcut
    monkeypatch.setattr(grabcut, "grabcut", lambda *args, **keys: calls.append(1) or cut(*args, **keys))
    system = CentreGrabCut()
    for _ in range(2):
        masks_of(system, photo_of(DISC), ["disc", "sky"])
    assert len(calls) == 1
    (other,) = masks_of(system, photo_of(np.roll(DISC, 20, axis=1)), ["disc"], "b.png")
    assert len(calls) == 2 and other[62, 95 + 20] and not other[62, 50]


@pytest.mark.parametrize("photo", [photo_of(DISC), np.full((*SIZE, 3), 90, np.uint8)], ids=["disc", "grey"])
def test_the_same_photo_always_gives_the_same_mask(photo):
    first = masks_of(CentreGrabCut(), photo, ["disc"])
    cv2.setRNGSeed(99)
    np.testing.assert_array_equal(first, masks_of(CentreGrabCut(), photo, ["disc"]))


def test_a_large_photo_is_worked_on_small(monkeypatch):
    sides = []
    solve = cv2.grabCut
    monkeypatch.setattr(cv2, "grabCut", lambda image, *rest: sides.append(image.shape) or solve(image, *rest))
    large = cv2.resize(photo_of(DISC), (1600, 1200))
    (mask,) = masks_of(CentreGrabCut(), large, ["disc"])
    assert mask.shape == (1200, 1600) and max(sides[0]) == grabcut.LONG_SIDE
