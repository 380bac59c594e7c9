"""Mask R-CNN* (5.3), the paper's baseline for concepts of which there are boxes and no masks.

Boxes of every concept, and one mask head for all classes that learns from the concepts with masks alone. The
network and its training are Model Garden's (`tf-models-official`, the extra `[detectors]`). They stand on
tf_keras and not on Keras 3, so nothing of the package imports this room, and it runs in a process of its own.
"""
