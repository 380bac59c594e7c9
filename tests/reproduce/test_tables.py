"""The paper's tables from hand-made scores: which figures enter a cell, and that the paper's never do."""

import pytest
from reproduction_fixture import all_systems, group, metrics, of_maps, of_masks

from cmask_tf.reproduce import scores as reading
from cmask_tf.reproduce import tables


def row(table: tables.Table, *labels: str) -> tables.Row:
    (found,) = [one for one in table.rows if one.labels == labels]
    return found


def means(one: tables.Row) -> list[float | None]:
    return [cell.mean for cell in one.cells]


def test_a_cell_is_the_mean_and_standard_deviation_over_the_seeds():
    scores = {0: {"Ours": of_masks(0.2)}, 1: {"Ours": of_masks(0.3)}, 2: {"Ours": of_masks(0.7)}}
    cell = tables.cell(scores, "Ours", tables.level_value("iou", "mask"))
    assert cell.values == (0.2, 0.3, 0.7)
    assert cell.mean == pytest.approx(0.4)
    assert cell.spread == pytest.approx((0.14 / 2) ** 0.5)  # (0.04 + 0.01 + 0.09) / (3 - 1)
    assert tables.cell({0: scores[0]}, "Ours", tables.level_value("iou", "mask")).spread is None


def test_table_1_takes_mask_and_box_concepts_as_one_set():
    figures = metrics(
        mask=group(1, pointing_game=0.9, soft_iou=0.5), box=group(3, pointing_game=0.5, soft_iou=0.1)
    )
    figures["levels"]["image"] = group(9, pointing_game=0.0, soft_iou=0.0)
    table = tables.attention({0: {"Refined": figures}})
    assert means(row(table, "Refined")) == pytest.approx([(0.9 + 3 * 0.5) / 4, (0.5 + 3 * 0.1) / 4])
    assert row(table, "Refined").paper == (0.810, 0.421)
    assert means(row(table, "Original")) == [None, None]
    assert [one.labels[0] for one in table.rows] == [
        "Original", "Original-Finetuned", "Refined-noNeg", "Refined"
    ]  # fmt: skip


def test_table_2_has_the_papers_rows_and_ours_of_each_level():
    table = tables.levels({0: all_systems()})
    assert means(row(table, "box", "Ours")) == pytest.approx([0.4, 0.5, 0.3])
    assert row(table, "box", "Ours").paper == (0.741, 0.800, 0.609)
    assert means(row(table, "mask", "Closed-set")) == pytest.approx([0.7, 0.8, 0.6])
    assert row(table, "mask", "Closed-set").paper == (None, None, None)
    assert not [one for one in table.rows if one.labels == ("box", "Closed-set")]
    assert not [one for one in table.rows if one.labels[1] in ("Refined", "Ours-noNeg")]


def test_a_detector_that_was_not_scored_says_so_beside_the_papers_figures():
    table = tables.levels({0: all_systems()})
    fcis, star = row(table, "mask", "FCIS"), row(table, "image", "Mask-R-CNN-star")
    assert [cell.text for cell in fcis.cells] == ["not run here"] * 3
    assert fcis.paper == (0.864, 0.596, 0.442)
    assert [cell.text for cell in star.cells] == ["not trained here"] * 3
    scored = tables.levels({0: all_systems() | {"Mask-R-CNN-star": of_masks(0.3)}})
    assert means(row(scored, "image", "Mask-R-CNN-star"))[2] == pytest.approx(0.2)


def test_any_other_system_that_was_scored_is_a_row_of_table_2():
    table = tables.levels({0: all_systems() | {"another detector": of_masks(0.3)}})
    assert means(row(table, "box", "another detector"))[2] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("iou", "text"), [(0.09, "not trained here"), (0.1, "not trained here"), (0.11, None)]
)
def test_a_baseline_that_does_not_beat_the_whole_image_on_the_mask_level_is_not_trained(iou, text):
    scores = {0: all_systems() | {"Saliency-DSS": of_masks(iou, box=0.9)}}
    table, zero = tables.levels(scores), tables.zero_shot(scores)
    assert {cell.text for cell in row(table, "box", "Saliency-DSS").cells} == {text}
    assert row(zero, "Saliency-DSS").cells[0].text == text
    told = [note for note in table.notes if f"Saliency-DSS is not trained here: IoU {iou:.3f}" in note]
    assert bool(told) == (text is not None)


def test_table_3_has_a_row_for_each_level():
    table = tables.ablation({0: all_systems()})
    assert table.measures == ("Ours", "Ours-noNeg", "Ours-singleAtt")
    assert means(row(table, "box")) == pytest.approx([0.3, 0.2, 0.25])
    assert row(table, "box").paper == (0.609, 0.594, 0.599)
    assert row(table, "zero").paper == (None, None, None)


