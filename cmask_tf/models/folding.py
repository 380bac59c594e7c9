"""Batch normalization folded into the convolution before it: the same network at inference, with less to do.

At inference a batch normalization multiplies every channel by a constant and adds one. Behind a convolution
(plain, depthwise or separable) both can be paid once, when the network is loaded. The result is the same to
float32 rounding, holds half as many tensors, and leaves nothing to train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


def folded(network: keras.Model) -> keras.Model:
    """A copy for inference, its batch normalizations folded away wherever a convolution feeds them alone.

    Args:
        network: functional; networks inside it are folded too.

    Returns:
        A network of the same name, inputs, outputs and precisions, not trainable, with weights of its own.
        One that is so already, because it was built `for_inference`, comes back itself.
    """
    if not network.trainable and not _to_fold(network):
        return network
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
            copy.get_layer(layer.name).set_weights(_with_norm(layer, pairs[layer.name]))
        elif layer.weights and layer.name not in norms and not isinstance(layer, keras.Model):
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _to_fold(network: keras.Model) -> bool:
    """Whether a batch normalization could go, here or in a network inside."""
    inside = (layer for layer in network.layers if isinstance(layer, keras.Model))
    return bool(_pairs(network)) or any(map(_to_fold, inside))


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


def _with_norm(layer: keras.Layer, norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    kernels = layer.get_weights()
    bias = kernels.pop() if layer.use_bias else None
    names = [name for name, there in (("gamma", norm.scale), ("beta", norm.center)) if there]
    vectors = {name: np.asarray(getattr(norm, name)) for name in (*names, "moving_mean", "moving_variance")}
    return merged(layer, kernels, bias, vectors, norm.epsilon)


def merged(
    layer: keras.Layer,
    kernels: Sequence[np.ndarray],
    bias: np.ndarray | None,
    norm: Mapping[str, np.ndarray],
    epsilon: float,
) -> list[np.ndarray]:
    """The weights of a convolution that has taken over the batch normalization behind it.

    Args:
        layer: what sort of convolution it is.
        kernels: as Keras holds them, the one that makes the channels last.
        bias: [C], of the convolution itself.
        norm: "moving_mean" and "moving_variance" [C], and "gamma" and "beta" if it has them.
        epsilon: added to the variance.

    Returns:
        The kernels and a bias, float32.
    """
    factor = 1 / np.sqrt(norm["moving_variance"].astype(np.float64) + epsilon) * norm.get("gamma", 1.0)
    # The channels are the last axis of a kernel; of a depthwise one, its last two.
    last = kernels[-1].astype(np.float64)
    shape = last.shape[2:] if isinstance(layer, keras.layers.DepthwiseConv2D) else last.shape[3:]
    shift = ((0.0 if bias is None else bias) - norm["moving_mean"].astype(np.float64)) * factor
    together = [*kernels[:-1], last * factor.reshape(shape), shift + norm.get("beta", 0.0)]
    return [value.astype(np.float32) for value in together]
