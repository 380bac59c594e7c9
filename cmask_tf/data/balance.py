"""Class-balanced sampling by image: repeat factors as in LVIS (Gupta et al. 2019, section 5.3).

f(c) is the share of the photos that have concept c, r(c) = max(1, sqrt(t / f(c))), and a photo's factor is
the largest r of its concepts: a photo of a rare concept comes several times an epoch, every photo at least
once. Concepts on a share t of the photos or more are left alone.

A factor is rarely whole. Each epoch rounds by systematic sampling: a photo of factor 2.3 comes twice or three
times, three times in 3 of 10 epochs, and all epochs have the same length.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from cmask_tf.data import schema

_BATCH = 256  # records parsed at a time


@dataclass(frozen=True)
class Balanced:
    """Records of which some come more than once an epoch.

    Attributes:
        files: TFRecord files.
        starts: the number of records before each file.
        factors: float64 [N], 1 or more, of each record in the order of the files.
    """

    files: Sequence[str]
    starts: Sequence[int]
    factors: np.ndarray

    @property
    def examples(self) -> int:
        """The length of every epoch."""
        whole = np.floor(self.factors)
        return int(whole.sum()) + int((self.factors - whole).sum())

    def copies(self, random: np.random.Generator) -> np.ndarray:
        """int64 [N]: how often each record comes in an epoch; `examples` in all, each at least once."""
        whole = np.floor(self.factors)
        places = random.permutation(len(whole))
        rest = np.cumsum((self.factors - whole)[places])
        extra = self.examples - int(whole.sum())
        if rest[-1] > 0:
            rest *= extra / rest[-1]
        rest[-1] = extra
        reached = np.floor(np.concatenate([[0.0], rest]) + random.random())
        copies = whole.astype(np.int64)
        copies[places] += np.diff(reached).astype(np.int64)
        return copies


def balanced(files: Sequence[str], concepts: Mapping[str, int], threshold: float, cache: Path) -> Balanced:
    """Records with the repeat factors of their objects' concepts; crowds and other names do not count.

    Args:
        files: TFRecord files.
        concepts: the concept of each folded name.
        threshold: t, a share of the photos.
        cache: an .npz file to keep what the pass over the records found; read if it is there.
    """
    if not cache.exists():
        _scan(files, concepts, cache)
    with np.load(cache) as found:
        photos, ids, counts = found["photos"], found["ids"], found["counts"]
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Balanced(files, starts[:-1].tolist(), repeat_factors(photos, ids, int(starts[-1]), threshold))


def repeat_factors(photos: np.ndarray, ids: np.ndarray, total: int, threshold: float) -> np.ndarray:
    """The factor of each photo, float64 [total].

    Args:
        photos: int [P], the photo of each pair of a photo and one of its concepts; each pair once.
        ids: int [P], the concept of each pair.
        total: number of photos.
        threshold: t.
    """
    share = np.maximum(np.bincount(ids), 1) / total
    of_concept = np.maximum(1.0, np.sqrt(threshold / share))
    factors = np.ones(total)
    np.maximum.at(factors, photos, of_concept[ids])
    return factors


def _scan(files: Sequence[str], concepts: Mapping[str, int], cache: Path) -> None:
    """Writes {"photos" and "ids" int32 [P], "counts" int64 [files]}; parses names only."""
    from tqdm import tqdm

    pairs, counts, place = [np.zeros([0, 2], np.int32)], [], 0
    spec = {schema.NAMES: tf.io.RaggedFeature(tf.string), schema.CROWD: tf.io.RaggedFeature(tf.int64)}
    for file in tqdm(files, "counting concepts", unit="file", delay=2):
        first = place
        for batch in tf.data.TFRecordDataset(file).batch(_BATCH):
            found = tf.io.parse_example(batch, spec)
            names, crowds = found[schema.NAMES], found[schema.CROWD].to_list()
            for of_photo, crowd in zip(names.to_list(), crowds, strict=True):
                crowd = crowd or [0] * len(of_photo)
                known = {concepts.get(n.decode(), -1) for n, c in zip(of_photo, crowd, strict=True) if not c}
                pairs.append(np.array([(place, i) for i in sorted(known - {-1})], np.int32).reshape(-1, 2))
                place += 1
        counts.append(place - first)
    pairs = np.concatenate(pairs)
    cache.parent.mkdir(parents=True, exist_ok=True)
    # Several hosts may write it at once.
    with tempfile.NamedTemporaryFile(dir=cache.parent, suffix=".partial", delete=False) as file:
        np.savez(file, photos=pairs[:, 0], ids=pairs[:, 1], counts=np.array(counts, np.int64))
    os.replace(file.name, cache)
