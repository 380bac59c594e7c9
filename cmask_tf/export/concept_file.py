"""`concepts.npz`: what `decode` must know of each word, as plain NumPy arrays for a phone; and sample photos.

    names      str [V']             the vocabulary
    vectors    float16 or int8 [V', D], with scale float32 [V', 1]: the vector is vectors * scale
    column, neighbour, path int32, theta, threshold float32 [V']
    weights    float16 [V, bottleneck], bias float32 [V]: of q at `column`, of p at `neighbour`
    sought     float16 [V', H], what the score compares with; left out where it is the vector

-1 in `column` and `neighbour` is no concept: any row will do, it is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cmask_tf import geometry
from cmask_tf.data.pipelines import photo_batches
from cmask_tf.data.records import INDEX, RecordSet
from cmask_tf.errors import UserError
from cmask_tf.imageio import read_image
from cmask_tf.segmenter import ConceptSegmenter

_SUFFIXES = (".jpg", ".jpeg", ".png")
SAMPLES = 100  # photos that ranges are measured on, at most
_ROWS = 1024  # of a table of cosines that are in memory at a time


def write(path: Path, segmenter: ConceptSegmenter, int8: bool) -> float:
    """Writes the file.

    Args:
        path: where.
        segmenter: the system.
        int8: vectors are held in 8 bits, each with a scale of its own; else in half precision.

    Returns:
        The share of the words whose nearest other word is another one by the vectors as they are held.
    """
    model = segmenter.model
    entries = np.arange(len(segmenter.vocabulary), dtype=np.int32)
    found = {name: value.numpy() for name, value in model.resolve_entries(entries).items()}
    vectors = found["vector"]
    scale = np.ones((len(vectors), 1), np.float32)
    if int8:
        scale = np.maximum(np.abs(vectors).max(1, keepdims=True), 1e-12) / 127
        held = np.round(vectors / scale).astype(np.int8)
    else:
        held = vectors.astype(np.float16)
    arrays = {
        "names": np.array(segmenter.vocabulary.names),
        "vectors": held,
        "scale": scale,
        "column": model.column.numpy(),
        "neighbour": model.neighbour.numpy(),
        **{name: found[name] for name in ("path", "theta", "threshold")},
        "weights": model.column_weights.numpy().astype(np.float16),
        "bias": model.column_bias.numpy(),
    }
    if model.own is not None:
        arrays["sought"] = found["sought"].astype(np.float16)
    np.savez_compressed(path, **arrays)
    return float(np.mean(_nearest(vectors) != _nearest(held * scale)))


def _nearest(vectors: np.ndarray) -> np.ndarray:
    """The nearest other row of each row, by cosine: int [V']."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    best = []
    for start in range(0, len(unit), _ROWS):
        cosines = unit[start : start + _ROWS] @ unit.T
        np.fill_diagonal(cosines[:, start:], -np.inf)
        best.append(cosines.argmax(1))
    return np.concatenate(best)


def photo_squares(source: Path, sizes: Sequence[int]) -> Callable[[], Iterator[dict[str, np.ndarray]]]:
    """Up to `SAMPLES` photos as `encode` is given them, to be gone through again and again.

    Args:
        source: a record set, or a folder of JPEG and PNG files.
        sizes: sides of the squares.

    Raises:
        UserError: it is neither, or holds no photo.
    """
    if (source / INDEX).is_file():
        batches = photo_batches(RecordSet.open(source), sizes, 1)
        return lambda: (
            {name: value.numpy() for name, value in batch.items() if name != "serialized"}
            for batch in batches.take(SAMPLES)
        )
    files = sorted(f for f in source.glob("*") if f.suffix.lower() in _SUFFIXES) if source.is_dir() else []
    if not files:
        raise UserError(f"{source}: expected a record set or a folder with JPEG or PNG photos")
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, SAMPLES).round().astype(int))]

    def squares() -> Iterator[dict[str, np.ndarray]]:
        for file in chosen:
            image = read_image(file)[np.newaxis]
            yield {f"image_{size}": geometry.resize_image(image, size).numpy() for size in sizes}

    return squares
