"""Stage 2's teacher never changes: what it says of each photo is computed once, not each step (4.2, Eqn. 2).

For every photo, as it is and mirrored, the concepts that may enter Psi_N and their binary maps are stored in
files beside the box records (`data.teacher_records`): 24 kB a photo at the paper's sizes (N = 800 maps of
10 x 10). The job works shard by shard and goes on with the first shard that is missing; several hosts begin
at different shards.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cmask_tf.data import pipelines, schema, teacher_records
from cmask_tf.data.order import Share
from cmask_tf.data.records import RecordSet
from cmask_tf.errors import UserError
from cmask_tf.models.embedding import embed_map

CLAIM = "teacher.json"
_BATCH = 8
_BLOCK = 2048  # concepts whose maps are held at a time


class Teacher:
    """The frozen network of Stage 1: coarse maps (Eqn. 1) block by block, never all V at once."""

    def __init__(self, parts: Mapping, words: tf.Tensor, threshold: float):
        """Args:
        parts: "backbone", "embedding".
        words: float32 [V, D] of the trained concepts, L2-normalised.
        threshold: of B in Eqn. 2.
        """
        self._parts, self._words, self._threshold = parts, tf.convert_to_tensor(words), threshold

    def maps(self, image: tf.Tensor, concepts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Of photos float32 RGB [B, S, S, 3], 0 to 255, the maps of some concepts, by default of all.

        Returns:
            float32 [B, C], each map's maximum, and bool [B, h, w, C], where it is above the threshold.
        """
        unit = self._embed(image)
        words = self._words if concepts is None else tf.gather(self._words, concepts)
        starts = range(0, max(words.shape[0], 1), _BLOCK)
        maxima, above = zip(*(self._block(unit, words[i : i + _BLOCK]) for i in starts), strict=True)
        return np.concatenate(maxima, axis=-1), np.concatenate(above, axis=-1)

    @tf.function(reduce_retracing=True)
    def _embed(self, image: tf.Tensor) -> tf.Tensor:
        embedding, _ = embed_map(self._parts["backbone"], self._parts["embedding"], image, training=False)
        return tf.nn.l2_normalize(embedding, -1)

    @tf.function(reduce_retracing=True)
    def _block(self, unit: tf.Tensor, words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        maps = tf.tensordot(unit, words, ((3,), (1,)))
        return tf.reduce_max(maps, axis=(1, 2)), maps > self._threshold


class Choice:
    """Which concepts of a photo are stored: enough that N are left when the annotated ones are taken out."""

    def __init__(self, maps: int, spellings: Mapping[str, int], tagged: Sequence[int] | None = None):
        """Args:
        maps: N of Eqn. 2.
        spellings: folded name -> trained index.
        tagged: the concepts that may enter where they are among a photo's tags; by default all may anywhere.
        """
        self._maps, self._spellings = maps, spellings
        self._tagged = None if tagged is None else frozenset(tagged)

    def allowed(self, record: Mapping[str, tf.Tensor]) -> np.ndarray | None:
        """Sorted ids of the concepts that may enter for a parsed record; None for all."""
        if self._tagged is None:
            return None
        return np.array(sorted(self._ids(record["tags"].numpy()) & self._tagged), np.int64)

    def count(self, record: Mapping[str, tf.Tensor]) -> int:
        """How many maps of a parsed record are stored, if there are so many."""
        return self._maps + len(self._ids(record["names"].numpy()[~record["crowd"].numpy()]))

    def _ids(self, names: np.ndarray) -> set[int]:
        known = (self._spellings.get(name.decode(), -1) for name in names)
        return {i for i in known if i >= 0}


def cache_teacher(
    load: Callable[[], Teacher],
    choice: Choice,
    size: int,
    records: RecordSet,
    out: Path,
    *,
    made_from: dict,
    share: Share,
) -> SimpleNamespace:
    """Writes teacher records for all photos of `records`, or what is missing of them.

    Args:
        load: gives the teacher; called only if there is anything to compute.
        choice: the concepts to store.
        size: side of the square photo in px.
        records: photos with boxes.
        out: the folder to fill, one file for each of `records`.
        made_from: what the result depends on, JSON values; `out` remembers it.
        share: of this host.

    Returns:
        `.files`: what `pipelines.Teacher` reads.

    Raises:
        UserError: `out` holds targets of other weights, settings or records.
    """
    _claim(out, {**made_from, "files": {Path(f).name: Path(f).stat().st_size for f in records.files}}, share)
    targets = {source: out / Path(source).name for source in records.files}
    start = share.first * len(targets) // share.replicas
    in_turn = [*records.files[start:], *records.files[:start]]
    missing = [source for source in in_turn if not targets[source].exists()]
    teacher = load() if missing else None
    with tqdm(total=records.examples, desc="teacher", unit="photo", disable=not missing) as progress:
        for source in missing:
            if targets[source].exists():  # another host has made it by now
                continue
            with _published(targets[source], share) as partial, tf.io.TFRecordWriter(str(partial)) as writer:
                for example in _examples(teacher, choice, size, source):
                    writer.write(example)
                    progress.update()
    return SimpleNamespace(files=[str(target) for target in targets.values()])


def fingerprint(concepts: Sequence[Mapping[str, str]], vectors: np.ndarray) -> str:
    """Of the trained concepts, their levels and their word vectors, for `made_from`."""
    digest = hashlib.sha256(json.dumps(concepts).encode())
    digest.update(np.ascontiguousarray(vectors).tobytes())
    return "sha256:" + digest.hexdigest()


def _claim(out: Path, made_from: dict, share: Share) -> None:
    """Makes the folder these targets' own: those of another teacher are never taken up."""
    file, text = out / CLAIM, json.dumps(made_from, indent=1) + "\n"
    if file.exists():
        if file.read_text(encoding="utf-8") != text:
            raise UserError(f"{file}: targets of another teacher, setting or record set; remove {out}")
        return
    out.mkdir(parents=True, exist_ok=True)
    with _published(file, share) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def _published(target: Path, share: Share) -> Iterator[Path]:
    """A file that takes the target's place when the block ends well; several hosts may write one at once."""
    partial = target.with_name(f"{target.name}.{share.first}.partial")
    yield partial
    os.replace(partial, target)


def _examples(teacher: Teacher, choice: Choice, size: int, source: str) -> Iterator[bytes]:
    for batch in pipelines.photo_batches(SimpleNamespace(files=[source]), (size,), _BATCH):
        image = batch[f"image_{size}"]
        parsed = [schema.parse(one) for one in batch["serialized"]]
        allowed = [choice.allowed(record) for record in parsed]
        concepts = None if allowed[0] is None else np.unique(np.concatenate(allowed))
        both = tf.concat([image, image[:, :, ::-1]], axis=0)
        maxima, above = teacher.maps(both, concepts)
        for row, record in enumerate(parsed):
            flips = (row, row + len(parsed))
            columns = slice(None) if concepts is None else np.searchsorted(concepts, allowed[row])
            yield _encode(maxima[flips, ...], above[flips, ...], columns, allowed[row], choice.count(record))


def _encode(maxima, above, columns, ids, count: int) -> bytes:
    """The record of one photo from maxima [2, C] and maps [2, h, w, C] of photo and mirrored photo."""
    # Stable, so that of equal maxima the lower id comes first, as in top_k.
    orders = [np.argsort(-flip[columns], kind="stable")[:count] for flip in maxima]
    maps = [flip[..., columns][..., order] for flip, order in zip(above, orders, strict=True)]
    return teacher_records.encode([o if ids is None else ids[o] for o in orders], maps)
