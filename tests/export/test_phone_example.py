"""`export/examples/segment_photo.py`: the system's masks and scores without TensorFlow or this package."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lively_fixture import lively_model
from PIL import Image
from segmenter_fixture import WORDS, photo

from cmask_tf.export import concept_file, tflite
from cmask_tf.segmenter import ConceptSegmenter

SCRIPT = Path(__file__).parents[2] / "export" / "examples" / "segment_photo.py"
# Whatever else a module might import on the way.
ONLY = """
import runpy, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"tensorflow", "keras", "cv2", "cmask_tf", "scipy", "matplotlib"}:
            raise ImportError(f"{name} is not on a phone")
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return ConceptSegmenter.load(lively_model(tmp_path_factory.getbasetemp() / "lively-lite"))


@pytest.fixture(scope="module")
def files(segmenter, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phone") / "files"
    tflite.export(lively_model(tmp_path_factory.getbasetemp() / "lively-lite"), out, "float32", concepts=3)
    return out


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", ONLY, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_photo_is_segmented_with_numpy_pillow_and_litert_alone(segmenter, files, tmp_path):
    image = photo(90, 70)
    Image.fromarray(image).save(tmp_path / "one.png")
    done = run(files, tmp_path / "one.png", *WORDS, "--out", tmp_path / "masks")
    assert done.returncode == 0, done.stderr
    expected = segmenter.segment(WORDS, segmenter.encode(image))
    assert expected.masks.std() > 0.1
    for word, mask, score in zip(WORDS, expected.masks, expected.scores, strict=True):
        drawn = np.asarray(Image.open(tmp_path / "masks" / f"one.{word.replace(' ', '-')}.png")) / 255
        assert drawn.shape == (90, 70)
        assert np.abs(drawn - mask).mean() < 0.01  # the table's rows are in half precision
        line = next(line for line in done.stdout.splitlines() if f": {word}, score" in line)
        assert abs(float(line.split("score ")[1].split(",")[0]) - score) < 0.02


def test_bad_input_is_told_in_a_line(files, tmp_path):
    Image.fromarray(photo()).save(tmp_path / "one.png")
    for arguments in ((files, tmp_path / "one.png", "zebra"), (files, tmp_path / "none.png", "dress")):
        done = run(*arguments)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("int8", [False, True])
def test_the_table_holds_the_words_and_says_what_fewer_bits_cost(segmenter, tmp_path, int8):
    changed = concept_file.write(tmp_path / "concepts.npz", segmenter, int8)
    with np.load(tmp_path / "concepts.npz") as arrays:
        table = dict(arrays)
    assert table["names"].tolist() == segmenter.vocabulary.names
    assert table["vectors"].dtype == (np.int8 if int8 else np.float16)
    held = table["vectors"] * table["scale"]
    vectors = segmenter.vocabulary.vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(held - unit).max() < (1 / 127 if int8 else 1e-3)
    nearest = []
    for rows in (unit, held):
        cosines = (rows @ rows.T) / np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(rows, axis=1))
        nearest.append((cosines - 2 * np.eye(len(rows))).argmax(1))
    assert changed == np.mean(nearest[0] != nearest[1])
