"""The presets are what they are said to be; a misspelt or mistyped field is an error."""

import dataclasses
import json

import pytest

from cmask_tf import config as configs
from cmask_tf.errors import UserError


def test_paper_is_the_literal_reading():
    paper = configs.paper()
    assert paper.backbone == configs.Backbone("resnet50", 1.0, 1.0, 32, None)
    assert paper.embedding == configs.Embedding(hidden=(4096, 4096), output_activation="relu")
    assert paper.attention.sizes == (300, 700)
    assert paper.refinement.bottleneck == 2000
    assert (paper.refine.matching_maps, paper.refine.matching_weight) == (800, 1e-6)
    assert (paper.refine.threshold, paper.refine.discrimination_weight) == (0.2, 1.0)
    assert not paper.refine.keep_positives and not paper.refine.balance
    assert (paper.segmentation.design, paper.segmentation.size) == ("paper", 224)
    assert paper.mixing.neighbours == "pmi"


def test_stages_1_and_2_may_train_at_a_size_of_their_own():
    assert configs.paper().attention.training_size == configs.paper().attention.sizes[0] == 300
    assert configs.lite().attention.training_size == 300 < configs.lite().attention.sizes[0]
    own = configs.load("tiny", ["attention.training=80"])
    assert (own.attention.training_size, own.attention.sizes) == (80, (96, 160))
    with pytest.raises(UserError, match="attention.training is 0 or more"):
        configs.load("tiny", ["attention.training=-1"])


def test_tiny_takes_either_design():
    assert configs.tiny("paper").segmentation.design == "paper"
    assert configs.tiny("lite").segmentation.design == "lite"
    with pytest.raises(UserError, match="'paper' or 'lite', not 'small'"):
        configs.tiny("small")


@pytest.mark.parametrize("preset", configs.PRESETS)
def test_every_preset_survives_a_round_trip_through_json(preset, tmp_path):
    config = configs.load(preset)
    config.save(tmp_path / "config.json")
    assert configs.load(str(tmp_path / "config.json")) == config


def test_single_fields_are_overridden():
    config = configs.load(
        "lite",
        ["refine.epochs=3", "attention.sizes=[200, 320]", "segmentation.size=200", "mixing.neighbours=pmi"],
    )
    assert config.refine.epochs == 3
    assert config.attention.sizes == (200, 320)
    assert config.mixing.neighbours == "pmi"
    assert config.segment == configs.lite().segment


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("refine.epoch=3", "no config field 'refine.epoch'"),
        ("refine.epochs", "expected field=value"),
        ("refine.epochs=many", "refine.epochs is of type int, not 'many'"),
        ("refine.epochs=true", "refine.epochs is of type int, not True"),
        ("refine.epochs=0", "at least 1"),
        ("segment.patience=-1", "segment.patience and segment.validation_photos are 0 or more"),
        ("refine.validation_photos=-5", "refine.validation_photos are 0 or more"),
        ("embed.tags=-1", "embed.tags is 0 or more"),
        ("refine.balance=1", "refine.balance is a share of the photos"),
        ("backbone.name=vgg", "backbone.name is one of resnet50"),
        ("embed.optimizer=lion", "embed.optimizer is one of adamw, sgd, not 'lion'"),
        ("segment.clip_norm=-1", "config lite: segment.clip_norm is 0 .never. or a norm above it, not -1"),
        ("refine.ema=1", "refine.ema is a decay, 0 .none. or more and below 1, not 1"),
        ("embed.frozen_stages=6", "embed.frozen_stages is 0 to 5, not 6"),
        ("precision=float16", "precision is one of float32, mixed_bfloat16, mixed_float16, not 'float16'"),
        (
            "segmentation.weights=inception_v2.ckpt",
            "segmentation.weights goes with segmentation.design 'paper'",
        ),
        ("attention.sizes=[300]", "needs two sizes"),
        ("segmentation.size=224", "segmentation.size is 384, not 224"),
        ("backbone=3", "backbone is an object of fields"),
    ],
)
def test_a_bad_override_is_one_clear_line(override, message):
    with pytest.raises(UserError, match=message) as error:
        configs.load("lite", [override])
    assert "\n" not in str(error.value)


def test_what_regularises_is_off_unless_asked_for():
    for preset in configs.PRESETS:
        config = configs.load(preset)
        assert config.precision == "float32" and config.segmentation.weights is None
        for schedule in (config.embed, config.refine, config.segment):
            assert schedule.optimizer == "adamw"
            assert not (schedule.clip_norm or schedule.ema)
        frozen = [part.frozen_stages for part in (config.embed, config.refine, config.segment)]
        assert frozen == ([3, 3, 0] if preset == "lite" else [0, 0, 0])


@pytest.mark.parametrize(("preset", "weight"), [("lite", -1), ("paper", 1)])
def test_boxes_teach_stage_3_of_lite_alone(preset, weight):
    with pytest.raises(UserError, match="segment.box_weight is 0 or more, and 0 but for segmentation.design"):
        configs.load(preset, [f"segment.box_weight={weight}"])
    assert configs.load("lite", ["segment.box_weight=1"]).segment.box_weight == 1


@pytest.mark.parametrize("preset", ["paper", "lite"])
def test_stage_3_has_no_backbone_to_freeze(preset):
    with pytest.raises(UserError, match="segment.frozen_stages is 0: Stage 3 trains no backbone"):
        configs.load(preset, ["segment.frozen_stages=1"])


def test_a_file_with_a_misspelt_field_names_it_and_the_file(tmp_path):
    values = dataclasses.asdict(configs.tiny())
    values["refine"]["matching_wieght"] = 1.0
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"mine\.json: unknown field refine\.matching_wieght"):
        configs.load(str(file))


def test_a_field_that_an_earlier_version_did_not_write_is_overridden(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"name": "mine", "refine": {"epochs": 4}}')
    config = configs.load(str(file), ["refine.balance=0.1"])
    assert (config.refine.balance, config.refine.epochs, config.refine.batch) == (0.1, 4, 32)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ("[]", "JSON object"), ("{}", "name is missing")]
)
def test_a_broken_file_is_named(tmp_path, text, message):
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        configs.load(str(file))


def test_a_config_that_is_neither_preset_nor_file():
    with pytest.raises(UserError, match="no such config; expected one of paper, lite"):
        configs.load("huge")


def test_a_file_of_the_version_whose_stage_3_had_a_backbone(tmp_path):
    values = dataclasses.asdict(configs.tiny())
    file = tmp_path / "config.json"
    file.write_text(json.dumps(values | {"segmentation": values["segmentation"] | {"encoder": None}}))
    assert configs.load(str(file)) == configs.tiny()
    file.write_text(json.dumps(values | {"segmentation": values["segmentation"] | {"encoder": {}}}))
    with pytest.raises(
        UserError, match=r"config\.json: segmentation\.encoder: Stage 3 of an earlier version"
    ):
        configs.load(str(file))
