"""benchmarks/new_concept.py: which photos a word is learnt from, and what its table says."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from segmenter_fixture import photo, smallest_model, smallest_segmenter

from cmask_tf import model_directory
from cmask_tf.cli import main as cmask
from cmask_tf.errors import UserError
from cmask_tf.models.weights import checksum
from cmask_tf.training import new_concept

FILE = Path(__file__).parents[2] / "benchmarks" / "new_concept.py"
SHOWN, PHOTOS = 4, 8


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("new_concept_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return smallest_model(tmp_path_factory.getbasetemp() / "smallest-model")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder as `cmask data world` lays it out: capes are bright, in the first photos; all have a dress."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "coco").mkdir()
    for seed, split in enumerate(("val", "test")):
        write_split(folder, split, 100 * seed)
    return folder


def write_split(folder: Path, split: str, seed: int) -> None:
    images = folder / "images" / split
    images.mkdir(parents=True)
    annotations = []
    for number in range(PHOTOS):
        pixels = photo(seed=seed + number) // 3
        cape, dress = np.zeros((2, 60, 45), bool)
        cape[5 * number : 5 * number + 25, 10:30] = number < SHOWN
        dress[30:, :20] = True
        pixels[cape] += 150
        Image.fromarray(pixels).save(images / f"{number}.png")
        for category, mask in ((1, cape), (2, dress)):
            if mask.any():
                code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
                shape = {"size": [60, 45], "counts": code["counts"].decode()}
                annotations.append({"image_id": number, "category_id": category, "segmentation": shape})
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 60, "width": 45} for n in range(PHOTOS)],
        "annotations": [{"id": n, **entry} for n, entry in enumerate(annotations)],
        "categories": [{"id": 1, "name": "cape"}, {"id": 2, "name": "dress"}],
    }
    (folder / "coco" / f"concept_masks_{split}.json").write_text(json.dumps(content))


def evaluated(model: Path, world: Path, out: Path) -> tuple[float, float]:
    """IoU and presence AUC of "cape" by `cmask evaluate`."""
    masks, images = world / "coco" / "concept_masks_test.json", world / "images" / "test"
    files = ["--images", images, "--masks", masks]
    assert cmask(["evaluate", "--model", *map(str, [model, *files]), "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    return metrics["concepts"]["cape"]["iou"], metrics["presence"]["by_concept"]["cape"]["auc"]


def test_the_table_says_what_the_commands_of_the_tool_say(
    benchmark, model, world, tmp_path, capsys, monkeypatch
):
    def add_concept(source, records, word, out):
        report = new_concept.add_concept(source, records, word, out)
        shutil.copytree(out, tmp_path / "learnt")
        return report

    monkeypatch.setattr(benchmark, "add_concept", add_concept)
    benchmark.main(["--model", str(model), "--world", str(world), "--words", "cape", "--photos", "3"])
    head, _, row, mean, *rest = capsys.readouterr().out.splitlines()
    assert head.split(" | ")[1:4] == ["level before", "masks", "test photos"]
    name, level, masks, photos, *values = row.strip("| ").split(" | ")
    assert (name, level, masks, photos) == ("cape", "zero", "3", str(SHOWN))
    assert mean.endswith(" | ".join(values) + " |")
    assert rest[-1].startswith("All other words: the same masks and scores to the bit")

    before, after = (evaluated(one, world, tmp_path / "report") for one in (model, tmp_path / "learnt"))
    assert before != after
    assert values == [f"{v:.3f}" for pair in zip(before, after, strict=True) for v in pair]

    (tmp_path / "ids.txt").write_text("".join(f"{n}.png\n" for n in (0, 1, 2, SHOWN, SHOWN + 1, SHOWN + 2)))
    masks, images = world / "coco" / "concept_masks_val.json", world / "images" / "val"
    made = ["--annotations", masks, "--images", images, "--ids", tmp_path / "ids.txt"]
    assert cmask(["data", "coco", *map(str, made), "--out", str(tmp_path / "photos")]) == 0
    [report] = model_directory.load_provenance(tmp_path / "learnt")["added"]
    assert report["records"] == {"photos/dataset.json": checksum(tmp_path / "photos" / "dataset.json")}


def test_a_word_is_learnt_from_the_first_photos_of_either_kind(benchmark):
    shown = {"a": {"moon"}, "b": set(), "c": {"moon", "leg"}, "d": {"leg"}, "e": {"moon"}, "f": {"mug"}}
    assert benchmark.photos_of(shown, "moon", 2) == ["a", "c", "b", "d"]
    assert benchmark.photos_of(shown, "moon", 20) == ["a", "c", "e", "b", "d", "f"]
    with pytest.raises(UserError, match="'van': no validation photo shows it"):
        benchmark.photos_of(shown, "van", 2)


def test_a_bit_of_another_word_is_an_error_and_the_words_own_are_not(benchmark, model):
    class Changed:
        """The same model, but for the score of one word."""

        def __init__(self, segmenter, word):
            self.vocabulary, self.encode, self._segmenter = segmenter.vocabulary, segmenter.encode, segmenter
            self._word = word

        def segment(self, names, features):
            found = self._segmenter.segment(names, features)
            scores = np.where(
                np.array(names) == self._word, np.nextafter(found.scores, np.float32(2)), found.scores
            )
            return SimpleNamespace(masks=found.masks, scores=scores)

    old = smallest_segmenter(model)
    photos = [SimpleNamespace(image=photo(), path=Path("a.jpg"))]
    benchmark.check_others(old, Changed(old, "cape"), photos, "cape")
    with pytest.raises(UserError, match="'cape' was learnt, and 'hair' has another mask or score in a.jpg"):
        benchmark.check_others(old, Changed(old, "hair"), photos, "cape")


@pytest.mark.parametrize(
    "word, message",
    [
        ("dress", "'dress': has level mask in"),
        ("crown", "'crown': not in the vocabulary of"),
        ("walking", "'walking': no validation photo shows it"),
    ],
)
def test_a_word_that_cannot_be_measured_is_one_line(benchmark, model, world, word, message):
    with pytest.raises(SystemExit, match=message):
        benchmark.main(["--model", str(model), "--world", str(world), "--words", word])


def test_fewer_photos_than_can_be_learnt_from_are_refused_at_once(benchmark, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--model", "model", "--world", "world", "--photos", "2"])
    assert "--photos 2: expected 3 or more" in capsys.readouterr().err
