"""Trained presets: packed to half the size, the same masks, every file with a checksum."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from segmenter_fixture import WORDS, photo, smallest_model, smallest_segmenter

from cmask_tf import model_directory, presets
from cmask_tf.errors import UserError
from cmask_tf.presets.packing import pack
from cmask_tf.segmenter import ConceptSegmenter

ROOT = Path(__file__).parent.parent
BYTES = 20_000_000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return smallest_model(tmp_path_factory.getbasetemp() / "smallest-model")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    pack(model, folder / "street")
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder / "street", tmp_path / "copy")


def tensors(file: Path) -> dict[str, np.ndarray]:
    found = {}
    with h5py.File(file) as h5:
        h5.visititems(lambda name, item: found.update({name: item[()]} if hasattr(item, "dtype") else {}))
    return found


def test_a_preset_is_a_complete_model_directory_and_little_more_than_half_of_it(model, folder, tmp_path):
    size = pack(model, tmp_path / "again")
    files = {p.relative_to(tmp_path / "again"): p for p in (tmp_path / "again").rglob("*") if p.is_file()}
    assert size == sum(path.stat().st_size for path in files.values())
    assert set(files) == {p.relative_to(model) for p in model.rglob("*") if p.is_file()} | {
        Path("SHA256SUMS")
    }
    model_directory.check(folder / "street")
    weights = [sum(p.stat().st_size for p in place.glob("*.h5")) for place in (model, tmp_path / "again")]
    assert weights[1] < 0.6 * weights[0]
    for name in ("config.json", "concepts.json", "mixing.json", "thresholds.json", "vocabulary/vectors.npy"):
        assert (folder / "street" / name).read_bytes() == (model / name).read_bytes()


def test_kernels_are_float16_and_statistics_and_biases_stay_as_they_are(model, folder):
    for part in (*model_directory.PARTS, "verification", "verification_words"):
        before, after = (tensors(place / f"{part}.weights.h5") for place in (model, folder / "street"))
        assert set(before) == set(after)
        for name, value in before.items():
            assert after[name].dtype == (np.float16 if value.ndim > 1 else np.float32)
            np.testing.assert_array_equal(after[name], value.astype(after[name].dtype))


def test_its_masks_and_scores_are_those_of_the_model(model, folder):
    segmenters = smallest_segmenter(model), ConceptSegmenter.load(folder / "street")
    for seed in range(3):
        one, other = (s.segment(WORDS, s.encode(photo(seed=seed))) for s in segmenters)
        np.testing.assert_allclose(one.masks, other.masks, atol=2e-3)
        np.testing.assert_allclose(one.scores, other.scores, atol=2e-3)


def test_a_preset_packed_again_is_the_same(folder, tmp_path):
    pack(folder / "street", tmp_path / "again")
    for name in ("backbone", "segmentation_decoder"):
        one, other = (tensors(p / f"{name}.weights.h5") for p in (folder / "street", tmp_path / "again"))
        assert all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("value", [7e4, -7e4, np.nan, np.inf])
def test_a_weight_outside_float16_is_an_error_and_leaves_nothing(value, model, tmp_path):
    wild = shutil.copytree(model, tmp_path / "wild")
    with h5py.File(wild / "refinement.weights.h5", "r+") as file:
        first = next(
            name for name, tensor in tensors(wild / "refinement.weights.h5").items() if tensor.ndim > 1
        )
        file[first][..., 0] = value
    with pytest.raises(UserError, match=r"refinement\.weights\.h5: .*outside float16"):
        pack(wild, tmp_path / "packed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wild"]


def test_packing_replaces_a_preset_and_nothing_else(folder, model, tmp_path):
    place = shutil.copytree(folder / "street", tmp_path / "street")
    (place / "old.txt").write_text("old")
    pack(model, place)
    assert not (place / "old.txt").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="mine: exists and is not a model directory"):
        pack(model, tmp_path / "mine")
    (place / "thresholds.json").unlink()
    with pytest.raises(UserError, match=r"thresholds\.json: missing"):
        pack(place, tmp_path / "new")


def test_sums_are_those_of_sha256sum(copy):
    done = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=copy)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["backbone.weights.h5", "thresholds.json", "vocabulary/vectors.npy"])
def test_a_damaged_file_is_named_before_it_is_read(name, copy):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        ConceptSegmenter.load(copy)
    assert str(caught.value).startswith(f"{copy / name}: damaged: ")
    with pytest.raises(UserError, match="damaged"):
        model_directory.save_changed(copy, copy.parent / "new")


def test_a_missing_file_is_named(copy):
    (copy / "README").write_text("as it came")
    presets.write_sums(copy)
    (copy / "README").unlink()
    with pytest.raises(UserError, match=r"README: missing; SHA256SUMS lists it"):
        model_directory.check(copy)


def test_a_line_that_is_no_sum_is_named(copy):
    with (copy / "SHA256SUMS").open("a") as file:
        file.write("deadbeef  config.json\n")
    lines = len((copy / "SHA256SUMS").read_text().splitlines())
    with pytest.raises(UserError, match=rf"SHA256SUMS: line {lines}: expected a SHA-256 sum"):
        presets.verify(copy)


def test_names_are_found_and_others_are_told(folder, monkeypatch):
    monkeypatch.setattr(presets, "FOLDER", folder)
    assert presets.names() == ["street"]
    assert presets.locate("street") == model_directory.locate("street") == folder / "street"
    assert model_directory.locate(None) == folder / "street"
    with pytest.raises(UserError, match=r"^stret: no such preset; this package carries street$"):
        presets.locate("stret")
    with pytest.raises(UserError, match=r"^\.\.: no such preset"):
        presets.locate("..")
    monkeypatch.setattr(presets, "FOLDER", folder / "street")
    with pytest.raises(UserError, match=r"^no model: give --model DIR; this package carries no preset$"):
        model_directory.locate(None)


def test_a_preset_of_the_package_is_never_written_to(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(presets, "FOLDER", folder)
    (tmp_path / "link").symlink_to(folder / "street")
    for place in (folder / "street", folder / "street" / "sub", tmp_path / "link"):
        with pytest.raises(UserError, match="a preset of the package, which stays as it is"):
            model_directory.check_target(place)
    model_directory.check_target(folder / "new")


def test_the_commands_need_no_tensorflow_to_look_at_presets():
    code = "import sys, cmask_tf.presets, cmask_tf.model_directory; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def packaged() -> set[Path]:
    """What `package_data` of setup.cfg takes along of cmask_tf/presets."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    patterns = parser["options.package_data"]["cmask_tf.presets"].split(",")
    return {path for pattern in patterns for path in presets.FOLDER.glob(pattern.strip())}


def test_a_wheel_takes_every_file_of_a_preset_along(folder, monkeypatch):
    monkeypatch.setattr(presets, "FOLDER", folder)
    assert packaged() == {path for path in folder.rglob("*") if path.is_file()}


def test_what_the_package_carries_is_whole_and_small():
    for name in presets.names():
        directory = presets.locate(name)
        model_directory.check(directory)
        files = {path for path in directory.rglob("*") if path.is_file()}
        assert files <= packaged()
        assert sum(path.stat().st_size for path in files) <= BYTES
        sums = (directory / presets.SUMS).read_text()
        assert all(path.name in sums for path in files if path.name != presets.SUMS)


def test_the_recipe_refuses_a_folder_without_data_in_one_line(tmp_path):
    script = [sys.executable, str(ROOT / "trainers/presets/street.py"), "--out", str(tmp_path / "out")]
    done = subprocess.run([*script, "--data", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        f"cmask: error: {tmp_path / 'coco/concept_masks_val.json'}: missing; expected a data folder, "
        "as `cmask data world` writes it\n"
    )
    assert not (tmp_path / "out").exists()
