"""A Stage 2 of the smallest sizes: photos with boxes and tags, random networks of Stage 1, a run."""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np
import scipy.sparse
import tensorflow as tf
from segmenter_fixture import photo, smallest_config

from cmask_tf import model_directory
from cmask_tf.data import schema
from cmask_tf.data.records import INDEX, Summary
from cmask_tf.data.sources import Annotated, Object
from cmask_tf.models.embedding import embed_map
from cmask_tf.training.run import Run
from cmask_tf.training.strategy import make_strategy
from cmask_tf.vocabulary.artefact import Vocabulary

V, D, BOXED, PHOTOS = 40, 6, 10, 7
NAMES = [f"c{i}" for i in range(V)]
CONCEPTS = [{"name": n, "level": "box" if i < BOXED else "image"} for i, n in enumerate(NAMES)]


def records(folder: Path, shards: int = 2) -> None:
    """Box records: of seven photos the third has no object, the last only a crowd, the fifth no known tag."""
    rng = np.random.default_rng(2)
    folder.mkdir(parents=True)
    names = [f"records-{shard}.tfrecord" for shard in range(shards)]
    serialized = []
    for number in range(PHOTOS):
        corners = np.sort(rng.uniform(size=(5, 2, 2)), axis=1)
        objects = [
            Object(NAMES[c], tuple(corners[i].ravel().tolist()), crowd=i == 4)
            for i, c in enumerate(rng.integers(0, BOXED, 5))
        ]
        if number in (2, 6):
            objects = objects[4:] if number == 6 else []
        tags = ["nothing"] if number == 4 else [NAMES[c] for c in rng.permutation(V)[: 4 + 3 * number]]
        image = tf.io.encode_png(photo(60, 45, seed=number)).numpy()
        annotated = Annotated(folder, str(number), 60, 45, tuple(objects), tuple(tags))
        serialized.append(schema.encode(annotated, image))
    for shard, name in enumerate(names):
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for one in serialized[shard::shards]:
                writer.write(one)
    counts = dict.fromkeys(NAMES[:BOXED], 1)
    summary = Summary("test", PHOTOS, "box", counts, dict.fromkeys(NAMES, 1), names)
    (folder / INDEX).write_text(json.dumps(dataclasses.asdict(summary)))


def vocabulary() -> Vocabulary:
    vectors = np.random.default_rng(1).normal(size=(V, D)).astype(np.float32)
    return Vocabulary(
        NAMES,
        np.full(V, 5),
        np.ones(V, np.float32),
        ["unknown"] * V,
        [[] for _ in NAMES],
        vectors,
        np.ones(D, np.float32),
        scipy.sparse.csr_matrix((V, V), dtype=np.int32),
        {"documents": 100},
    )


def prepare(folder: Path) -> None:
    """Writes the box records and the validation's, and what Stage 1 left."""
    for name in ("boxes", "val"):
        records(folder / "records" / name)
    config = smallest_config()
    keras.utils.set_random_seed(0)
    parts = model_directory.build_parts(config, dim=D, trained=V, names=("backbone", "embedding"))
    # Statistics as if trained: otherwise all places of a random network have nearly the same embedding.
    photos = np.stack([photo(60, 60, seed=n) for n in range(PHOTOS)]).astype(np.float32)
    for part in parts.values():
        for layer in part.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
    embed_map(parts["backbone"], parts["embedding"], photos, training=True)
    model_directory.save(folder / "embedding", config, vocabulary(), CONCEPTS, parts)


def run(folder: Path, **refine) -> Run:
    """A run of Stage 2 on what `prepare` wrote, with other fields of `config.refine`."""
    plan = dataclasses.replace(smallest_config().refine, batch=PHOTOS, min_cooccurrence=1, **refine)
    return Run(
        config=dataclasses.replace(smallest_config(), refine=plan),
        records=folder / "records",
        start=folder / "embedding",
        out=folder / "refine",
        strategy=make_strategy(["CPU:0"]),
        vocabulary=vocabulary(),
        concepts=CONCEPTS,
        inputs={"embedding/backbone.weights.h5": "sha256:1"},
        deterministic=True,
        checkpoint_every=100,
        origins=[],
    )
