"""A small finished reproduction: photos in colours of their own, made-up scores, fake systems."""

import csv
import json
from pathlib import Path

import numpy as np
import scipy.sparse
from PIL import Image
from pycocotools import mask as rle

from cmask_tf.data import records
from cmask_tf.data.sources import Annotated, Annotations, Object
from cmask_tf.evaluation.systems import Prediction
from cmask_tf.vocabulary.artefact import Vocabulary

HEIGHT, WIDTH, PHOTOS = 60, 80, 12
LEFT = np.ones((HEIGHT, 1)) * np.arange(WIDTH) < WIDTH // 2
TOP = np.arange(HEIGHT)[:, None] * np.ones((1, WIDTH)) < HEIGHT // 2
CONCEPTS = {
    "dress": ("mask", "object"),
    "hair": ("box", "part"),
    "sky": ("box", "stuff"),
    "striped": ("image", "attribute"),
    "walking": ("image", "action"),
    "cape": ("zero", "object"),
}
ABSENT = 3  # photos of each concept that do not show it, the last ones
HEADER = (
    "photo concept level kind truth precision recall iou boundary_iou pointing_game soft_iou area score found"
).split()


def colour(number: int) -> tuple[int, int, int]:
    """Of a photo's pixels."""
    return (20 + 18 * number, 200 - 15 * number, (90 * number) % 250)


def iou(number: int, concept: str) -> float:
    """Of our mask: another ranking of the photos for each concept, without ties."""
    return ((number * 5 + list(CONCEPTS).index(concept)) % PHOTOS) / PHOTOS + number / 1000


def score(number: int) -> float:
    return 1 - number / PHOTOS


class FakeSystem:
    """Masks are the left half, attention rises to the right. `asked`: (photo, names) of each call.
    `scores`: of concepts, which are present from 0.5 on."""

    def __init__(self, known=tuple(CONCEPTS), masks=True, attention=True, scores=None):
        self._known, self._masks, self._attention, self.asked = known, masks, attention, []
        self._scores = scores or {}

    def answers(self, name):
        return name in self._known

    def predict(self, path, image, names):
        self.asked.append((path.name, tuple(names)))
        height, width = image.shape[:2]
        left = np.tile(np.arange(width) < width // 2, (height, 1)).astype(np.float32)
        rising = np.tile(np.arange(width) / width, (height, 1)).astype(np.float32)
        for name in names:
            score = self._scores.get(name, 0.0)
            maps = left if self._masks else None, rising if self._attention else None
            yield Prediction(name, *maps, score, score >= 0.5)


def write_data(data: Path, concepts=CONCEPTS, info=None) -> None:
    """The test photos with the top half as the true mask of all concepts, and three training photos."""
    for split in ("test", "train"):
        (data / "images" / split).mkdir(parents=True)
    for number in range(PHOTOS):
        pixels = np.full((HEIGHT, WIDTH, 3), colour(number), np.uint8)
        Image.fromarray(pixels).save(data / "images" / "test" / f"{number}.png")
    for number in range(3):
        pixels = np.full((HEIGHT, WIDTH, 3), 80 * number, np.uint8)
        Image.fromarray(pixels).save(data / "images" / "train" / f"t{number}.png")
    code = rle.encode(np.asfortranarray(TOP.astype(np.uint8)))
    shape = {"size": [HEIGHT, WIDTH], "counts": code["counts"].decode()}
    box = rle.toBbox(code).tolist()
    pairs = [(photo, c) for photo in range(PHOTOS - ABSENT) for c in range(1, len(concepts) + 1)]
    content = {
        "info": info or {},
        "images": [
            {"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in range(PHOTOS)
        ],
        "annotations": [
            {"id": n, "image_id": p, "category_id": c, "iscrowd": 0, "bbox": box, "segmentation": shape}
            for n, (p, c) in enumerate(pairs, 1)
        ],
        "categories": [
            {"id": n, "name": name, "level": level, "kind": kind}
            for n, (name, (level, kind)) in enumerate(concepts.items(), 1)
        ],
    }
    (data / "coco").mkdir()
    (data / "coco" / "concept_masks_test.json").write_text(json.dumps(content))


def write_reproduction(folder: Path, data: Path, systems=("Ours", "Refined"), concepts=CONCEPTS) -> None:
    """Records, a vocabulary and the examples.csv of some systems for seed 3."""
    for source, annotated in _records(data).items():
        records.write(
            lambda work, faults, annotated=annotated: Annotations.of(annotated),
            folder / "records" / source,
            inputs={},
            source="test",
        )
    names = list(CONCEPTS)
    Vocabulary(
        names,
        np.full(len(names), 5),
        np.ones(len(names), np.float32),
        [kind for _, kind in CONCEPTS.values()],
        [[] for _ in names],
        np.eye(len(names), dtype=np.float32),
        np.ones(len(names), np.float32),
        scipy.sparse.csr_matrix((len(names), len(names)), dtype=np.int32),
        {"documents": 9},
    ).save(folder / "vocabulary")
    for system in systems:
        write_examples(folder / "seed-3" / "scores" / system / "examples.csv", concepts)


def write_examples(file: Path, concepts=CONCEPTS) -> None:
    file.parent.mkdir(parents=True)
    with open(file, "w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(HEADER)
        for number in range(PHOTOS):
            there = number < PHOTOS - ABSENT
            for concept, (level, kind) in concepts.items():
                value = repr(iou(number, concept))
                measures = [0.5, 0.5, value, 0.5, 1.0, 0.25] if there else [""] * 6
                row = [f"{number}.png", concept, level, kind, int(there), *measures, 0.5, score(number), 1]
                writer.writerow(row)


def _records(data: Path) -> dict[str, list[Annotated]]:
    """Hair is the left half, sky the top half of two photos; the dress is alone in one."""
    coded = rle.encode(np.asfortranarray(LEFT.astype(np.uint8)))

    def photo(number, objects=(), tags=()):
        path = data / "images" / "train" / f"t{number}.png"
        return Annotated(path, f"t{number}", HEIGHT, WIDTH, tuple(objects), tags)

    hair, sky = Object("hair", (0, 0, 1, 0.5)), Object("sky", (0, 0, 0.5, 1))
    boxes = [photo(0, [hair, sky]), photo(1, [hair, Object("sky", (0, 0, 1, 1))])]
    return {
        "tags": [photo(n, tags=tuple(list(CONCEPTS)[: 2 * n + 1])) for n in range(3)],
        "boxes": [*boxes, photo(2, [Object("dress", (0, 0, 1, 1))])],
        "masks": [photo(2, [Object("dress", (0, 0, 1, 0.5), coded)])],
    }
