"""A trained baseline on disk, as self-contained as a model directory.

baseline.json   {"kind": "saliency" | "closed-set", "vgg16": bool}
config.json     as in a model directory
concepts.json   of the K planes, in order: [{"name", "level", "kind", "spellings"}]; [] of a saliency network
network.weights.h5
provenance.json as of a stage, and the "minutes" that the training took
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from cmask_tf import config as configs
from cmask_tf.config import Config
from cmask_tf.errors import UserError
from cmask_tf.model_directory import load_json
from cmask_tf.models import weights
from cmask_tf.models.baselines import KINDS, build_baseline

_KIND, _CONFIG, _CONCEPTS = "baseline.json", "config.json", "concepts.json"
_NETWORK, _PROVENANCE = "network.weights.h5", "provenance.json"


@dataclass(frozen=True)
class Baseline:
    """What `load` returns; `concepts` as in the file."""

    kind: str
    config: Config
    concepts: list[dict]
    network: keras.Model


def save(
    directory: Path,
    kind: str,
    config: Config,
    concepts: Sequence[Mapping],
    network: keras.Model,
    provenance: Mapping,
    vgg16: bool = False,
) -> None:
    """Writes a baseline beside its place and renames it: it is there whole, or not at all."""
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        config.save(partial / _CONFIG)
        texts = {_KIND: {"kind": kind, "vgg16": vgg16}, _CONCEPTS: list(concepts), _PROVENANCE: provenance}
        for name, value in texts.items():
            text = json.dumps(value, indent=2, ensure_ascii=False)
            (partial / name).write_text(text + "\n", encoding="utf-8")
        network.save_weights(partial / _NETWORK)
        os.replace(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load(directory: Path) -> Baseline:
    """Builds the network of a baseline and loads its weights.

    Raises:
        UserError: no such directory, a file of it is missing or broken, or the weights do not fit.
    """
    for name in (_KIND, _CONFIG, _CONCEPTS, _NETWORK):
        if not (directory / name).is_file():
            raise UserError(f"{directory / name}: no such file; expected a baseline of `cmask baseline`")
    about, concepts = _about(directory), load_json(directory / _CONCEPTS)
    _check_concepts(directory / _CONCEPTS, about["kind"], concepts)
    config = configs.load(str(directory / _CONFIG))
    bare = dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, weights=None))
    start = "random" if about.get("vgg16") else None
    network = build_baseline(about["kind"], bare, len(concepts), start)
    weights.load(network, directory / _NETWORK)
    return Baseline(about["kind"], config, concepts, network)


def finished(directory: Path, kind: str, config: Config, vgg16: bool = False) -> bool:
    """Whether this baseline is there already.

    Raises:
        UserError: something else is, or a baseline of another config.
    """
    if not directory.exists():
        return False
    if not (directory / _KIND).is_file() or _about(directory)["kind"] != kind:
        raise UserError(f"{directory}: exists and is not a {kind} baseline; give another --out")
    if configs.load(str(directory / _CONFIG)) != config or _about(directory).get("vgg16", False) != vgg16:
        raise UserError(
            f"{directory}: was trained with another config; give another --out, or the same config"
        )
    return True


def _about(directory: Path) -> dict:
    about = load_json(directory / _KIND)
    if not isinstance(about, dict) or about.get("kind") not in KINDS:
        raise UserError(f"{directory / _KIND}: expected a kind of {', '.join(KINDS)}")
    return about


def _check_concepts(path: Path, kind: str, concepts) -> None:
    if not isinstance(concepts, list) or (kind == "closed-set" and not concepts):
        raise UserError(f"{path}: expected a list of concepts")
    for position, concept in enumerate(concepts):
        known = isinstance(concept, dict) and isinstance(concept.get("name"), str)
        if not known or not isinstance(concept.get("spellings"), list):
            raise UserError(f"{path}: entry {position}: expected a name and its spellings")
