"""A trained Mask R-CNN* on photos: a COCO results file, which `evaluation/detections.py` scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from official.vision.ops import anchor, mask_ops, preprocess_ops
from pycocotools import mask as rle
from tqdm import tqdm

from cmask_tf.data import coco
from cmask_tf.data.claim import write_json
from cmask_tf.data.sources import PhotoFinder
from cmask_tf.detectors.classes import Classes
from cmask_tf.detectors.mask_rcnn import MaskRCNNStar, experiment
from cmask_tf.detectors.recipe import Recipe
from cmask_tf.errors import UserError
from cmask_tf.faults import BadRecord


class Detector:
    """A trained detector.

    Args:
        directory: what `train` wrote; its last checkpoint counts.

    Raises:
        UserError: it is no such folder, or has no checkpoint that fits.
    """

    def __init__(self, directory: Path):
        self.classes, self._recipe = Classes.load(directory), Recipe.load(directory)
        found = tf.train.latest_checkpoint(directory)
        if found is None:
            raise UserError(f"{directory}: no checkpoint yet; expected a detector that was trained")
        config = experiment(self._recipe, self.classes, [], 1).task
        self._anchors = _anchors(config.model)
        self._model = MaskRCNNStar(config, self.classes).build_model()
        try:
            tf.train.Checkpoint(model=self._model).restore(found).assert_existing_objects_matched()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UserError(f"{found}: not this detector's weights ({str(error).splitlines()[0]})") from None
        self._call = tf.function(self._detect, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])

    def detect(self, photo: np.ndarray) -> list[dict]:
        """Instances of one photo, as COCO's results have them but for their image_id.

        Args:
            photo: uint8 RGB [H, W, 3], the stored pixels.

        Returns:
            {"category_id" (a class, from 1), "bbox" [x, y, width, height] in px, "score" in [0, 1],
            "segmentation" (compressed RLE of the photo's size)} of each, masks cut at 0.5.
        """
        height, width = photo.shape[:2]
        boxes, masks, scores, classes = (value.numpy() for value in self._call(photo))
        if not len(boxes):
            return []
        sized = np.stack([boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], 1)
        pasted = mask_ops.paste_instance_masks(masks, sized, height, width)
        return [
            {
                "category_id": int(number),
                "bbox": box.tolist(),
                "score": float(score),
                "segmentation": _coded(mask),
            }
            for number, box, score, mask in zip(classes, sized, scores, pasted, strict=True)
        ]

    def _detect(self, photo: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Boxes [N, 4] (ymin, xmin, ymax, xmax; px of the photo), masks [N, m, m], scores and classes [N]."""
        size, model = self._recipe.image_size, self._model
        image, info = preprocess_ops.resize_and_crop_image(
            preprocess_ops.normalize_image(photo), [size, size], [size, size], 1.0, 1.0
        )
        found = model(
            image[None],
            image_shape=info[None, 1],
            anchor_boxes=self._anchors,
            training=False,
        )
        count = found["num_detections"][0]
        boxes, masks, scores, classes = (
            found[f"detection_{key}"][0, :count] for key in ("boxes", "masks", "scores", "classes")
        )
        return boxes / tf.tile(info[2], [2]), masks, scores, classes


def predict(directory: Path, images: Path, annotations: Path, out: Path) -> int:
    """Writes the instances in all photos of a COCO file, whole or not at all.

    Args:
        directory: a trained detector.
        images: the folder of photos.
        annotations: the COCO file whose image ids are used; its annotations are not read.
        out: the JSON file: {"categories": the detector's classes, "annotations": the instances}.

    Returns:
        The number of instances.

    Raises:
        UserError: no such detector, a photo that is not there or no photo, no folder for `out`.
    """
    if not Path(out).absolute().parent.is_dir():
        raise UserError(f"{out}: no such folder to write in")
    photos = list(_photos(Path(annotations), PhotoFinder(images)))
    detector, found = Detector(directory), []
    for number, path in tqdm(photos, "Mask R-CNN*", unit="photo"):
        found += [{"image_id": number, **instance} for instance in detector.detect(_read(path))]
    categories = [{"id": number, "name": name} for name, number in detector.classes.numbers().items()]
    try:
        write_json(Path(out), {"categories": categories, "annotations": found})
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None
    return len(found)


def _anchors(model) -> dict[str, tf.Tensor]:
    """Level -> boxes [1, h, w, 4 x anchors] of a network's configuration."""
    anchors = anchor.build_anchor_generator(
        model.min_level,
        model.max_level,
        model.anchor.num_scales,
        model.anchor.aspect_ratios,
        model.anchor.anchor_size,
    )(tuple(model.input_size[:2]))
    return {level: boxes[None] for level, boxes in anchors.items()}


def _photos(annotations: Path, finder: PhotoFinder) -> Iterator[tuple[int | str, Path]]:
    for where, entry in coco.entries(annotations, "image"):
        try:
            image = coco.parse_image(entry, where)
            yield entry["id"], finder.find(image.names[0], where)
        except BadRecord as bad:
            raise UserError(str(bad)) from None


def _read(path: Path) -> np.ndarray:
    """The stored pixels, to which annotations refer."""
    try:
        return tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError:
        raise UserError(f"{path}: expected a JPEG or PNG photo") from None


def _coded(mask: np.ndarray) -> dict:
    code = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}
