"""Table 1's four attention maps as systems: what each stage alone says of where a concept is (5.2).

| kind | map | networks |
| --- | --- | --- |
| Original | coarse, Eqn. 1 | Stage 1 |
| Original-Finetuned | coarse, Eqn. 1 | Stage 2, whose training goes on with the embedding network |
| Refined-noNeg | refined | Stage 2 without the spatial discrimination loss |
| Refined | refined | Stage 2 |

Coarse maps are cosines, cut at 0. A map is the mean of both attention sizes, each upsampled bilinearly to the
photo's size, as the finished system's maps are scored. For concepts with boxes or masks "Refined" is what the
finished system gives Stage 3; the others get no neighbour here (4.4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from cmask_tf import geometry, model_directory
from cmask_tf.errors import UserError
from cmask_tf.evaluation.systems import Prediction
from cmask_tf.models.attention import coarse_maps
from cmask_tf.models.embedding import embed_map
from cmask_tf.training.attention_cache import RefinedMaps
from cmask_tf.training.validation import upsample

# Kind -> the folder of a seed that holds its networks.
FOLDERS = {
    "Original": "embedding",
    "Original-Finetuned": "refine",
    "Refined-noNeg": "refine-noNeg",
    "Refined": "refine",
}
_COARSE = ("Original", "Original-Finetuned")
_PARTS = ("backbone", "embedding")

# A photo float32 RGB [1, S, S, 3] and positions of K concepts -> maps float32 [K, h, w].
Attend = Callable[[tf.Tensor, list[int]], np.ndarray]


class AttentionSystem:
    """The attention maps of the trained concepts; neither masks nor scores."""

    def __init__(self, position: Callable[[str], int | None], sizes: Sequence[int], attend: Attend):
        """Args:
        position: name -> place among the trained concepts, None for any other.
        sizes: the attention sizes in px.
        attend: the networks; they see a photo once a size.
        """
        self._position, self._sizes, self._attend = position, sizes, attend

    def answers(self, name: str) -> bool:
        """Whether it is a trained concept, by any of its spellings."""
        return self._position(name) is not None

    def predict(self, path: Path, image: np.ndarray, names: Sequence[str]) -> Iterator[Prediction]:
        """The maps float32 [H, W] in [0, 1], one of the photo's size in memory at a time.

        Args:
            path: not looked at.
            image: uint8 RGB [H, W, 3].
            names: trained concepts.
        """
        if not names:
            return
        columns = [self._position(name) for name in names]
        scales = [self._attend(geometry.resize_image(image[np.newaxis], s), columns) for s in self._sizes]
        for name, *maps in zip(names, *scales, strict=True):
            full = [upsample(small, image.shape[:2]) for small in maps]
            yield Prediction(name, attention=np.mean(full, axis=0))


def attention_system(kind: str, seed_dir: Path) -> AttentionSystem:
    """Opens one of Table 1's systems.

    Args:
        kind: a key of `FOLDERS`.
        seed_dir: the folder of one seed of a reproduction: `embedding/`, `refine/`, `refine-noNeg/`.

    Raises:
        UserError: no such kind, or its stage is missing or unfinished.
    """
    if kind not in FOLDERS:
        raise UserError(f"{kind}: no such attention map; expected one of {', '.join(FOLDERS)}")
    stage = Path(seed_dir) / FOLDERS[kind]
    names = _PARTS if kind in _COARSE else (*_PARTS, "refinement")
    model_directory.check(stage, names)
    vocabulary, concepts = model_directory.load_vocabulary(stage), model_directory.load_concepts(stage)
    entries = [vocabulary.index(concept["name"]) for concept in concepts]
    position = {entry: place for place, entry in enumerate(entries)}
    attend = (_coarse if kind in _COARSE else _refined)(
        model_directory.load_parts(stage, names), vocabulary.vectors[entries]
    )
    sizes = model_directory.load_config(stage).attention.sizes
    return AttentionSystem(lambda name: position.get(vocabulary.find(name)), sizes, attend)


def _coarse(parts: dict, vectors: np.ndarray) -> Attend:
    """Eqn. 1 as a cosine, cut at 0."""

    @tf.function(reduce_retracing=True)
    def embed(image: tf.Tensor) -> tf.Tensor:
        return embed_map(parts["backbone"], parts["embedding"], image, training=False)[0]

    def attend(image: tf.Tensor, columns: list[int]) -> np.ndarray:
        cosines = coarse_maps(embed(image), vectors[columns]).numpy()[0]  # [h, w, K]
        return np.maximum(cosines.transpose(2, 0, 1), 0)

    return attend


def _refined(parts: dict, vectors: np.ndarray) -> Attend:
    """The refinement's maps after the sigmoid."""
    maps = RefinedMaps(parts, vectors)
    return lambda image, columns: maps.select(maps.hidden(image).numpy()[0], columns)
