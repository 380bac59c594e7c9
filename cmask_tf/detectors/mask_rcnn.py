"""Mask R-CNN* as a task of Model Garden: "the segmentation head [predicts] a label-agnostic mask, which is
trained only on COCO-80" (5.3)."""

from __future__ import annotations

import tensorflow as tf
from official.common import dataset_fn
from official.core import config_definitions as cfg
from official.core import input_reader
from official.modeling import optimization
from official.vision.configs import backbones, decoders, maskrcnn
from official.vision.dataloaders import maskrcnn_input
from official.vision.tasks.maskrcnn import MaskRCNNTask

from cmask_tf.detectors.classes import Classes
from cmask_tf.detectors.recipe import Recipe
from cmask_tf.detectors.records import decoder
from cmask_tf.errors import UserError

WARM_UP = 500  # steps, less in a short training
SHUFFLED = 1000  # records in the buffer
LOOP = 100  # steps between two lines of the log
KEPT = 2  # checkpoints


class MaskRCNNStar(MaskRCNNTask):
    """Model Garden's task with our records as input, and a mask loss on objects that have a mask.

    Args:
        config: of `experiment`.
        classes: of the records.
    """

    def __init__(self, config: maskrcnn.MaskRCNNTask, classes: Classes):
        super().__init__(config)
        self._classes = classes

    def initialize(self, model) -> None:
        """Begins with the backbone's checkpoint, where the configuration names one.

        Raises:
            UserError: it is of another network.
        """
        try:
            super().initialize(model)
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            problem = str(error).splitlines()[0]
            raise UserError(
                f"{self.task_config.init_checkpoint}: not the weights of this backbone ({problem:.200})"
            ) from None

    def build_inputs(self, params, input_context=None) -> tf.data.Dataset:
        """Batches of (photos, labels) from both record sets, shuffled together, without end."""
        model = self.task_config.model
        anchors = {key: getattr(model.anchor, key) for key in ("num_scales", "aspect_ratios", "anchor_size")}
        parser = maskrcnn_input.Parser(
            output_size=model.input_size[:2],
            min_level=model.min_level,
            max_level=model.max_level,
            include_mask=True,
            aug_rand_hflip=params.parser.aug_rand_hflip,
            aug_scale_min=params.parser.aug_scale_min,
            aug_scale_max=params.parser.aug_scale_max,
            max_num_instances=params.parser.max_num_instances,
            dtype=params.dtype,
            **anchors,
        )
        reader = input_reader.InputReader(
            params,
            dataset_fn=dataset_fn.pick_dataset_fn(params.file_type),
            decoder_fn=decoder(self._classes),
            parser_fn=parser.parse_fn(params.is_training),
        )
        return reader.read(input_context=input_context)

    def _build_mask_loss(self, outputs) -> tf.Tensor:
        """The loss of the regions whose object has a mask.

        `allowed_mask_class_ids` does not tell them: a person in a photo that has boxes only is of a class
        with masks, and would be learnt as an empty one.
        """
        drawn = tf.reduce_any(outputs["mask_targets"] > 0, axis=(2, 3))
        targets = outputs["mask_class_targets"]
        return super()._build_mask_loss(
            {**outputs, "mask_class_targets": tf.where(drawn, targets, tf.zeros_like(targets))}
        )


def experiment(
    recipe: Recipe, classes: Classes, files: list[str], photos: int, backbone: str | None = None
) -> cfg.ExperimentConfig:
    """Model Garden's configuration of a recipe.

    Args:
        recipe: sizes and schedule.
        classes: what the detector tells apart.
        files: TFRecord shards of both record sets.
        photos: how many they hold.
        backbone: a Model Garden checkpoint of the ResNet alone to begin with; None: from scratch.
    """
    task = maskrcnn.MaskRCNNTask(
        model=_model(recipe, len(classes.names) + 1),
        train_data=maskrcnn.DataConfig(
            input_path=files,
            is_training=True,
            global_batch_size=recipe.batch_size,
            dtype="float32",
            shuffle_buffer_size=SHUFFLED,
            seed=recipe.seed,
            parser=maskrcnn.Parser(
                aug_rand_hflip=True,
                aug_scale_min=0.8,
                aug_scale_max=1.25,
                max_num_instances=recipe.most_objects,
            ),
        ),
        losses=maskrcnn.Losses(l2_weight_decay=recipe.weight_decay),
        allowed_mask_class_ids=[classes.numbers()[name] for name in classes.masked],
        init_checkpoint=backbone,
        init_checkpoint_modules="backbone",
    )
    return cfg.ExperimentConfig(task=task, trainer=_trainer(recipe, photos))


def _model(recipe: Recipe, classes: int) -> maskrcnn.MaskRCNN:
    channels = round(256 * recipe.width)
    return maskrcnn.MaskRCNN(
        num_classes=classes,
        input_size=[recipe.image_size, recipe.image_size, 3],
        max_level=recipe.max_level,
        backbone=backbones.Backbone(
            type="resnet", resnet=backbones.ResNet(model_id=recipe.resnet, depth_multiplier=recipe.width)
        ),
        decoder=decoders.Decoder(type="fpn", fpn=decoders.FPN(num_filters=channels)),
        rpn_head=maskrcnn.RPNHead(num_filters=channels),
        detection_head=maskrcnn.DetectionHead(num_filters=channels, fc_dims=4 * channels),
        roi_generator=maskrcnn.ROIGenerator(
            num_proposals=recipe.proposals, test_num_proposals=recipe.proposals
        ),
        roi_sampler=maskrcnn.ROISampler(num_sampled_rois=recipe.rois),
        detection_generator=maskrcnn.DetectionGenerator(max_num_detections=recipe.detections),
        mask_head=maskrcnn.MaskHead(num_filters=channels, class_agnostic=True),
        mask_sampler=maskrcnn.MaskSampler(num_sampled_masks=recipe.rois // 4),
    )


def _trainer(recipe: Recipe, photos: int) -> cfg.TrainerConfig:
    steps, rate = recipe.steps(photos), recipe.rate * recipe.batch_size / 64
    epoch = max(1, photos // recipe.batch_size)
    loop = min(LOOP, epoch)
    return cfg.TrainerConfig(
        train_steps=steps,
        steps_per_loop=loop,
        summary_interval=loop,
        checkpoint_interval=loop * max(1, epoch // loop),
        max_to_keep=KEPT,
        optimizer_config=optimization.OptimizationConfig(
            {
                "optimizer": {"type": "sgd", "sgd": {"momentum": 0.9}},
                "learning_rate": {
                    "type": "stepwise",
                    "stepwise": {
                        "boundaries": [max(1, steps * 2 // 3), max(2, steps * 8 // 9)],
                        "values": [rate, rate / 10, rate / 100],
                    },
                },
                "warmup": {
                    "type": "linear",
                    "linear": {
                        "warmup_steps": min(WARM_UP, max(1, steps // 10)),
                        "warmup_learning_rate": rate / 18,
                    },
                },
            }
        ),
    )
