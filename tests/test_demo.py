"""`make demo`: two photos, the preset's masks of them, and where the overlays are."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from segmenter_fixture import smallest_model

from cmask_tf import presets
from cmask_tf.imageio import read_image
from cmask_tf.presets.packing import pack

ROOT = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch):
    """The script, whose concepts are words that the smallest model knows."""
    monkeypatch.syspath_prepend(ROOT / "trainers")
    spec = importlib.util.spec_from_file_location("demo", ROOT / "trainers" / "demo.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.CONCEPTS = ("hair", "red hat")
    return script


def test_two_photos_are_segmented_with_the_preset_and_their_overlays_are_named(
    script, tmp_path, tmp_path_factory, monkeypatch, capsys
):
    monkeypatch.setattr(presets, "FOLDER", tmp_path / "presets")
    presets.FOLDER.mkdir()
    pack(smallest_model(tmp_path_factory.getbasetemp() / "smallest-model"), presets.FOLDER / "street")
    out = tmp_path / "out"
    assert script.demo(out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("$ cmask segment ")
    assert " --concept hair --concept 'red hat' " in printed[0]
    assert "--model" not in printed[0]
    overlays = [Path(line.removeprefix("Overlay: ")) for line in printed if line.startswith("Overlay: ")]
    assert overlays == [out / "astronaut.overlay.png", out / "grace_hopper.overlay.png"]
    assert printed[-2:] == [f"Overlay: {overlay}" for overlay in overlays]
    assert all(read_image(overlay).std() > 10 for overlay in overlays)
    for photo, size in {"astronaut": (512, 512), "grace_hopper": (600, 512)}.items():
        for concept in ("hair", "red-hat"):
            assert read_image(out / f"{photo}.{concept}.png").shape[:2] == size


def test_without_a_preset_the_whole_system_is_trained_and_that_is_said(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(presets, "FOLDER", tmp_path / "no-presets")
    steps = []
    monkeypatch.setattr(script.demo_train, "_run", lambda command: steps.append(command) or 7)
    assert script.demo(tmp_path / "out") == 7
    assert capsys.readouterr().out == "this package carries no preset: training a model on ConceptWorld\n"
    assert steps == [f"data world --scenes 2000 --out {tmp_path / 'out' / 'world'}"]


def test_the_repository_ships_scikit_images_astronaut_and_says_whose_it_is():
    from skimage import data

    photo = read_image(ROOT / "docs/pictures/astronaut.jpg")
    assert photo.shape == (512, 512, 3)
    assert np.abs(photo.astype(int) - data.astronaut()).mean() < 4


def test_every_photo_of_the_docs_has_a_source():
    sources = (ROOT / "docs/pictures/SOURCES.txt").read_text().splitlines()
    plots = {path.name for path in (ROOT / "docs/pictures").glob("loss-terms-*.png")}
    pictures = {path.name for path in (ROOT / "docs/pictures").iterdir()} - plots
    assert pictures - {"SOURCES.txt"} == {line for line in sources if line.endswith((".jpg", ".png"))}
