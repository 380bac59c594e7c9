"""Batch normalization folded into the convolution before it: the same network at inference, with less to do.

At inference a batch normalization multiplies every channel by a constant and adds one. Behind a convolution
(plain, depthwise or separable) both can be paid once, when the network is loaded. The result is the same to
float32 rounding, holds half as many tensors, and leaves nothing to train.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


def folded(network: keras.Model) -> keras.Model:
    """A copy for inference, its batch normalizations folded away wherever a convolution feeds them alone.

    Args:
        network: functional; networks inside it are folded too.

    Returns:
        A network of the same name, inputs, outputs and precisions, not trainable, with weights of its own.
    """
    pairs = _pairs(network)
    norms = {norm.name for norm in pairs.values()}

    def clone(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.Model):
            return folded(layer)
        settings = layer.get_config()
        # Weights are set below: no random numbers are drawn for them.
        settings |= {name: "zeros" for name in settings if name.endswith("_initializer")}
        settings |= {"use_bias": True} if layer.name in pairs else {}
        # As an object: a config keeps no more of a precision than its name.
        settings |= {"dtype": layer.dtype_policy} if isinstance(layer, keras.Layer) else {}
        return type(layer).from_config(settings)

    def call(layer: keras.Layer, *args, **kwargs):
        return args[0] if layer.name in norms else layer(*args, **kwargs)

    copy = keras.models.clone_model(network, clone_function=clone, call_function=call)
    copy.trainable = False
    for layer in network.layers:
        if layer.name in pairs:
            copy.get_layer(layer.name).set_weights(_merged(layer, pairs[layer.name]))
        elif layer.weights and layer.name not in norms and not isinstance(layer, keras.Model):
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _pairs(network: keras.Model) -> Mapping[str, keras.layers.BatchNormalization]:
    """By the name of a convolution: the batch normalization that alone reads what it gives."""
    readers = {}
    for operation in network.operations:
        for node in operation._inbound_nodes:
            for tensor in node.input_tensors:
                readers.setdefault(id(tensor), set()).add(operation)
    outputs = {id(tensor) for tensor in network.outputs}
    pairs = {}
    for layer in network.layers:
        if type(layer) not in _CONVOLUTIONS or layer.activation is not keras.activations.linear:
            continue
        [reader, *others] = readers.get(id(layer.output), [None])
        alone = not others and id(layer.output) not in outputs
        if alone and isinstance(reader, keras.layers.BatchNormalization):
            pairs[layer.name] = reader
    return pairs


def _merged(layer: keras.Layer, norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """The weights of the convolution with its batch normalization in them, the bias last."""
    mean, variance = np.asarray(norm.moving_mean, np.float64), np.asarray(norm.moving_variance, np.float64)
    factor = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * np.asarray(norm.gamma)
    kernels = layer.get_weights()
    bias = kernels.pop() if layer.use_bias else 0.0
    # The kernel that makes the channels, which are its last axis; of a depthwise one the last two.
    last = kernels[-1].astype(np.float64)
    shape = last.shape[2:] if isinstance(layer, keras.layers.DepthwiseConv2D) else last.shape[3:]
    kernels[-1] = (last * factor.reshape(shape)).astype(np.float32)
    shift = np.asarray(norm.beta) if norm.center else 0.0
    return [*kernels, ((bias - mean) * factor + shift).astype(np.float32)]
