"""Stage 3's attention comes from networks that no longer change: computed once, not each epoch (4.3).

For every photo, at both scales, as it is and mirrored, the refined map of each of its concepts is stored
as float16 beside the photo (`data.attention_records`): about 2 kB a concept at the paper's sizes. The job
works shard by shard and goes on with the first shard that is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cmask_tf.data import attention_records, pipelines, schema
from cmask_tf.data.records import RecordSet
from cmask_tf.models.embedding import embed_map
from cmask_tf.models.refinement import columns, fold

_BATCH = 8


class RefinedMaps:
    """The refined maps of chosen concepts by the folded network: V maps are never formed."""

    def __init__(self, parts: dict, word_vectors: np.ndarray):
        """Args:
        parts: "backbone", "embedding", "refinement".
        word_vectors: float32 [V, D] of the trained concepts.
        """
        self._parts = parts
        self._matrix, self._bias = fold(parts["refinement"], word_vectors)
        weights, bias = columns(parts["refinement"], np.arange(len(word_vectors)))
        self._weights, self._column_bias = weights.numpy(), bias.numpy()

    @tf.function(reduce_retracing=True)
    def hidden(self, image: tf.Tensor) -> tf.Tensor:
        """The refinement's hidden maps of photos float32 [B, S, S, 3]: float32 [B, h, w, bottleneck]."""
        embedding, _ = embed_map(self._parts["backbone"], self._parts["embedding"], image, training=False)
        normalised = tf.nn.l2_normalize(embedding, -1)
        return tf.nn.relu(tf.tensordot(normalised, self._matrix, 1) + self._bias)

    def select(self, hidden: np.ndarray, concepts: list[int]) -> np.ndarray:
        """Sigmoid maps float32 [K, h, w] of one photo's hidden maps [h, w, bottleneck]."""
        logits = hidden @ self._weights[concepts].T + self._column_bias[concepts]
        return 1 / (1 + np.exp(-logits.transpose(2, 0, 1)))


def cache_attention(
    maps: RefinedMaps,
    sizes: tuple[int, int],
    records: RecordSet,
    spellings: dict[str, int],
    out: Path,
    boxed: bool = False,
) -> SimpleNamespace:
    """Writes attention records for all photos of `records`, or what is missing of them.

    Args:
        maps: the frozen networks.
        sizes: the two attention sizes in px.
        records: photos with masks.
        spellings: folded name -> trained index; other names get no attention.
        out: the folder to fill, one shard for each of `records`.
        boxed: of concepts with a box; otherwise of those with a mask.

    Returns:
        `.files`: what `pipelines.segmentation_batches` reads.
    """
    out.mkdir(parents=True, exist_ok=True)
    done = []
    with tqdm(total=records.examples, desc="attention", unit="photo") as progress:
        for source in records.files:
            target = out / Path(source).name
            if not target.exists():
                partial = target.with_name(target.name + ".partial")
                with tf.io.TFRecordWriter(str(partial)) as writer:
                    for example in _examples(maps, sizes, source, spellings, boxed):
                        writer.write(example)
                        progress.update()
                os.replace(partial, target)
            done.append(str(target))
    return SimpleNamespace(files=done)


def _examples(
    maps: RefinedMaps, sizes, source: str, spellings: dict[str, int], boxed: bool
) -> Iterator[bytes]:
    for batch in pipelines.photo_batches(SimpleNamespace(files=[source]), sizes, _BATCH):
        images = {size: batch[f"image_{size}"] for size in sizes}
        hidden = {
            size: [maps.hidden(x).numpy(), maps.hidden(x[:, :, ::-1]).numpy()] for size, x in images.items()
        }
        for row, serialized in enumerate(batch["serialized"].numpy()):
            names = annotated_names(serialized, spellings, boxed)
            ids = [spellings[name] for name in names]
            both = [np.stack([maps.select(flip[row], ids) for flip in hidden[size]]) for size in sizes]
            yield attention_records.encode(serialized, names, both)


def annotated_names(serialized: bytes, spellings: dict[str, int], boxed: bool) -> list[str]:
    """The known concepts of a record that have a mask (or a box) which is not a crowd's, each once."""
    record = schema.parse(serialized)
    rows = zip(record["names"].numpy(), record["masks"].numpy(), record["crowd"].numpy(), strict=True)
    names = (name.decode() for name, mask, crowd in rows if (mask or boxed) and not crowd)
    return [name for name in dict.fromkeys(names) if name in spellings]
