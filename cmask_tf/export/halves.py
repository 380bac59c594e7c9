"""Weights in half precision: float16 where they lie, float32 as soon as they are used.

Half the file and half the memory of the weights; every product and sum stays float32.
"""

from __future__ import annotations

import keras


class HalfStorage(keras.DTypePolicy):
    """Layers compute in float32 on float16 variables."""

    def __init__(self) -> None:
        super().__init__("float32")
        self._variable_dtype = "float16"


def halved(network: keras.Model) -> keras.Model:
    """A copy of a functional network, not trainable, with its weights rounded to float16.

    Batch normalizations keep float32: a variance may be larger or smaller than half precision knows.
    """

    def clone(layer: keras.Operation) -> keras.Operation:
        if isinstance(layer, keras.Model):
            return halved(layer)
        half = isinstance(layer, keras.Layer) and layer.weights
        half = half and not isinstance(layer, keras.layers.BatchNormalization)
        precision = {"dtype": HalfStorage()} if half else {}
        return type(layer).from_config({**layer.get_config(), **precision})

    copy = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy
