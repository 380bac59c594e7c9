"""A finished model with another mixing: what changes, and that the networks do not."""

import json

import numpy as np
import pytest
from evaluation_fixture import HEIGHT, WIDTH, write_photos
from segmenter_fixture import CONCEPTS, MIXING, smallest_model

from cmask_tf.data.coco import read_coco
from cmask_tf.data.records import write
from cmask_tf.reproduce.remix import with_neighbours, with_theta


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return smallest_model(tmp_path_factory.getbasetemp() / "smallest-model")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Validation photos that show a box-level and an image-level concept."""
    folder = tmp_path_factory.mktemp("photos")
    left = np.zeros((HEIGHT, WIDTH), bool)
    left[:, : WIDTH // 2] = True
    about = {c["name"]: {"level": c["level"], "kind": c["kind"]} for c in CONCEPTS}
    annotations = write_photos(folder, [{"hair": left, "street": ~left}] * 2, about)
    out = tmp_path_factory.mktemp("records")
    write(
        lambda work, faults: read_coco(annotations, folder, work, faults),
        out / "val",
        inputs={},
        source="val",
    )
    return out


def weights(model) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in model.glob("*.weights.h5")}


def test_a_given_theta_is_that_of_all_words(model, tmp_path):
    with_theta(model, 1.0, tmp_path / "new")
    mixing = json.loads((tmp_path / "new/mixing.json").read_text())
    assert mixing == MIXING | {"theta": {"image": 1.0, "zero": 1.0}}
    assert weights(tmp_path / "new") == weights(model)
    assert json.loads((model / "mixing.json").read_text()) == MIXING


def test_other_neighbours_are_chosen_and_calibrated_anew(model, records, tmp_path):
    from cmask_tf import model_directory

    with_neighbours(model, "pmi", records, tmp_path / "new")
    mixing = json.loads((tmp_path / "new/mixing.json").read_text())
    assert mixing["neighbours"] == "pmi"
    assert set(mixing["p"]) == set(MIXING["p"])
    assert model_directory.load_config(tmp_path / "new").mixing.neighbours == "pmi"
    before, after = (model_directory.load_parts(folder) for folder in (model, tmp_path / "new"))
    for name, part in before.items():
        for one, other in zip(part.get_weights(), after[name].get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (tmp_path / "new/thresholds.json").read_bytes() != (model / "thresholds.json").read_bytes()
