"""How Mask R-CNN* is built and trained: what 5.3 leaves open, in one place."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from cmask_tf.data.claim import write_json
from cmask_tf.data.sources import read_json
from cmask_tf.errors import UserError

FILE = "recipe.json"


@dataclass(frozen=True)
class Recipe:
    """Model Garden's Mask R-CNN with ResNet-FPN: its schedule, scaled to the batch and the records.

    Attributes:
        image_size: px of the square that a photo is scaled into, its aspect kept; a multiple of 2^max_level.
        resnet: layers of the backbone: 10, 18, 50, 101, ...
        width: of all layers, a multiple of the usual one (256 channels in the pyramid and the heads).
        max_level: of the feature pyramid, which begins at level 2 (stride 4).
        proposals: regions a photo that the second stage looks at.
        rois: regions a photo that it learns from; a quarter of them have an object.
        most_objects: a photo's further objects are left out in training.
        detections: instances a photo, at most.
        batch_size: photos a step, of all GPUs together.
        epochs: over both record sets; the rate falls to a tenth after 2/3 and again after 8/9 of them.
        rate: the learning rate at batch 64; it grows with the batch.
        weight_decay: of all kernels (L2).
        seed: of the weights and the order of the records.
    """

    image_size: int = 512
    resnet: int = 50
    width: float = 1.0
    max_level: int = 6
    proposals: int = 1000
    rois: int = 512
    most_objects: int = 100
    detections: int = 100
    batch_size: int = 16
    epochs: int = 12
    rate: float = 0.12
    weight_decay: float = 4e-5
    seed: int = 0

    def __post_init__(self):
        if self.image_size < 1 or self.image_size % 2**self.max_level:
            raise UserError(f"image_size {self.image_size}: expected a multiple of {2**self.max_level}")
        if self.batch_size < 1 or self.epochs < 1:
            raise UserError(f"batch_size {self.batch_size}, epochs {self.epochs}: expected 1 or more")

    @classmethod
    def load(cls, directory: Path) -> Recipe:
        """From a trained detector's folder.

        Raises:
            UserError: it holds no such file.
        """
        path = Path(directory) / FILE
        try:
            return cls(**read_json(path, dict, "a detector's recipe"))
        except TypeError as error:
            raise UserError(f"{path}: not a detector's recipe ({error})") from None

    def save(self, directory: Path) -> None:
        """Writes recipe.json."""
        write_json(Path(directory) / FILE, dataclasses.asdict(self), indent=1)

    def steps(self, photos: int) -> int:
        """Steps of the whole training."""
        return ceil(self.epochs * photos / self.batch_size)


def paper() -> Recipe:
    """ResNet-50-FPN at 512 px. The paper says of size, backbone and schedule nothing."""
    return Recipe()


def tiny() -> Recipe:
    """A detector that a CPU can build and take a step of; it is not meant to find anything."""
    small = {"proposals": 50, "rois": 32, "most_objects": 20, "detections": 20}
    return Recipe(image_size=64, resnet=10, width=0.125, max_level=5, batch_size=4, epochs=1, **small)
