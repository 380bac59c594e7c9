"""Trains Mask R-CNN* by Model Garden's own loop."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
import tf_keras
from official.common import distribute_utils
from official.core import train_lib

from cmask_tf.data.records import RecordSet
from cmask_tf.detectors.classes import Classes
from cmask_tf.detectors.mask_rcnn import MaskRCNNStar, experiment
from cmask_tf.detectors.recipe import Recipe
from cmask_tf.errors import UserError


def train(records: Path, out: Path, recipe: Recipe, backbone: Path | None = None) -> None:
    """Trains on every GPU there is, or goes on from the last checkpoint in `out`.

    Args:
        records: what `cmask data prepare` wrote: its `boxes/` and `masks/`.
        out: the folder for checkpoints (one an epoch, the last two are kept), TensorBoard's files,
            classes.json and recipe.json.
        recipe: sizes and schedule.
        backbone: a checkpoint of Model Garden's ResNet to begin with, a prefix or the folder of one.

    Raises:
        UserError: no such records or checkpoint, or `out` holds the training of another recipe or records.
    """
    boxes, masks = (RecordSet.open(Path(records) / name) for name in ("boxes", "masks"))
    classes, photos = Classes.of(boxes, masks), boxes.examples + masks.examples
    if backbone is not None:
        backbone = _checkpoint(Path(backbone))
    gpus = len(tf.config.list_physical_devices("GPU"))
    if recipe.batch_size % max(gpus, 1):
        raise UserError(f"batch_size {recipe.batch_size}: expected a multiple of the {gpus} GPUs")
    _claim(Path(out), recipe, classes)
    tf_keras.utils.set_random_seed(recipe.seed)
    config = experiment(recipe, classes, boxes.files + masks.files, photos, backbone)
    strategy = distribute_utils.get_distribution_strategy("mirrored" if gpus > 1 else "one_device", gpus)
    with strategy.scope():
        task = MaskRCNNStar(config.task, classes)
    runner = train_lib.OrbitExperimentRunner(strategy, task, "train", config, str(out))
    with strategy.scope():  # its own run() would also make a graph of the network, to count operations
        runner.controller.train(steps=config.trainer.train_steps)


def _checkpoint(path: Path) -> str:
    found = tf.train.latest_checkpoint(path) if path.is_dir() else str(path)
    if found is None or not Path(f"{found}.index").is_file():
        raise UserError(f"{path}: expected a TensorFlow checkpoint, a folder or a prefix (ckpt-28080)")
    return found


def _claim(out: Path, recipe: Recipe, classes: Classes) -> None:
    """Makes the folder this training's own: checkpoints of another are never taken up."""
    if any((out / name).exists() for name in ("classes.json", "recipe.json")):
        if Recipe.load(out) != recipe or Classes.load(out) != classes:
            raise UserError(
                f"{out}: holds the training of another recipe or other records; "
                "remove it, or give another --out"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out}: holds other files; expected a new folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None
    classes.save(out)
    recipe.save(out)
