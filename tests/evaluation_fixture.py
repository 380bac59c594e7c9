"""A segmenter whose right answer is known, and photos with true masks in COCO's form."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

HEIGHT, WIDTH = 12, 16
TOP = np.arange(HEIGHT)[:, None] * np.ones((1, WIDTH)) < HEIGHT // 2
LEFT = np.ones((HEIGHT, 1)) * np.arange(WIDTH) < WIDTH // 2
NAMES = ("dress", "hair", "cape")


class FakeVocabulary:
    """Three words; "gown" is another spelling of the first."""

    names = list(NAMES)
    kinds = ["object", "part", "object"]
    counts = np.array([90, 50, 10])

    def spellings(self):
        return {name: i for i, name in enumerate(self.names)} | {"gown": self.names.index("dress")}

    def find(self, name):
        return self.spellings().get(name)

    def index(self, name):
        return self.find(name)


@dataclass
class FakeSegmenter:
    """Answers with given masks and scores, told apart by the photo's first pixel (its number).

    `masks` and `maps`: name -> bool [HEIGHT, WIDTH] or float maps; `scores`: (photo, name) -> score.
    """

    masks: dict[str, np.ndarray]
    scores: dict[tuple[int, str], float]
    maps: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
    vocabulary: FakeVocabulary = field(default_factory=FakeVocabulary)
    concepts: tuple = ({"name": "dress", "level": "mask"}, {"name": "hair", "level": "box", "kind": "part"})
    encoded: list[int] = field(default_factory=list)

    def encode(self, image):
        self.encoded.append(round(int(image[0, 0, 0]) / 10))
        return self.encoded[-1], image.shape[:2]

    def iterate(self, names, features):
        number, shape = features
        for name in names:
            score = self.scores.get((number, name), 0.0)
            mask = self.masks[name].T if shape == (WIDTH, HEIGHT) else self.masks[name]
            yield name, mask.astype(np.float32), score, score >= 0.5

    def attention(self, names, features):
        maps = self.maps or {name: (mask.astype(np.float32),) * 2 for name, mask in self.masks.items()}
        return [np.stack([maps[name][scale] for name in names]) for scale in (0, 1)]


def write_photos(folder: Path, truths: list[dict[str, np.ndarray]], categories: dict[str, dict]) -> Path:
    """PNG photos 0.png, 1.png, ... and masks.json, a COCO file with their true masks: its path."""
    ids = {name: number for number, name in enumerate(categories, 1)}
    annotations = []
    for number, masks in enumerate(truths):
        pixels = np.full((HEIGHT, WIDTH, 3), 10 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        for name, mask in masks.items():
            code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
            shape = {"size": list(mask.shape), "counts": code["counts"].decode()}
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ids[name],
                    "iscrowd": 0,
                    "bbox": rle.toBbox(code).tolist(),
                    "segmentation": shape,
                }
            )
    content = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "height": HEIGHT, "width": WIDTH} for n in range(len(truths))
        ],
        "annotations": annotations,
        "categories": [{"id": ids[name], "name": name, **entry} for name, entry in categories.items()],
    }
    (folder / "masks.json").write_text(json.dumps(content))
    return folder / "masks.json"
