"""The commands of docs/tutorials/train-on-your-own-data.md, as they stand there, on a small ConceptWorld."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmask_tf.cli import main as cmask

# Three trainings, each of which traces its graphs anew.
pytestmark = pytest.mark.timeout(900)

PAGE = Path(__file__).parents[1] / "docs" / "tutorials" / "train-on-your-own-data.md"
# In place of the tutorial's config, which takes hours on real photos: every stage one short epoch.
SMALL = [
    "attention.sizes=[64, 64]", "backbone.output_stride=16", "backbone.width=0.125", "backbone.depth=0.1",
    "segmentation.size=64", "verification.hidden=0", "segment.box_weight=0",
    "embed.epochs=1", "refine.epochs=1", "segment.epochs=1",
]  # fmt: skip
SHOES = ("shoes", "boots", "sandals", "heels")


def commands(section: str) -> list[list[str]]:
    """The lines of the section's ```sh blocks, split as a shell splits them."""
    [chapter] = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S)
    blocks = re.findall(r"^```sh\n(.*?)^```$", chapter, re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines]


def run(command: list[str]) -> None:
    """Runs a line of the tutorial; a training at the test's size."""
    program, *arguments = command
    if program == "mkdir":
        Path(arguments[-1]).mkdir(parents=True)
        return
    assert program == "cmask"
    if arguments[:2] == ["train", "embedding"]:
        arguments += ["--config", "tiny-lite", *(word for one in SMALL for word in ("--set", one))]
    assert cmask(arguments) == 0, command


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """The tutorial's folder: ConceptWorld with its tags in a CSV, and boxes of the validation photos."""
    folder = tmp_path_factory.mktemp("tutorial") / "mine"
    assert cmask(["data", "world", "--scenes", "24", "--out", str(folder)]) == 0
    lines = [json.loads(line) for line in (folder / "tags/train.jsonl").read_text().splitlines()]
    write_tags(folder, [(line["image"], line["tags"]) for line in lines])
    (folder / "tags/train.jsonl").unlink()
    _write_validation_boxes(folder)
    return folder


def write_tags(folder: Path, rows: list[tuple[str, list[str]]]) -> None:
    with (folder / "tags/train.csv").open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(["image", "tags"])
        written.writerows([image, ";".join(tags)] for image, tags in rows)


def _write_validation_boxes(folder: Path) -> None:
    """The boxes around the validation masks, of the concepts that Open Images' classes have."""
    boxes = folder / "openimages"
    with (boxes / "class-descriptions-boxable.csv").open() as file:
        classes = {name.lower(): label for label, name in csv.reader(file)}
    truth = json.loads((folder / "coco/concept_masks_val.json").read_text())
    names = {category["id"]: category["name"] for category in truth["categories"]}
    photos = {photo["id"]: photo for photo in truth["images"]}
    with (boxes / "validation-annotations-bbox.csv").open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax"])
        for one in truth["annotations"]:
            if (label := classes.get(names[one["category_id"]])) is not None:
                photo, (x, y, w, h) = photos[one["image_id"]], one["bbox"]
                across, down = (np.array([x, x + w]) / photo["width"], np.array([y, y + h]) / photo["height"])
                written.writerow([Path(photo["file_name"]).stem, label, *across, *down])


@pytest.fixture
def mine(world, tmp_path, monkeypatch) -> Path:
    """A copy of it beside a photo, in the folder that the commands are run in."""
    shutil.copytree(world, tmp_path / "mine")
    shutil.copy(next((world / "images/test").iterdir()), tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine"


def test_tags_boxes_and_masks_become_a_model_that_segments(mine):
    for command in commands("Tags, boxes and masks"):
        run(command)
    assert list(Path("runs/records").glob("*/check.png"))
    trained = {c["name"]: c["level"] for c in json.loads(Path("runs/model/concepts.json").read_text())}
    assert set(trained.values()) == {"mask", "box", "image"}
    assert Path("runs/masks/photo.overlay.png").is_file()


def test_without_masks_the_folder_is_refused_in_one_line_that_says_what_to_do(mine, capsys):
    shutil.rmtree("mine/coco")
    assert cmask(["data", "prepare", "mine", "--out", "runs/records"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "cmask: error: mine/coco/instances_train.json: missing; expected masks in COCO's format; "
        "from boxes, `cmask data pseudo-masks` makes them\n"
    )
    assert not Path("runs").exists()


def test_tags_and_boxes_become_the_folder_that_has_masks(mine):
    shutil.rmtree(mine / "coco")
    for command in commands("Tags and boxes"):
        run(command)
    assert cmask(["data", "prepare", "mine", "--out", "runs/records"]) == 0
    for name in ("masks", "val"):
        made = json.loads(Path(f"runs/records/{name}/dataset.json").read_text())
        assert made["level"] == "mask" and made["concepts"] and not made["bad"]


def test_tags_alone_give_a_word_to_street(mine):
    """The reader's tags are of people in the street."""
    outfits = [["skin", "hair", one, "dress" if i % 2 else "jeans"] for i, one in enumerate(SHOES * 3)]
    rows = [(f"images/train/{i}.jpg", [*tags, "footwear"]) for i, tags in enumerate(outfits)]
    write_tags(mine, rows + [(f"images/train/b{i}.jpg", ["hat", "coat", "bag"]) for i in range(6)])
    for command in commands("Tags only"):
        run(command)
    mask = np.asarray(Image.open("runs/footwear/photo.footwear.png"))
    assert mask.shape == np.asarray(Image.open("photo.jpg")).shape[:2]
