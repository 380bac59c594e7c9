"""The networks, all functional Keras: backbones, embedding, refinement, segmentation, the combined model."""
