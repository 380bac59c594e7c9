"""The model directory: one folder per trained system, self-contained.

    config.json  concepts.json  vocabulary/  provenance.json  mixing.json  thresholds.json
    backbone.weights.h5  embedding.weights.h5  refinement.weights.h5
    segmentation_encoder.weights.h5  segmentation_decoder.weights.h5

`concepts.json` lists the V trained concepts in the order of the refinement network's inputs and
outputs. What a stage leaves is a model directory with fewer parts. TensorFlow is imported only by
what builds networks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from cmask_tf import config as configs
from cmask_tf import presets
from cmask_tf.errors import UserError
from cmask_tf.vocabulary.artefact import FILES as VOCABULARY_FILES

if TYPE_CHECKING:
    import keras

    from cmask_tf.vocabulary.artefact import Vocabulary

PARTS = ("backbone", "embedding", "refinement", "segmentation_encoder", "segmentation_decoder")
# Parts of models whose config has `verification.hidden`.
VERIFICATION, VERIFICATION_WORDS = "verification", "verification_words"
LEVELS = ("mask", "box", "image", "zero")
_TENSOR = 8192  # bytes, more than HDF5 writes beside the numbers of a tensor


def locate(model: str | Path | None) -> Path:
    """The directory that `--model` names: a directory, else a preset of the package.

    Args:
        model: a path or a preset's name; None is the preset `presets.DEFAULT`.

    Raises:
        UserError: it names neither; lists the presets that there are.
    """
    if model is None:
        if presets.DEFAULT not in presets.names():
            raise UserError(f"no model: give --model DIR; {presets.there_are()}")
        return presets.locate(presets.DEFAULT)
    directory = Path(model)
    if directory.is_dir():
        return directory
    if str(model) in presets.names():
        return presets.locate(str(model))
    raise UserError(f"{directory}: no such model directory; {presets.there_are()}")


def parts_of(config: configs.Config) -> tuple[str, ...]:
    """The networks of a finished system."""
    return (*PARTS, VERIFICATION, VERIFICATION_WORDS) if config.verification.hidden else PARTS


def check(directory: str | Path, parts: Sequence[str] | None = None) -> None:
    """Looks whether a model directory is complete and, where it has checksums, undamaged; without TensorFlow.

    Args:
        directory: the model directory.
        parts: the networks that are needed, by default all. With all of them the directory must also hold
            what only a finished system has: `mixing.json`, `thresholds.json` and `provenance.json`.

    Raises:
        UserError: names the first file that is missing or damaged.
    """
    directory = locate(directory)
    if parts is None:
        parts = parts_of(load_config(directory)) if (directory / "config.json").is_file() else PARTS
    files = ["config.json", "concepts.json", *(f"vocabulary/{name}" for name in VOCABULARY_FILES)]
    files += [f"{part}.weights.h5" for part in parts]
    if set(PARTS) <= set(parts):
        files += ["mixing.json", "thresholds.json", "provenance.json"]
    for name in files:
        if not (directory / name).is_file():
            raise UserError(f"{directory / name}: missing from the model directory")
    if (directory / presets.SUMS).is_file():
        presets.verify(directory)


def load_config(directory: str | Path) -> configs.Config:
    """The config that the networks were built from."""
    return configs.load(str(Path(directory) / "config.json"))


def load_concepts(directory: str | Path) -> list[dict[str, str]]:
    """The V trained concepts in order: `[{"name", "level", ...}]`."""
    path = Path(directory) / "concepts.json"
    concepts = load_json(path)
    for position, concept in enumerate(concepts):
        if not isinstance(concept, dict) or "name" not in concept or concept.get("level") not in LEVELS:
            raise UserError(f"{path}: entry {position}: expected a name and a level of {', '.join(LEVELS)}")
    return concepts


def load_provenance(directory: str | Path) -> dict:
    """Where the model came from; empty when it does not say."""
    path = Path(directory) / "provenance.json"
    return load_json(path) if path.is_file() else {}


def load_vocabulary(directory: str | Path) -> Vocabulary:
    """The vocabulary that the model carries."""
    from cmask_tf.vocabulary.artefact import Vocabulary

    return Vocabulary.load(Path(directory) / "vocabulary")


def load_json(path: str | Path):
    """The JSON of one file of a model directory; a file that is missing or broken is named."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path}: missing from the model directory") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def describe_concepts(vocabulary: Vocabulary, concepts: Sequence[Mapping[str, str]]) -> list[dict]:
    """One row for each word of the vocabulary: `{"name", "level", "kind", "count"}`, in its order.

    A word that is not among the trained concepts has the level "zero".
    """
    trained = {concept["name"]: concept for concept in concepts}
    rows = []
    for index, name in enumerate(vocabulary.names):
        concept = trained.get(name, {})
        kind = concept.get("kind", vocabulary.kinds[index])
        count = int(vocabulary.counts[index])
        rows.append({"name": name, "level": concept.get("level", "zero"), "kind": kind, "count": count})
    return rows


def build_parts(
    config: configs.Config, dim: int, trained: int, names: Sequence[str] | None = None
) -> dict[str, keras.Model]:
    """Builds networks of a config, with the config's initial weights.

    Args:
        config: the system's config.
        dim: D, the dimension of the word vectors.
        trained: V, the number of trained concepts.
        names: which of `parts_of(config)`; by default all.

    Returns:
        Keras models by name.
    """
    from cmask_tf.models.backbone import build_backbone
    from cmask_tf.models.embedding import build_head
    from cmask_tf.models.refinement import build_refinement
    from cmask_tf.models.segmentation import build_segmentation
    from cmask_tf.models.verification import build_verification, build_words

    parts, names = {}, parts_of(config) if names is None else names
    if set(names) - {"refinement", VERIFICATION_WORDS}:
        parts["backbone"] = build_backbone(config.backbone)
        channels = parts["backbone"].output["c5"].shape[-1]
    if "embedding" in names:
        parts["embedding"] = build_head(channels, config.embedding, dim)
    if VERIFICATION in names:
        parts[VERIFICATION] = build_verification(channels, config.verification.hidden)
    if VERIFICATION_WORDS in names:
        parts[VERIFICATION_WORDS] = build_words(dim, config.verification.hidden, trained)
    if "refinement" in names:
        parts["refinement"] = build_refinement(trained, config.refinement.bottleneck)
    if "segmentation_encoder" in names or "segmentation_decoder" in names:
        encoder, decoder = build_segmentation(config.segmentation, parts["backbone"])
        parts |= {"segmentation_encoder": encoder, "segmentation_decoder": decoder}
    return {name: parts[name] for name in names}


def load_parts(
    directory: str | Path, names: Sequence[str] | None = None, inference: bool = False
) -> dict[str, keras.Model]:
    """Builds networks of a model directory, by default all, and loads their weights.

    Args:
        directory: the model directory.
        names: of `parts_of(config)`.
        inference: they are never trained: batch normalizations are folded away (`models.folding`) as they
            are read, which takes half the time.

    Raises:
        UserError: a file is missing, or holds the weights of another network.
    """
    from cmask_tf.models import weights
    from cmask_tf.models.normalization import for_inference

    directory = Path(directory)
    check(directory, names)
    config, dim = load_config(directory), load_vocabulary(directory).dim
    with for_inference() if inference else nullcontext():
        parts = build_parts(_random(config), dim, len(load_concepts(directory)), names)
    for name, part in parts.items():
        weights.load(part, directory / f"{name}.weights.h5")
        if inference:
            part.trainable = False
    return parts


def copies(config: configs.Config, parts: Mapping[str, keras.Model]) -> dict[str, keras.Model]:
    """The same networks built anew, in the precision that holds here and now.

    Args:
        config: what they were built from.
        parts: by name, "embedding" and "refinement" among them.

    Returns:
        Keras models by name; for inference alone if the parts are.
    """
    from cmask_tf.models.normalization import for_inference, is_for_inference

    dim, trained = parts["embedding"].output.shape[-1], parts["refinement"].output.shape[-1]
    with for_inference() if any(map(is_for_inference, parts.values())) else nullcontext():
        anew = build_parts(_random(config), dim, trained, tuple(parts))
    for name, part in parts.items():
        anew[name].trainable = part.trainable
        anew[name].set_weights(part.get_weights())
    return anew


def _random(config: configs.Config) -> configs.Config:
    """The config without pretrained weights, which loading overwrites: their package is not needed."""
    backbone = dataclasses.replace(config.backbone, weights=None)
    segmentation = dataclasses.replace(config.segmentation, weights=None)
    return dataclasses.replace(config, backbone=backbone, segmentation=segmentation)


def save(
    directory: str | Path,
    config: configs.Config,
    vocabulary: Vocabulary,
    concepts: Sequence[Mapping[str, str]],
    parts: Mapping[str, keras.Model],
    mixing: Mapping | None = None,
    thresholds: Mapping | None = None,
    provenance: Mapping | None = None,
) -> None:
    """Writes a model directory beside its place and renames it: it is there whole, or not at all.

    Args:
        directory: where; a model directory that is already there is replaced.
        config: what the networks were built from.
        vocabulary: the word vectors.
        concepts: the V trained concepts in order, `[{"name", "level", ...}]`.
        parts: networks by name, some or all of `parts_of(config)`.
        mixing: p(q) and theta (4.4), of a finished system.
        thresholds: `{"pooled": t, "outside": t, "concepts": {name: t}, "slope": s}` (supplement 5), of a
            finished system.
        provenance: data counts, seeds, versions, the origin of weights, validation metrics.

    Raises:
        UserError: something else lies there, a part or a concept does not belong in it, or the disk has no
            room for the weights.
    """
    directory = Path(directory)
    _check_save(directory, config, vocabulary, concepts, parts)
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        texts = {"concepts": list(concepts), "mixing": mixing, "thresholds": thresholds}
        _write(partial, {**texts, "provenance": provenance}, parts)
        config.save(partial / "config.json")
        vocabulary.save(partial / "vocabulary")
        swap(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_room(folder: Path, parts: Mapping[str, keras.Model]) -> None:
    # A process in which HDF5 found the disk full crashes when it ends.
    need = sum(4 * part.count_params() + _TENSOR * len(part.weights) for part in parts.values())
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{folder}: the weights take {need / 1e6:.0f} MB, {free / 1e6:.0f} MB of the disk are free; "
            "put that right and run the same command"
        )


def save_changed(
    source: str | Path,
    directory: str | Path,
    vocabulary: Vocabulary | None = None,
    texts: Mapping[str, object] | None = None,
    parts: Mapping[str, keras.Model] | None = None,
) -> None:
    """Writes a copy of a model directory in which some of it is new: whole, or not at all.

    Args:
        source: a model directory; may be the same as `directory`.
        directory: where; a model directory that is already there is replaced.
        vocabulary: instead of the old one; holds every trained concept.
        texts: of "concepts", "mixing", "thresholds" and "provenance", by these names.
        parts: networks by name.
    """
    source, directory = Path(source), Path(directory).resolve()
    check_target(directory)
    if (source / presets.SUMS).is_file():
        presets.verify(source)  # the copy has no sums that would tell
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(source, partial, ignore=shutil.ignore_patterns(presets.SUMS))
        if vocabulary is not None:
            vocabulary.save(partial / "vocabulary")
        _write(partial, texts or {}, parts or {})
        swap(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, texts: Mapping[str, object], parts: Mapping[str, keras.Model]) -> None:
    """The JSON files and networks of a model directory; None is not written."""
    _check_room(folder, parts)
    for name, value in texts.items():
        if value is not None:
            text = json.dumps(value, indent=2, ensure_ascii=False)
            (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    for name, part in parts.items():
        part.save_weights(folder / f"{name}.weights.h5")


def check_target(directory: Path) -> None:
    """Refuses to replace anything but a model directory or an empty one, before any work.

    Raises:
        UserError: something else lies there, or a preset of the package.
    """
    presets.keep(directory)
    check_place(directory)


def check_place(directory: Path) -> None:
    """`check_target` of whoever makes presets."""
    if directory.is_dir() and ((directory / "config.json").is_file() or not any(directory.iterdir())):
        return
    if directory.exists():
        raise UserError(f"{directory}: exists and is not a model directory; give another place")


def _check_save(directory: Path, config: configs.Config, vocabulary: Vocabulary, concepts, parts) -> None:
    check_target(directory)
    for name in parts:
        if name not in parts_of(config):
            raise UserError(f"{directory}: unknown part {name!r}; expected {', '.join(parts_of(config))}")
    for concept in concepts:
        name = concept["name"]
        if concept.get("level") not in LEVELS:
            raise UserError(f"{directory}: concept {name!r}: level is one of {', '.join(LEVELS)}")
        if vocabulary.find(name) is None:
            raise UserError(f"{directory}: concept {name!r} is not in the vocabulary")


def swap(new: Path, place: Path) -> None:
    """Renames `new` to `place`; what was there is moved aside first and removed last."""
    old = place.with_name(place.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)
