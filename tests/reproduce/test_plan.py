"""The steps of a reproduction: their order, their commands, and what each reads."""

from dataclasses import replace
from pathlib import Path

import pytest
from reproduction_fixture import request

from cmask_tf import config
from cmask_tf.reproduce import ablations
from cmask_tf.reproduce.plan import Step, plan

OF_A_SEED = [
    "embedding", "refine", "model", "refine-noNeg", "model-noNeg", "model-singleAtt",
    "saliency", "closed-set",
    "scores/Ours", "scores/Ours-noNeg", "scores/Ours-singleAtt", "scores/Saliency-DSS", "scores/Closed-set",
]  # fmt: skip
FLOORS = ["scores/whole-image", "scores/position-prior", "scores/GrabCut"]
MAPS = ["scores/Original", "scores/Original-Finetuned", "scores/Refined-noNeg", "scores/Refined"]


def step(steps: list[Step], name: str) -> Step:
    (found,) = [one for one in steps if one.name == name]
    return found


def option(one: Step, name: str) -> str:
    return one.command[one.command.index(name) + 1]


def test_data_first_then_seed_after_seed_floors_with_the_first(tmp_path):
    names = [one.name for one in plan(request(tmp_path))]
    of_seed_0 = [f"seed-0/{name}" for name in (*OF_A_SEED, *FLOORS, *MAPS)]
    of_seed_1 = [f"seed-1/{name}" for name in (*OF_A_SEED, *MAPS)]
    assert names == ["records", "vocabulary", *of_seed_0, *of_seed_1]


def test_every_step_reads_only_what_an_earlier_one_wrote(tmp_path):
    asked = request(tmp_path)
    steps = plan(asked)
    steps += ablations.steps(asked, ablations.rows(asked, config.tiny("lite")))
    written: set[Path] = set()
    for one in steps:
        assert one.writes not in written
        assert {path for path in one.reads if asked.out in path.parents} <= written, one.name
        written.add(one.writes)


def test_each_training_says_only_what_it_changes(tmp_path):
    steps, out = plan(request(tmp_path)), tmp_path / "out"
    embedding = step(steps, "seed-1/embedding")
    assert option(embedding, "--config") == str(out / "config.json")
    assert option(embedding, "--set") == "seed=1"
    assert "--set" not in step(steps, "seed-1/refine").command
    without = step(steps, "seed-1/refine-noNeg")
    assert option(without, "--from") == str(out / "seed-1/embedding")
    assert option(without, "--set") == "refine.discrimination_weight=0"
    assert option(step(steps, "seed-1/model-noNeg"), "--from") == str(out / "seed-1/refine-noNeg")
    single = step(steps, "seed-1/model-singleAtt")
    assert option(single, "--from") == str(out / "seed-1/refine")
    assert option(single, "--set") == "attention.sizes=[96,96]"
    assert step(steps, "seed-1/saliency").command[1:3] == ("baseline", "saliency")
    assert option(step(steps, "seed-1/closed-set"), "--like") == str(out / "seed-1/model")


def test_where_ours_has_one_attention_size_no_other_model_has(tmp_path):
    two = request(tmp_path)
    one = replace(two, config=replace(two.config, attention=replace(two.config.attention, sizes=(96, 96))))
    left_out = {s.name for s in plan(two)} - {s.name for s in plan(one)}
    assert left_out == {
        f"seed-{n}/{name}" for n in two.seeds for name in ("model-singleAtt", "scores/Ours-singleAtt")
    }


def test_every_system_is_scored_on_the_same_test_photos(tmp_path):
    scoring = [one for one in plan(request(tmp_path)) if "/scores/" in one.name]
    assert {option(one, "--images") for one in scoring} == {str(tmp_path / "data/images/test")}
    assert {option(one, "--masks") for one in scoring} == {
        str(tmp_path / "data/coco/concept_masks_test.json")
    }
    prior = step(scoring, "seed-0/scores/position-prior")
    assert option(prior, "--floor") == "position-prior"
    assert option(prior, "--records") == str(tmp_path / "out/records")


def test_results_of_a_detector_are_scored_under_their_files_name(tmp_path):
    file = tmp_path / "out/seed-1/detections/Mask-R-CNN-star.json"
    file.parent.mkdir(parents=True)
    file.touch()
    scored = step(plan(request(tmp_path)), "seed-1/scores/Mask-R-CNN-star")
    assert option(scored, "--detections") == str(file)


def test_words_have_as_many_dimensions_as_the_head_is_wide_or_fewer(tmp_path):
    data = tmp_path / "data/tags"
    built = step(plan(request(tmp_path)), "vocabulary")
    assert str(data / "train.jsonl") in built.command
    assert option(built, "--dim") == "256" and "--or-fewer" in built.command
    assert "--kinds" not in built.command
    data.mkdir(parents=True)
    (data / "all_tags_for_pmi.jsonl").touch()
    (tmp_path / "data/concepts.json").touch()
    built = step(plan(request(tmp_path)), "vocabulary")
    assert str(data / "all_tags_for_pmi.jsonl") in built.command
    assert option(built, "--kinds") == str(tmp_path / "data/concepts.json")


@pytest.mark.parametrize("keep", [True, False])
def test_ablations_turn_each_decision_round(tmp_path, keep):
    base = request(tmp_path)
    tiny = replace(base.config, refine=replace(base.config.refine, keep_positives=keep))
    asked = replace(base, config=tiny)
    rows = ablations.rows(asked, None)
    steps = ablations.steps(asked, rows)
    assert [one.name for one in rows] == [
        "ppmi",
        "activation",
        "positives",
        "neighbours",
        "theta-0",
        "theta-1",
    ]
    assert option(step(steps, "ablations/ppmi/vocabulary"), "--variant") == "ppmi"
    assert option(step(steps, "ablations/ppmi/embedding"), "--vocabulary").endswith("ppmi/vocabulary")
    assert "embedding.output_activation=linear" in step(steps, "ablations/activation/embedding").command
    positives = step(steps, "ablations/positives/refine")
    assert option(positives, "--set") == f"refine.keep_positives={str(not keep).lower()}"
    assert option(positives, "--from") == str(asked.out / "seed-0/embedding")
    assert option(step(steps, "ablations/neighbours/model"), "--neighbours") == "pmi"
    assert option(step(steps, "ablations/theta-1/model"), "--theta") == "1"
    assert [one.name for one in steps if one.name.endswith("scores/Ours")] == [
        f"ablations/{row.name}/scores/Ours" for row in rows
    ]


def test_the_other_design_is_a_row_where_there_is_one(tmp_path):
    asked = request(tmp_path)
    rows = ablations.rows(asked, config.tiny("lite"))
    assert ablations.read_design(asked) is None
    ablations.write_design(asked, rows)
    assert ablations.read_design(asked) == config.tiny("lite")
    assert (rows[-1].here, rows[-1].instead) == ("tiny-paper", "tiny-lite")
    first = step(ablations.steps(asked, rows), "ablations/design/embedding")
    assert config.load(option(first, "--config")) == config.tiny("lite")
