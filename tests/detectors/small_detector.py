"""Builds, trains and asks the tiny Mask R-CNN* once, in a process of its own, and prints what it saw as JSON.

python small_detector.py FOLDER    # with records/, images/ and photos.json, as test_mask_rcnn.py makes them
"""

import dataclasses
import json
import sys
from pathlib import Path

import model_garden_tasks  # noqa: F401  # before anything of Model Garden
import numpy as np
import tensorflow as tf
import tf_keras

from cmask_tf.detectors.command import main
from cmask_tf.detectors.mask_rcnn import MaskRCNNStar, experiment
from cmask_tf.detectors.predict import Detector
from cmask_tf.detectors.recipe import tiny
from cmask_tf.detectors.train import train
from cmask_tf.errors import UserError

RECIPE = dataclasses.replace(tiny(), epochs=2, batch_size=4)  # of 8 photos: 4 steps, a checkpoint after 2


def mask_losses(task):
    """The mask loss of five regions, and of each alone that may count, by hand-made targets."""
    logits = np.random.default_rng(0).normal(size=(1, 5, 4, 4)).astype(np.float32)
    targets = np.zeros((1, 5, 4, 4), np.float32)
    targets[0, [0, 2, 3, 4], :2] = 1
    classes = np.array([[1, 1, 2, 0, 1]])  # disc, disc without a mask, square, background, disc
    outputs = {"mask_outputs": logits, "mask_targets": targets, "mask_class_targets": classes}
    loss = task._build_mask_loss({key: tf.constant(value) for key, value in outputs.items()})
    return {"loss": float(loss), "logits": logits.tolist(), "targets": targets.tolist()}


def losses(task, model, batch):
    """name -> the losses of one batch before each of some steps on it."""
    optimizer, seen = tf_keras.optimizers.Adam(3e-3), []
    for _ in range(6):
        metrics = task.build_metrics(training=True)
        task.train_step(batch, model, optimizer, metrics)
        seen.append({metric.name: float(metric.result()) for metric in metrics})
    return {name: [one[name] for one in seen] for name in seen[0]}


def begun_with(config, classes, model, folder):
    """Whether a backbone's checkpoint gives its weights back, and what is said of another's."""
    right = tf.train.Checkpoint(backbone=model.backbone).save(str(folder / "resnet"))
    wrong = tf.train.Checkpoint(other=tf.Variable(1.0)).save(str(folder / "other"))
    kernel = model.backbone.trainable_variables[0]
    before = kernel.numpy()
    kernel.assign(tf.zeros_like(kernel))
    MaskRCNNStar(config.task.replace(init_checkpoint=right), classes).initialize(model)
    try:
        MaskRCNNStar(config.task.replace(init_checkpoint=wrong), classes).initialize(model)
    except UserError as error:
        return bool(before.any() and (kernel.numpy() == before).all()), str(error)


def looked_at(task, batch, model, folder):
    """What can be seen of a detector that is about to take its first step; it is left as it was."""
    config = experiment(RECIPE, task._classes, [], 8)
    weights = [variable.numpy() for variable in model.variables]
    seen = {
        "mask_channels": [v.shape[-1] for v in model.trainable_variables if "mask-logits/kernel" in v.name],
        "drawn": tf.reduce_max(batch[1]["gt_masks"], (2, 3)).numpy().tolist(),
        "gt_classes": batch[1]["gt_classes"].numpy().tolist(),
        "begun_with": begun_with(config, task._classes, model, folder),
        "mask_losses": mask_losses(task),
        "losses": losses(task, model, batch),
    }
    for variable, value in zip(model.variables, weights, strict=True):
        variable.assign(value)
    return seen


def interrupted_training(records, out):
    """What was seen, with the steps of a training that is interrupted in its third, and of the next one."""
    taken, seen, step = [], {}, MaskRCNNStar.train_step

    def counted(self, batch, model, *args, **keys):
        taken.append(1)
        if len(taken) == 1:
            MaskRCNNStar.train_step = step  # which `losses` calls
            seen.update(looked_at(self, batch, model, out.parent))
            MaskRCNNStar.train_step = counted
        if len(taken) == 3:
            raise KeyboardInterrupt
        return step(self, batch, model, *args, **keys)

    MaskRCNNStar.train_step = counted
    try:
        train(records, out, RECIPE)
    except KeyboardInterrupt:
        first = len(taken) - 1
    train(records, out, RECIPE)
    return seen | {"steps": [first, len(taken) - 1 - first]}


def predicted(arguments):
    """Exit code of the command, and the detector that it used."""
    made, begin = [], Detector.__init__

    def kept(self, directory):
        begin(self, directory)
        made.append(self)

    Detector.__init__ = kept
    return main(arguments), made[0]


def placed(detector):
    """What is written of one known instance: the left half of a photo of 16 x 32 px, scaled to 64 px."""
    found = {
        "num_detections": tf.constant([1]),
        "detection_boxes": tf.constant([[[0.0, 0.0, 32.0, 32.0], [0.0, 0.0, 64.0, 64.0]]]),
        "detection_masks": tf.ones([1, 2, 28, 28]),
        "detection_scores": tf.constant([[0.75, 0.5]]),
        "detection_classes": tf.constant([[2, 1]]),
    }
    detector._model = lambda *args, **keys: found
    return detector.detect(np.zeros((16, 32, 3), np.uint8))


def wrong_out(records, out):
    try:
        train(records, out, dataclasses.replace(RECIPE, epochs=3))
    except UserError as error:
        return str(error)


def run(folder):
    tf.config.run_functions_eagerly(True)  # a graph of it takes longer to make than all steps here
    records, out, results = folder / "records", folder / "out", folder / "results.json"
    seen = interrupted_training(records, out)
    seen["wrong_out"] = wrong_out(records, out)
    options = {"model": out, "images": folder / "images", "masks": folder / "photos.json", "out": results}
    seen["exit_code"], detector = predicted(
        ["predict", *(f"--{key}={value}" for key, value in options.items())]
    )
    seen["placed"] = placed(detector)
    return seen


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]))))