def test_kinds_are_those_of_box_level_concepts_with_enough_photos():
    def concept(kind, level, iou, examples=3):
        return {"kind": kind, "level": level, "examples": examples, **dict.fromkeys(tables.QUALITY, iou)}

    figures = metrics() | {
        "concepts": {
            "sky": concept("stuff", "box", 0.4),
            "sea": concept("stuff", "box", 0.6),
            "fog": concept("stuff", "box", 0.9, examples=2),
            "air": concept("stuff", "image", 0.8),
            "red": concept("attribute", "image", 0.3),
        }
    }
    table = tables.kinds({0: {"Ours": figures}})
    assert means(row(table, "stuff"))[2] == pytest.approx(0.5)
    assert row(table, "stuff").paper == (0.713, 0.868, 0.625)
    assert means(row(table, "part")) == [None] * 3
    assert means(row(table, "attribute, of all levels"))[2] == pytest.approx(0.3)


def test_zero_shot_has_ours_saliency_and_floors():
    table = tables.zero_shot({0: all_systems()})
    assert means(row(table, "Ours")) == pytest.approx([0.1])
    assert row(table, "Ours").paper == (0.436,)
    assert row(table, "Saliency-DSS").paper == (0.298,)
    assert means(row(table, "whole-image")) == pytest.approx([0.1])


def test_verification_counts_pairs_with_a_decision():
    pairs = [("mask", 1, 1), ("mask", 1, 0), ("mask", 0, 1), ("mask", 0, 1), ("box", 1, 1), ("box", 1, "")]
    found = reading.verified(
        {"level": level, "concept": level, "truth": str(t), "found": str(f)} for level, t, f in pairs
    )
    assert found["mask"] == {"precision": 1 / 3, "recall": 1 / 2, "pairs": 4}
    assert found["all"] == {"precision": 2 / 4, "recall": 2 / 3, "pairs": 5}
    table = tables.verification({0: {"Ours": metrics() | {"verification": found}}})
    assert means(row(table, "all levels")) == pytest.approx([1 / 2, 2 / 3])
    assert row(table, "mask (the paper: COCO-80)").paper == (0.70, 0.63)
    assert row(table, "all levels").paper == (None, None)


def test_presence_has_the_systems_with_scores():
    figures = of_masks(0.5) | {"presence": {"auc_macro": 0.7, "mcc": 0.2, "reliability": {"ece": 0.05}}}
    table = tables.presence({0: {"Ours": figures, "GrabCut": of_masks(0.1)}})
    (ours,) = table.rows
    assert ours.labels == ("Ours",)
    by_title = dict(zip(table.measures, means(ours), strict=True))
    assert by_title["AUC per concept"] == 0.7
    assert by_title["Matthews"] == 0.2
    assert by_title["calibration error"] == 0.05
    assert by_title["average precision"] is None
    assert table.source is None


def test_boundary_and_semantic_have_the_systems_with_masks():
    figures = of_masks(0.5) | {"semantic": {"miou": 0.33, "ignored": 0.04}}
    scores = {0: {"Ours": figures, "Refined": of_maps(0.5, 0.5)}}
    (ours,) = tables.boundary(scores).rows
    assert means(ours) == pytest.approx([0.25, 0.15, 0.1, 0.05])
    (ours,) = tables.semantic(scores).rows
    assert means(ours) == [0.33, 0.04]


def test_decisions_stand_below_what_was_decided():
    table = tables.changed_decisions(of_masks(0.5), [("theta (4.4)", "chosen", "0", of_masks(0.4))])
    assert [one.labels for one in table.rows] == [("as configured", "", ""), ("theta (4.4)", "chosen", "0")]
    assert means(table.rows[1]) == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_no_figure_of_the_paper_enters_a_cell():
    """Without any scores every cell is empty or a word, and the paper's columns are full all the same."""
    made = tables.all_tables({0: {}})
    assert not [cell for table in made for one in table.rows for cell in one.cells if cell.values]
    assert all(any(one.paper for one in table.rows) for table in made if table.source)
    told = [value for table in made for one in table.rows for value in one.paper if value is not None]
    assert len(told) == 8 + 30 + 9 + 9 + 2 + 2


def test_every_table_of_the_papers_figures_names_its_source():
    paper = tables.paper_figures()
    assert all(paper[key]["source"] for key in paper if key != "source")
    assert [table.source for table in tables.all_tables({0: {}}) if table.source] == [
        "Table 1", "Table 2", "Table 3", "supplement, Table 1", "section 5.4", "supplement, section 5"
    ]  # fmt: skip
