"""Written ONNX files, run by onnxruntime in a fresh process on the CPU, answer as the model does on photos.

Differences are told as shares of the standard deviation that the model's own output has over all photos and
words, so that a bound is always far below what the output spans: files that have lost their weights answer
with something constant, which is about one standard deviation off. An output that is constant already in
the model proves nothing, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib import cbook

from cmask_tf import geometry
from cmask_tf.errors import UserError
from cmask_tf.export import onnx_run
from cmask_tf.export.verify import PHOTO, ask_fresh_process, words_asked
from cmask_tf.imageio import read_image
from cmask_tf.segmenter import ConceptSegmenter

EXACT = 0.01  # of a standard deviation, the largest difference in float32
ROUNDED = 0.1  # of a standard deviation, the root of the mean square in float16
RESOLVED = 1e-5  # of the largest magnitude of what `resolve` looks up
Arrays = dict[str, np.ndarray]
_CONSTANT = 1e-4  # of the largest magnitude: a standard deviation below it is little more than rounding


@dataclass(frozen=True)
class Agreement:
    """The output that is farthest off.

    Attributes:
        output: "STEP/TENSOR".
        apart: its difference from the model's, as a share of the standard deviation of the model's: the
            largest one in float32, the root of the mean square in float16.
        allowed: the bound.
    """

    output: str
    apart: float
    allowed: float


def verify(directory: Path, segmenter: ConceptSegmenter, suffix: str = "") -> Agreement:
    """Compares all steps on photos: words spread over the vocabulary, and a vector outside it.

    Args:
        directory: where the files are.
        segmenter: of the model directory they were made from.
        suffix: of the files' names before ".onnx"; those with one are in half precision.

    Raises:
        UserError: a fresh process cannot use them, they answer something else, or the model itself answers
            something constant.
    """
    _, vectors = words_asked(segmenter.vocabulary)
    photos = _photos(Path(cbook.get_sample_data(PHOTO, asfileobj=False)))
    requests = {"photos": photos, "vectors": vectors}
    answers = ask_fresh_process(onnx_run.__file__, [directory, suffix], requests)
    _check_resolved(answers["resolve"], segmenter.model.resolve(vectors))
    expected = [_expected(segmenter, photo[np.newaxis], vectors) for batch in photos for photo in batch]
    found = [_flat(one) for one in answers["photos"]]
    return farthest(found, [_flat(one) for one in expected], ROUNDED if suffix else EXACT, bool(suffix))


def farthest(found: Sequence[Arrays], expected: Sequence[Arrays], allowed: float, rounded: bool) -> Agreement:
    """The output that is farthest off, over all photos.

    Args:
        found: of each photo, the answers by name.
        expected: the same of the model; what only it has is not compared.
        allowed: the bound.
        rounded: whether the root of the mean square counts, else the largest difference.

    Raises:
        UserError: it is beyond the bound, or not a number, or the model's output is constant.
    """
    worst = Agreement("", -1.0, allowed)
    for name in found[0]:
        theirs = np.concatenate([photo[name].ravel() for photo in found])
        ours = np.concatenate([photo[name].ravel() for photo in expected])
        spread = np.std(ours)
        if not spread > _CONSTANT * np.abs(ours).max():
            raise UserError(
                f"{name}: the model's own output is constant on photos (standard deviation {spread:.2g}): "
                "a comparison says nothing"
            )
        off = np.abs(theirs - ours)
        apart = float((np.sqrt(np.mean(off**2)) if rounded else off.max()) / spread)
        if not apart <= allowed:
            raise UserError(
                f"{name}: read again, the file differs from the model by {apart:.2g} standard deviations of "
                f"the output, allowed is {allowed}: nothing was written"
            )
        if apart > worst.apart:
            worst = Agreement(name, apart, allowed)
    return worst


def _photos(path: Path) -> list[np.ndarray]:
    """A photo, and two parts of it as a batch: uint8 [B, H, W, 3] of two sizes."""
    image = read_image(path)
    height, width = (side // 2 for side in image.shape[:2])
    corners = image[:height, :width], image[height : 2 * height, width : 2 * width]
    return [image[np.newaxis], np.stack(corners)]


def _expected(segmenter: ConceptSegmenter, photo: np.ndarray, vectors: np.ndarray) -> dict[str, Arrays]:
    """What the steps should answer for a photo uint8 [1, H, W, 3]."""
    model = segmenter.model
    features, rows = model.encode(photo), tf.zeros(len(vectors), tf.int32)
    masks, scores, _ = model.decode(features, model.resolve(vectors), rows)
    full = geometry.resize_maps(masks[..., tf.newaxis], *photo.shape[1:3])[..., 0]
    return {
        "encode": {name: value.numpy() for name, value in features.items()},
        "decode": {"mask": masks.numpy(), "score": scores.numpy()},
        "one_shot": {"mask": full.numpy(), "score": scores.numpy()},
    }


def _flat(steps: Mapping[str, Arrays]) -> Arrays:
    return {f"{step}/{name}": v for step, tensors in steps.items() for name, v in tensors.items()}


def _check_resolved(found: Arrays, expected: Mapping[str, tf.Tensor]) -> None:
    """What is looked up may be constant, and is equal but for the rounding of a unit vector."""
    for name, value in found.items():
        ours = expected[name].numpy()
        off = np.abs(value.astype(np.float64) - ours).max()
        if not off <= RESOLVED * max(1.0, np.abs(ours).max()):
            raise UserError(f"resolve/{name}: read again, the file differs from the model by {off:.2g}")
