"""The one BatchNormalization of the package: statistics over all replicas, so that N devices equal one."""

from __future__ import annotations

import keras


def batch_norm(
    name: str,
    epsilon: float = 1e-3,
    momentum: float = 0.95,
    scale: bool = True,
    dtype: str | None = None,
) -> keras.layers.BatchNormalization:
    """BatchNormalization over the last axis, synchronised between replicas.

    Args:
        name: name of the layer.
        epsilon: added to the variance.
        momentum: of the moving statistics. 0.95 looks back some twenty batches: short trainings are
            validated by statistics that have caught up with the weights.
        scale: whether there is a gamma; tf-slim's networks have none.
        dtype: of what it gives, by default the policy's; it computes in float32 whatever the policy is.
    """
    return keras.layers.BatchNormalization(
        epsilon=epsilon, momentum=momentum, scale=scale, synchronized=True, name=name, dtype=dtype
    )
