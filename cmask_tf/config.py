"""What `paper()`, `lite()` and `tiny()` take differently: one frozen dataclass a part.

Section numbers are those of the paper (arXiv 1808.06032). `paper()` is the literal reading, `lite()`
what measures best at a fraction of the cost, `tiny()` either design at a width that trains on a CPU
in minutes. A field that is not known is an error, never a silent default.

    config = load("lite", overrides=["refine.epochs=10"])
    config.save(path)
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from pathlib import Path

from cmask_tf.dataclass_values import build, override
from cmask_tf.errors import UserError


@dataclass(frozen=True)
class Backbone:
    """A convolutional feature extractor. Images in: float32 RGB, 0 to 255."""

    name: str = "resnet50"  # resnet50, efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
    width: float = 1.0  # multiplies the channels
    depth: float = 1.0  # multiplies the blocks of each stage, rounded up
    output_stride: int = 32  # 32, or 16 or 8 with a dilated tail
    weights: str | None = None  # "imagenet", a weights file or a model directory; None: random ones


@dataclass(frozen=True)
class Embedding:
    """Three fully connected layers, written as 1x1 convolutions (4.1). The last one is D wide."""

    hidden: tuple[int, ...] = (4096, 4096)
    output_activation: str = "relu"  # "relu" is the paper's; word vectors are signed: "linear"


@dataclass(frozen=True)
class Attention:
    """The image sizes (square, px) at which attention is computed (4.3).

    The same size twice is a single attention map (Table 3's Ours-singleAtt): it comes on both channels.
    """

    sizes: tuple[int, ...] = (300, 700)
    training: int = 0  # the size at which Stages 1 and 2 train; 0: the first of `sizes`, as in the paper

    @property
    def training_size(self) -> int:
        return self.training or self.sizes[0]


@dataclass(frozen=True)
class Refinement:
    """Two 1x1 convolutions from V coarse to V refined maps (4.2)."""

    bottleneck: int = 2000


@dataclass(frozen=True)
class Segmentation:
    """The label-agnostic segmentation network (4.3, supplement 3)."""

    design: str = "paper"  # "paper": five-channel Inception-V2; "lite": a pyramid on the backbone's maps
    size: int = 224
    width: float = 1.0  # "paper": multiplies Inception-V2's channels
    low_level: int = 64  # channels of the 7x7 low-level stream
    units: int = 3  # dense units
    growth: int = 32  # channels that a dense unit adds
    convolutions: int = 2  # 3x3 convolutions in a dense unit
    channels: int = 64  # "lite": channels of the decoder
    weights: str | None = None  # "paper": a checkpoint of tf-slim's inception_v2; None: random ones


@dataclass(frozen=True)
class Mixing:
    """Weakly supervised mixing (4.4): how the neighbour p(q) of a concept q is found."""

    neighbours: str = "pmi"  # "pmi": cosine of word vectors; "second_order": substitutes


@dataclass(frozen=True)
class Verification:
    """Whether the concept is in the photo (supplement 5)."""

    hidden: int = 0  # width of networks of its own, trained on tags; 0: the embedding network (the paper's)


@dataclass(frozen=True)
class Schedule:
    """The optimiser, its rates (a linear warm-up, then a cosine down to zero) and what keeps it steady."""

    epochs: int = 10
    batch: int = 32  # the global batch, over all replicas
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05  # share of all steps
    backbone_rate: float = 1.0  # the backbone's learning rate over the others'
    patience: int = 0  # epochs without a better one after which training ends; 0: never early
    validation_photos: int = 500  # at most, evenly spread and the same each time; 0: all
    optimizer: str = "adamw"  # "adamw", or "sgd": Nesterov momentum 0.9; weight decay is decoupled in both
    clip_norm: float = 0.0  # the gradient of all variables together is scaled down to this norm; 0: never
    ema: float = 0.0  # decay of averaged weights, which are validated and saved in place of the last; 0: none
    frozen_stages: int = 0  # of the backbone, do not learn: 1 the stem, 2 all up to c2, ... 5 up to c5


@dataclass(frozen=True)
class EmbeddingTraining(Schedule):
    """Stage 1 (4.1)."""

    tags: int = 0  # of a photo, at most, drawn anew each epoch; 0: all


@dataclass(frozen=True)
class RefinementTraining(Schedule):
    """Stage 2 (4.2): Eqn. 2 and the spatial discrimination loss."""

    matching_weight: float = 1e-6  # c in Eqn. 2
    matching_maps: int = 800  # N in Eqn. 2
    matching_scope: str = "all"  # "all", or "tagged": only image-level concepts tagged in the photo
    threshold: float = 0.2  # B in Eqn. 2, on cosines
    discrimination_weight: float = 1.0
    keep_positives: bool = False  # leave out locations where concept j is annotated too
    min_cooccurrence: int = 5  # images that must hold a pair before O(i, j) exists
    dice_weight: float = 0.0  # soft Dice beside the cross entropy of annotated concepts
    balance: float = 0.0  # photos of concepts on a smaller share of the photos come more often; 0: none do
    literal: bool = False  # the step as the paper has it: V maps of student and teacher; the slow reference


@dataclass(frozen=True)
class SegmentationTraining(Schedule):
    """Stage 3 (4.3)."""

    dice_weight: float = 0.0
    attention_noise: float = 0.0  # standard deviation of smooth noise added to the attention
    concepts: int = 0  # "lite": of a photo, at most, drawn anew each epoch; 0: all
    box_weight: float = 0.0  # "lite": of the loss of concepts that have boxes alone; 0: masks alone teach


@dataclass(frozen=True)
class VerificationTraining(Schedule):
    """The verification network, after Stage 3; only where `verification.hidden` asks for one."""

    negatives: int = (
        0  # words, drawn anew each time, that a photo is not to have; 0: all that it is not tagged with
    )


@dataclass(frozen=True)
class Config:
    """A whole system: the networks and the three trainings."""

    name: str
    backbone: Backbone = field(default_factory=Backbone)
    embedding: Embedding = field(default_factory=Embedding)
    attention: Attention = field(default_factory=Attention)
    refinement: Refinement = field(default_factory=Refinement)
    segmentation: Segmentation = field(default_factory=Segmentation)
    mixing: Mixing = field(default_factory=Mixing)
    verification: Verification = field(default_factory=Verification)
    embed: EmbeddingTraining = field(default_factory=EmbeddingTraining)
    refine: RefinementTraining = field(default_factory=RefinementTraining)
    segment: SegmentationTraining = field(default_factory=SegmentationTraining)
    verify: VerificationTraining = field(default_factory=VerificationTraining)
    precision: str = "float32"  # of training: "float32", "mixed_bfloat16", "mixed_float16"
    seed: int = 0

    def save(self, path: Path) -> None:
        """Writes the config as JSON that `load` reads back to an equal Config."""
        Path(path).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def paper() -> Config:
    """The paper, literally: ResNet-50 at 300 and 700 px, 4096-d head, Inception-V2 at 224 px."""
    return Config(name="paper")


def lite() -> Config:
    """What measures best at a fraction of the cost; EfficientNet-Lite0 with ImageNet weights."""
    net = Backbone(name="efficientnet_lite0", output_stride=16, weights="imagenet")
    return Config(
        name="lite",
        backbone=net,
        embedding=Embedding(hidden=(512, 512), output_activation="linear"),
        attention=Attention(sizes=(384, 384), training=300),
        refinement=Refinement(bottleneck=256),
        segmentation=Segmentation(design="lite", size=384, channels=64, low_level=16),
        mixing=Mixing(neighbours="second_order"),
        verification=Verification(hidden=512),
        embed=EmbeddingTraining(epochs=3, batch=32, learning_rate=1e-3, backbone_rate=0.2, frozen_stages=3),
        refine=RefinementTraining(
            epochs=24,
            batch=16,
            learning_rate=1e-3,
            backbone_rate=0.2,
            frozen_stages=3,
            matching_weight=0.01,
            matching_scope="tagged",
            discrimination_weight=0.3,
            keep_positives=True,
            dice_weight=0.5,
        ),
        segment=SegmentationTraining(
            epochs=8,
            batch=8,
            learning_rate=1e-3,
            backbone_rate=0.2,
            dice_weight=1.0,
            attention_noise=0.1,
            concepts=6,
            box_weight=0.5,
        ),
        verify=VerificationTraining(epochs=4, batch=16, learning_rate=1e-3, weight_decay=1e-3),
    )


def tiny(design: str = "paper") -> Config:
    """Either design at a width that trains from scratch on two CPU cores in minutes.

    Args:
        design: "paper" or "lite".
    """
    if design not in ("paper", "lite"):
        raise UserError(f"tiny(design=...) is 'paper' or 'lite', not {design!r}")
    base = paper() if design == "paper" else lite()
    name = "resnet50" if design == "paper" else "efficientnet_lite0"
    rates: dict[str, typing.Any] = {"learning_rate": 2e-3, "backbone_rate": 1.0}
    # Stride 8 keeps the paper's proportion of map to image: 12x12 and 20x20 for 10x10 and 22x22.
    net = Backbone(name=name, width=0.25, depth=0.34, output_stride=8)
    return dataclasses.replace(
        base,
        name=f"tiny-{design}",
        backbone=net,
        embedding=dataclasses.replace(base.embedding, hidden=(256, 256)),
        attention=Attention(sizes=(96, 160)),
        refinement=Refinement(bottleneck=128),
        mixing=Mixing(neighbours="second_order"),
        segmentation=dataclasses.replace(
            base.segmentation,
            size=96,
            width=0.125,
            low_level=16,
            units=2,
            growth=8,
            channels=24,
        ),
        embed=dataclasses.replace(base.embed, epochs=7, batch=32, frozen_stages=0, **rates),
        # Of little data and few steps, softer negatives and Dice make more: ConceptWorld's validation photos.
        refine=dataclasses.replace(
            base.refine,
            epochs=11,
            batch=8,
            frozen_stages=0,
            discrimination_weight=0.3,
            keep_positives=True,
            dice_weight=0.5,
            **rates,
        ),
        segment=dataclasses.replace(
            base.segment, epochs=3, batch=16, attention_noise=0.2, dice_weight=1.0, box_weight=0.0, **rates
        ),
        verification=Verification(hidden=256),
        verify=VerificationTraining(epochs=8, batch=16, learning_rate=1e-3, weight_decay=1e-3),
    )


PRESETS = {
    "paper": paper,
    "lite": lite,
    "tiny": tiny,
    "tiny-lite": lambda: tiny("lite"),
}


def load(source: str, overrides: typing.Sequence[str] = ()) -> Config:
    """A preset by name or a JSON file, with single fields overridden.

    Args:
        source: a key of `PRESETS`, or a file written by `Config.save`.
        overrides: "part.field=value" strings; the value is JSON, or a bare string.

    Raises:
        UserError: an unknown preset, field or part, a value of the wrong type, or a broken file.
    """
    if source in PRESETS:
        values, where = dataclasses.asdict(PRESETS[source]()), f"config {source}"
    else:
        # A file of an earlier version lacks new fields, which can be overridden all the same.
        values, where = _read_json(Path(source)), str(source)
        values = dataclasses.asdict(build(Config, values, where))
    for text in overrides:
        override(values, text)
    return from_dict(values, where)


def from_dict(values: dict, where: str = "config") -> Config:
    """A Config from plain values; `where` is named in errors."""
    config = build(Config, values, where)
    _validate(config, where)
    return config


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise UserError(f"{path}: no such config; expected one of {', '.join(PRESETS)}, or a JSON file")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a JSON object of config fields")
    if isinstance(segmentation := values.get("segmentation"), dict):
        # Earlier versions had it, null in the paper's design.
        if segmentation.pop("encoder", None) is not None:
            raise UserError(
                f"{path}: segmentation.encoder: Stage 3 of an earlier version, with a backbone of its own; "
                "train it again"
            )
    return values


TRAININGS = ("embed", "refine", "segment", "verify")
_CHOICES = {
    ("backbone", "name"): ("resnet50", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"),
    ("backbone", "output_stride"): (8, 16, 32),
    ("embedding", "output_activation"): ("relu", "linear"),
    ("segmentation", "design"): ("paper", "lite"),
    ("mixing", "neighbours"): ("pmi", "second_order"),
    ("refine", "matching_scope"): ("all", "tagged"),
    **{(part, "optimizer"): ("adamw", "sgd") for part in TRAININGS},
}
_PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def _validate(config: Config, where: str) -> None:
    for (part, name), allowed in _CHOICES.items():
        value = getattr(getattr(config, part), name)
        if value not in allowed:
            raise UserError(f"{where}: {part}.{name} is one of {', '.join(map(str, allowed))}, not {value!r}")
    if len(config.attention.sizes) != 2:
        raise UserError(f"{where}: attention.sizes needs two sizes, as in [300, 700]")
    lite = config.segmentation.design == "lite"
    if lite and config.segmentation.size != config.attention.sizes[0]:
        raise UserError(
            f"{where}: segmentation.design 'lite' has the backbone's maps of the first attention size: "
            f"segmentation.size is {config.attention.sizes[0]}, not {config.segmentation.size}"
        )
    if lite and config.segmentation.weights is not None:
        raise UserError(f"{where}: segmentation.weights goes with segmentation.design 'paper'")
    if config.precision not in _PRECISIONS:
        raise UserError(f"{where}: precision is one of {', '.join(_PRECISIONS)}, not {config.precision!r}")
    if not 0 <= config.refine.balance < 1:
        raise UserError(f"{where}: refine.balance is a share of the photos, 0 or more and below 1")
    for part in TRAININGS:
        _validate_schedule(getattr(config, part), f"{where}: {part}")
    counts = {
        "attention.training": config.attention.training,
        "embed.tags": config.embed.tags,
        "segment.concepts": config.segment.concepts,
        "verify.negatives": config.verify.negatives,
        "verification.hidden": config.verification.hidden,
    }
    for name, value in counts.items():
        if value < 0:
            raise UserError(f"{where}: {name} is 0 or more")
    if config.segment.box_weight < 0 or (config.segment.box_weight and not lite):
        raise UserError(f"{where}: segment.box_weight is 0 or more, and 0 but for segmentation.design 'lite'")
    if config.segment.frozen_stages:
        raise UserError(f"{where}: segment.frozen_stages is 0: Stage 3 trains no backbone")


def _validate_schedule(schedule: Schedule, where: str) -> None:
    if schedule.epochs < 1 or schedule.batch < 1:
        raise UserError(f"{where}.epochs and {where.split()[-1]}.batch are at least 1")
    if schedule.patience < 0 or schedule.validation_photos < 0:
        raise UserError(f"{where}.patience and {where.split()[-1]}.validation_photos are 0 or more")
    if schedule.clip_norm < 0:
        raise UserError(f"{where}.clip_norm is 0 (never) or a norm above it, not {schedule.clip_norm:g}")
    if not 0 <= schedule.ema < 1:
        raise UserError(f"{where}.ema is a decay, 0 (none) or more and below 1, not {schedule.ema:g}")
    if not 0 <= schedule.frozen_stages <= 5:
        raise UserError(f"{where}.frozen_stages is 0 to 5, not {schedule.frozen_stages}")
