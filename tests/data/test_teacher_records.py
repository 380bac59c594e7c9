"""Teacher records: what the frozen network says of a photo, packed; Psi_N of what a crop shows (4.2)."""

import numpy as np
import pytest
import tensorflow as tf

from cmask_tf.data import teacher_records

WHOLE = (0.0, 0.0, 1.0, 1.0)


def made(m, h, w, highest=50, seed=0):
    """Ids and maps of photo and mirrored photo, and their record."""
    rng = np.random.default_rng(seed)
    ids = [rng.permutation(highest)[:m] for _ in range(2)]
    above = [rng.uniform(size=(h, w, m)) < 0.4 for _ in range(2)]
    return ids, above, teacher_records.encode(ids, above)


def seen(record, flipped=False, window=WHOLE, annotated=(-1,), n=100, grid=4):
    found = teacher_records.targets(
        tf.constant(record), tf.constant(flipped), tf.constant(window), np.int32(annotated), n, grid
    )
    return [one.numpy() for one in found]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("highest", [50, 100_000])  # ids of 16 and of 32 bits
def test_ids_and_maps_come_back_of_each_flip(flipped, highest):
    ids, above, record = made(m=7, h=4, w=4, highest=highest)
    concepts, binary = seen(record, flipped)
    assert concepts.dtype == np.int32 and binary.dtype == bool
    np.testing.assert_array_equal(concepts, ids[flipped])
    np.testing.assert_array_equal(binary, above[flipped])


def test_what_is_annotated_leaves_and_the_next_ones_move_up():
    ids, above, record = made(m=7, h=4, w=4)
    order = ids[0]
    concepts, binary = seen(record, annotated=(order[4], -1, order[0]), n=3)
    np.testing.assert_array_equal(concepts, order[1:4])
    np.testing.assert_array_equal(binary, above[0][..., 1:4])
    assert len(seen(record, annotated=order[:5], n=3)[0]) == 2


def test_a_crop_takes_the_cells_that_hold_the_centres_of_its_own():
    _, above, record = made(m=3, h=5, w=7)
    rng = np.random.default_rng(1)
    for _ in range(20):
        top, left = rng.uniform(0, 0.5, 2)
        bottom, right = top + rng.uniform(0.3, 0.5), left + rng.uniform(0.3, 0.5)
        binary = seen(record, window=np.float32([top, left, bottom, right]))[1]
        for i in range(4):
            for j in range(4):
                y, x = top + (i + 0.5) / 4 * (bottom - top), left + (j + 0.5) / 4 * (right - left)
                np.testing.assert_array_equal(binary[i, j], above[0][int(y * 5), int(x * 7)])


def test_the_whole_photo_is_taken_cell_by_cell_at_every_size():
    for cells in range(1, 40):
        _, above, record = made(m=1, h=cells, w=cells)
        np.testing.assert_array_equal(seen(record, grid=cells)[1], above[0])


def test_a_photo_for_which_nothing_may_enter():
    empty = teacher_records.encode([np.zeros(0, int)] * 2, [np.zeros((4, 4, 0), bool)] * 2)
    concepts, binary = seen(empty)
    assert concepts.shape == (0,) and binary.shape == (4, 4, 0)


def test_the_papers_photo_takes_24_kilobytes():
    record = made(m=805, h=10, w=10, highest=18_000)[2]
    assert len(record) == pytest.approx(2 * 805 * (2 + 13), abs=200)
