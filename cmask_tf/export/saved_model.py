"""`cmask export`: a model directory becomes the next version of a served model, whole and tried, or nothing.

    BASE/N/saved_model.pb  variables/
    BASE/N/assets.extra/provenance.json  checksums.json  tf_serving_warmup_requests

A version is written beside its place under a name that is no number, so that no server looks at it, compared
with `ConceptSegmenter` in a fresh process, and then renamed.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from cmask_tf import model_directory
from cmask_tf.errors import UserError
from cmask_tf.export import extra, verify, warm_up
from cmask_tf.export.beside import empty_folder
from cmask_tf.export.graph import ServingGraph
from cmask_tf.export.halves import halved
from cmask_tf.export.signatures import SIGNATURES
from cmask_tf.models.combined import ConceptMaskModel
from cmask_tf.models.folding import folded
from cmask_tf.models.mixing import ConceptTable
from cmask_tf.segmenter import ConceptSegmenter


@dataclass(frozen=True)
class Exported:
    """What was published.

    Attributes:
        directory: BASE/N.
        weights_bytes: the numbers of the networks and tables on the disk.
        float32_bytes: the same if all of them were float32.
        agreement: with `ConceptSegmenter` on the model directory, of the published files.
    """

    directory: Path
    weights_bytes: int
    float32_bytes: int
    agreement: verify.Agreement


def export(model: str | Path, base: str | Path, float16: bool = False) -> Exported:
    """Publishes a model directory as the next version below BASE.

    Args:
        model: the model directory.
        base: what a server's `--model_base_path` names; made if it is not there.
        float16: weights are held in half precision and cast where they are used.

    Raises:
        UserError: a part of the model is missing, `base` cannot be written to, or the files, read again, do
            not answer as the model does; nothing is published then.
    """
    model, base = Path(model), Path(base)
    warm_up.check()
    segmenter = ConceptSegmenter.load(model)
    partial = empty_folder(base, base)
    try:
        with tqdm(total=4, desc="export", delay=2) as progress:
            served = in_halves(model) if float16 else segmenter.model
            write(ServingGraph(served, segmenter.vocabulary), segmenter.vocabulary.dim, partial)
            progress.update()
            agreement = verify.verify(partial, segmenter, float16)
            progress.update()
            warm_up.write(partial, segmenter.vocabulary)
            progress.update()
            extra.write(partial, model, float16)
            directory = publish(partial, base)
            progress.update()
    except (OSError, tf.errors.OpError) as error:  # a full disk is the one or the other
        raise UserError(f"{base}: nothing was published ({' '.join(str(error).split())})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(directory, *weights_bytes(directory), agreement)


def write(graph: ServingGraph, dim: int, directory: Path) -> None:
    """Writes the SavedModel, nothing beside it.

    Args:
        graph: the functions.
        dim: D, the length of a word vector.
        directory: where.
    """
    archive = keras.export.ExportArchive()
    for name, signature in SIGNATURES.items():
        specs = [
            tf.TensorSpec([_size(side, dim) for side in tensor.shape], tensor.dtype, name)
            for name, tensor in signature.inputs.items()
        ]
        archive.add_endpoint(name, getattr(graph, name), specs)
    archive.track(graph.names)
    archive.write_out(str(directory), verbose=False)


def weights_bytes(directory: Path) -> tuple[int, int]:
    """Bytes of the numbers in a SavedModel, and what those in half precision would make it in float32."""
    checkpoint = tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    dtypes = checkpoint.get_variable_to_dtype_map()
    held = grown = 0
    for name, shape in checkpoint.get_variable_to_shape_map().items():
        count, dtype = int(np.prod(shape)), dtypes[name]
        if dtype != tf.string:  # the archive's own notes
            held += count * dtype.size
            grown += count * (4 if dtype == tf.float16 else dtype.size)
    return held, grown


def publish(partial: Path, base: Path) -> Path:
    """Renames a finished version to the next number below BASE; another export may take one meanwhile."""
    while True:
        directory = base / str(next_version(base))
        try:
            os.rename(partial, directory)
            return directory
        except OSError:
            if not directory.exists():
                raise


def next_version(base: Path) -> int:
    """One more than the largest number below BASE; 1 for the first."""
    return 1 + max((int(d.name) for d in base.iterdir() if d.name.isdecimal()), default=0)


def in_halves(model: Path) -> ConceptMaskModel:
    """The model of a model directory with networks and tables in half precision."""
    parts = model_directory.load_parts(model)
    # Rounded after folding: a batch normalization's numbers may be too large or small for half precision.
    # Of the refinement network no weight is kept as it is: tables are made from it.
    parts = {name: part if name == "refinement" else halved(folded(part)) for name, part in parts.items()}
    table = ConceptTable.build(
        model_directory.load_vocabulary(model),
        model_directory.load_concepts(model),
        model_directory.load_json(model / "mixing.json"),
        model_directory.load_json(model / "thresholds.json"),
    )
    return ConceptMaskModel(model_directory.load_config(model), parts, table, tables="float16")


def _size(side: str | int, dim: int) -> int | None:
    return dim if side == "D" else side if isinstance(side, int) else None
