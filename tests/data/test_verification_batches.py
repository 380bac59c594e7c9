"""What the verification network is asked: is the photo tagged with it? (supplement 5)."""

import numpy as np
import pytest
import refinement_fixture as fixture
import tensorflow as tf

from cmask_tf.data import pipelines, schema
from cmask_tf.data.records import RecordSet

TRAINED = {name: i for i, name in enumerate(fixture.NAMES)}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags") / "tags"
    fixture.records(folder)
    return RecordSet.open(folder)


@pytest.fixture(scope="module")
def tags(records):
    """The trained concepts that each photo is tagged with, by the order of the records."""
    parsed = [schema.parse(one) for one in tf.data.TFRecordDataset(records.files)]
    return [{TRAINED.get(t.decode(), -1) for t in record["tags"].numpy()} - {-1} for record in parsed]


def batch(records, negatives=0, epoch=0, train=False):
    (found,) = pipelines.verification_batches(
        records, TRAINED, 32, fixture.PHOTOS, negatives, seed=3, epoch=epoch, train=train
    )
    return {name: value.numpy() for name, value in found.items()}


def test_without_a_number_of_negatives_every_concept_is_asked_about(records, tags):
    found = batch(records)
    assert found["image"].shape == (fixture.PHOTOS, 32, 32, 3)
    np.testing.assert_array_equal(found["concepts"], np.tile(np.arange(fixture.V), (fixture.PHOTOS, 1)))
    assert [set(np.flatnonzero(row)) for row in found["present"]] == tags


def test_with_one_the_tags_and_others_are_asked_about_each_once(records, tags):
    found = batch(records, negatives=5)
    for concepts, present, own in zip(found["concepts"], found["present"], tags, strict=True):
        asked = concepts[concepts >= 0]
        assert len(set(asked)) == len(asked)
        assert set(concepts[present]) == own
        assert own <= set(asked)
        assert len(set(asked) - own) <= 5
        assert not present[concepts < 0].any()
    assert any(set(c[c >= 0]) - own for c, own in zip(found["concepts"], tags, strict=True))


def test_a_photo_without_a_known_tag_has_nothing_present(records, tags):
    nothing = tags.index(set())
    for negatives in (0, 5):
        found = batch(records, negatives)
        assert not found["present"][nothing].any()
        assert (found["concepts"][nothing] >= 0).any()


def test_the_others_follow_from_seed_and_epoch(records):
    first, again, later = (batch(records, 5, epoch, train=True) for epoch in (1, 1, 2))

    def by_photo(found):
        return sorted(tuple(sorted(row[row >= 0])) for row in found["concepts"])

    assert by_photo(first) == by_photo(again)
    assert by_photo(first) != by_photo(later)
