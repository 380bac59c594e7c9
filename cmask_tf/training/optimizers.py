"""What turns gradients into steps: the optimiser, its learning rates, clipping, what does not learn.

The optimiser is ours to choose: by default AdamW, a linear warm-up, a cosine down to zero, no decay of biases
and batch normalization. On its epsilon: with c = 1e-6 in Eqn. 2 the columns of image-level concepts, which no
other term reaches, have gradients of 1e-7 and far less. Adam divides a gradient by its own size, so c hardly
slows these columns; it weighs the two terms only where both reach. That holds while epsilon lies far below
the gradients: with Keras's 1e-7 the columns in tests/test_losses.py learn half as much in the same steps.
SGD has no such help: there c means what it says, and 1e-6 moves these columns next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras
import tensorflow as tf

from cmask_tf.config import Schedule
from cmask_tf.models.backbone import freeze

EPSILON = 1e-12
MOMENTUM = 0.9  # of SGD, Nesterov's
_BACKBONE = "backbone"  # the model, or the layer of a model, that learns at backbone_rate
_NOT_DECAYED = ("bias", "gamma", "beta")


def cosine_with_warmup(
    schedule: Schedule, total_steps: int, rate: float = 1.0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """A linear warm-up over `schedule.warmup` of all steps, then a cosine down to zero.

    Args:
        schedule: gives the peak and the share of the warm-up.
        total_steps: of the whole training.
        rate: multiplies the schedule's learning rate.
    """
    peak, warmup = rate * schedule.learning_rate, round(schedule.warmup * total_steps)
    if warmup == 0:
        return keras.optimizers.schedules.CosineDecay(peak, total_steps)
    return keras.optimizers.schedules.CosineDecay(
        peak / (warmup + 1),  # the first step moves, too
        max(1, total_steps - warmup),
        warmup_target=peak,
        warmup_steps=warmup,
    )


def make_optimizers(
    models: Mapping[str, keras.Model], schedule: Schedule, total_steps: int
) -> dict[str, keras.optimizers.Optimizer]:
    """An optimizer for the backbone's variables, at its own rate, and one for the others; built, so that
    they restore. The first `schedule.frozen_stages` stages of the backbone stop learning here.

    Weight decay is decoupled in both kinds, w -= rate * decay * w beside the step: of SGD too, whose
    textbook form adds decay * w to the gradient, and so to the momentum.

    Args:
        models: those, or layers of them, named "backbone" learn at `schedule.backbone_rate` times the rate.
        schedule: optimizer, rates, weight decay, frozen stages.
        total_steps: of the whole training.

    Returns:
        {"backbone": ..., "others": ...}, without a group that has no variables.
    """
    for backbone in _backbones(models):
        freeze(backbone, schedule.frozen_stages)
    optimizers = {}
    for name, variables in groups(models).items():
        rate = schedule.backbone_rate if name == "backbone" else 1.0
        optimizer = _make(schedule, cosine_with_warmup(schedule, total_steps, rate))
        optimizer.exclude_from_weight_decay([v for v in variables if v.name in _NOT_DECAYED])
        optimizer.build(variables)
        optimizers[name] = optimizer
    return optimizers


def _make(schedule: Schedule, rate) -> keras.optimizers.Optimizer:
    if schedule.optimizer == "sgd":
        return keras.optimizers.SGD(rate, MOMENTUM, nesterov=True, weight_decay=schedule.weight_decay)
    return keras.optimizers.AdamW(rate, schedule.weight_decay, epsilon=EPSILON)


def groups(models: Mapping[str, keras.Model]) -> dict[str, list[keras.Variable]]:
    """The variables that each optimizer trains."""
    slow = [v for backbone in _backbones(models) for v in backbone.trainable_variables]
    known = {id(variable) for variable in slow}
    rest = [v for model in models.values() for v in model.trainable_variables if id(v) not in known]
    groups = {"backbone": slow, "others": rest}
    return {name: variables for name, variables in groups.items() if variables}


def _backbones(models: Mapping[str, keras.Model]) -> Iterator[keras.Model]:
    for name, model in models.items():
        if name == _BACKBONE:
            yield model
        else:
            yield from (layer for layer in model.layers if layer.name == _BACKBONE)


def clip(gradients: dict[str, list], norm: float) -> dict[str, list]:
    """Scales the gradients of all groups together down to a global norm; call it in a replica.

    Keras's `global_clipnorm` will not do: it looks at one optimizer's variables, and at one replica's share
    of the gradient, before the shares are summed.

    Args:
        gradients: one replica's share of the gradient of the loss, by group; None where there is none.
        norm: of the gradient summed over the replicas, above 0.

    Returns:
        What to give to `optimizer.apply`, which sums over the replicas: equal shares of the clipped gradient.
    """
    context = tf.distribute.get_replica_context()
    # A gather's gradient comes in slices, whose norm is not the gradient's.
    dense = [tf.convert_to_tensor(g) for g in tf.nest.flatten(gradients) if g is not None]
    summed, _ = tf.clip_by_global_norm(context.all_reduce(tf.distribute.ReduceOp.SUM, dense), norm)
    shares = iter([g / context.num_replicas_in_sync for g in summed])
    return {name: [g if g is None else next(shares) for g in gs] for name, gs in gradients.items()}
