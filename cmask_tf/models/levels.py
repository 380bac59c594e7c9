"""A decoder that is given the attention level by level, as `lite`'s pools it (4.3).

`build_lite_decoder` takes the attention at full size and averages it down for every level. To draw coarse
maps at full size only to average them costs half as much as all convolutions of the decoder;
`geometry.level_maps` makes the averages themselves.
"""

from __future__ import annotations

import keras


def split(decoder: keras.Model) -> tuple[keras.Model, dict[str, int]]:
    """The part of a decoder that lies behind its poolings of the attention.

    Args:
        decoder: {**maps, "attention": [B, S, S, 2]} -> logits.

    Returns:
        A network of the same layers which is given {**maps, name: [B, n, n, 2] for each pooling} instead, and
        the stride of each pooling by its name. Of a decoder that does anything else with the attention (the
        paper's concatenates it) the decoder itself, and no strides.
    """
    attention = decoder.input["attention"]
    readers = [
        layer
        for layer in decoder.layers
        if any(given is attention for node in layer._inbound_nodes for given in node.input_tensors)
    ]
    pools = [layer for layer in readers if _averages_blocks(layer)]
    if len(pools) < len(readers):
        return decoder, {}
    inputs = {name: tensor for name, tensor in decoder.input.items() if name != "attention"}
    for pool in pools:
        pool.output.name = pool.name  # Keras warns of an input whose tensor has another name
        inputs[pool.name] = pool.output
    network = keras.Model(inputs, decoder.output, name=decoder.name)
    network.trainable = False
    return network, {pool.name: pool.strides[0] for pool in pools}


def _averages_blocks(layer: keras.Layer) -> bool:
    kind = isinstance(layer, keras.layers.AveragePooling2D)
    return kind and layer.padding == "same" and layer.pool_size == layer.strides
