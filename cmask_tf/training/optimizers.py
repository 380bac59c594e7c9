"""What turns gradients into steps: the optimiser and its learning rates.

The optimiser is ours to choose: AdamW, a linear warm-up, a cosine down to zero, no decay of biases and batch
normalization. On its epsilon: with c = 1e-6 in Eqn. 2 the columns of image-level concepts, which no other
term reaches, have gradients of 1e-7 and far less. Adam divides a gradient by its own size, so c hardly slows
these columns; it weighs the two terms only where both reach. That holds while epsilon lies far below the
gradients: with Keras's 1e-7 the columns in tests/test_losses.py learn half as much in the same steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras

from cmask_tf.config import Schedule

EPSILON = 1e-12
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
) -> dict[str, keras.optimizers.AdamW]:
    """AdamW for the backbone's variables, at its own rate, and for the others; built, so that they restore.

    Args:
        models: those, or layers of them, named "backbone" learn at `schedule.backbone_rate` times the rate.
        schedule: rates and weight decay.
        total_steps: of the whole training.

    Returns:
        {"backbone": ..., "others": ...}, without a group that has no variables.
    """
    optimizers = {}
    for name, variables in groups(models).items():
        rate = schedule.backbone_rate if name == "backbone" else 1.0
        learning_rate = cosine_with_warmup(schedule, total_steps, rate)
        optimizer = keras.optimizers.AdamW(learning_rate, schedule.weight_decay, epsilon=EPSILON)
        optimizer.exclude_from_weight_decay([v for v in variables if v.name in _NOT_DECAYED])
        optimizer.build(variables)
        optimizers[name] = optimizer
    return optimizers


def groups(models: Mapping[str, keras.Model]) -> dict[str, list[keras.Variable]]:
    """The variables that each optimizer trains."""
    slow = [v for name, model in models.items() for v in _backbone_variables(name, model)]
    known = {id(variable) for variable in slow}
    rest = [v for model in models.values() for v in model.trainable_variables if id(v) not in known]
    groups = {"backbone": slow, "others": rest}
    return {name: variables for name, variables in groups.items() if variables}


def _backbone_variables(name: str, model: keras.Model) -> list[keras.Variable]:
    if name == _BACKBONE:
        return model.trainable_variables
    return [v for layer in model.layers if layer.name == _BACKBONE for v in layer.trainable_variables]
