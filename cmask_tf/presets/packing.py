"""A finished model directory becomes a preset: half the size, the same masks, every file with a checksum.

Kernels and matrices are rounded to float16, whose 11 bits are finer than what training leaves to chance.
Vectors (biases, and the statistics of batch normalizations, whose small variances float16 would take for 0)
are a hundredth of the numbers and stay float32, as does the vocabulary.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np

from cmask_tf import model_directory, presets
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import FILES as VOCABULARY_FILES

LARGEST = float(np.finfo(np.float16).max)


def pack(model: str | Path, target: str | Path) -> int:
    """Writes a preset: whole, or not at all.

    Args:
        model: a finished model directory.
        target: where; a model directory that is already there is replaced.

    Returns:
        The size of the preset in bytes.

    Raises:
        UserError: the model is not complete, something else lies at `target`, or a weight is outside float16.
    """
    model, target = model_directory.locate(model), Path(target).resolve()
    model_directory.check(model)
    model_directory.check_place(target)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "vocabulary").mkdir(parents=True)
        texts = ("config", "concepts", "mixing", "thresholds", "provenance")
        for name in (
            *(f"{text}.json" for text in texts),
            *(f"vocabulary/{name}" for name in VOCABULARY_FILES),
        ):
            shutil.copyfile(model / name, partial / name)
        for part in model_directory.parts_of(model_directory.load_config(model)):
            _round(model / f"{part}.weights.h5", partial / f"{part}.weights.h5")
        presets.write_sums(partial)
        model_directory.check(partial)
        size = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
        model_directory.swap(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return size


def _round(source: Path, target: Path) -> None:
    """Copies a file of Keras weights, all tensors of two and more axes in float16."""
    # The newest layout: the 500 groups of a backbone take 60 kB instead of 600, and are read in less time.
    with h5py.File(source) as old, h5py.File(target, "w", libver="latest") as new:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                made = new.create_dataset(name, data=_half(item, f"{source}: {name}"))
            else:
                made = new.require_group(name)
            made.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)


def _half(tensor: h5py.Dataset, where: str) -> np.ndarray:
    values = tensor[()]
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) > LARGEST:
        raise UserError(f"{where}: a weight outside float16 (-{LARGEST:.0f} to {LARGEST:.0f})")
    return values.astype(np.float16) if values.ndim > 1 else values
