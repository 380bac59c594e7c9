"""The benchmarks of the graph: their forms are the same graph, and the tables say so."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from cmask_tf import config

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def paths():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def tiny():
    from scaled_model import Sizes

    net = config.Backbone(name="efficientnet_lite0", width=0.125, depth=0.2, output_stride=8)
    made = config.tiny("lite")
    made = dataclasses.replace(
        made,
        backbone=net,
        embedding=config.Embedding(hidden=(16, 16)),
        attention=config.Attention(sizes=(48, 80)),
        refinement=config.Refinement(bottleneck=12),
        mixing=config.Mixing(neighbours="pmi"),
        segmentation=dataclasses.replace(made.segmentation, size=48, channels=8, low_level=4),
    )
    return Sizes(made, concepts=20, dim=16, boxed=6)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    import paper_graph

    work = tmp_path_factory.mktemp("graphs")
    return work, paper_graph.export_all(tiny(), None, work)


def test_the_literal_graph_and_ours_are_equal(exported):
    import paper_graph

    work, counts = exported
    assert counts["literal"] > counts["ours"] > 0
    agreement, times = paper_graph.compare(work, rounds=1)
    assert min(one["span"] for one in agreement.values()) > 0.5
    assert agreement["ours"]["apart"] < 1e-4
    assert agreement["ours"]["attention"] < 1e-4
    assert agreement["ours"]["iou"] > 0.99
    assert 0 < agreement["float16 tables"]["apart"] < 0.05
    assert 0.5 < agreement["bfloat16"]["iou"] < 1
    assert {len(values) for values in times.values()} == {1}


def test_memory_is_read_of_a_process_that_answers(exported):
    import paper_graph

    found = paper_graph.memory_of(exported[0], "ours")
    assert paper_graph.memory_of(exported[0], "")["disk"] == 0
    assert 0.1 < found["VmRSS"] <= found["VmHWM"]
    assert found["disk"] > 0


def test_the_report_of_given_figures():
    import paper_graph

    same = {"apart": 0.0, "attention": 0.0, "score": 0.0, "iou": 1.0, "span": 0.9}
    times = {
        "literal": [4.0, 8.0, 4.0],
        "ours": [2.0, 2.0, 2.0],
        "float16 tables": [1.0] * 3,
        "bfloat16": [1.0] * 3,
    }
    times |= {"matmul": [1.0] * 3, "matmul bfloat16": [0.5] * 3}
    memory = {
        "": {"VmHWM": 0.5, "VmRSS": 0.5, "disk": 0.0},
        "literal": {"VmHWM": 3.0, "VmRSS": 2.0, "disk": 1.0},
        "ours": {"VmHWM": 2.0, "VmRSS": 1.0, "disk": 0.5},
    }
    agreement, counts = (dict.fromkeys(paper_graph.GRAPHS, one) for one in (same, 3e9))
    text = paper_graph.report(counts, memory, agreement, times, cube=1000)
    # 3 GFLOP in the time of two products of 2 GFLOP.
    assert "| ours | 2.000 | 2.00 | 3.0 | 0.75 | 0.0e+00 |" in text
    assert "| ours | 0.50 | 2.00 | 1.00 | 1.50 | 2.00 |" in text


def test_the_curve_of_concepts():
    import concept_curve

    curve = concept_curve.measure(tiny(), None, counts=(1, 3), rounds=2, chunk=2)
    assert curve["counts"] == [1, 3]
    assert len(curve["together"]) == 2
    assert np.min([curve["single"], *curve["together"]]) > 0


def test_the_curve_of_given_figures():
    import concept_curve

    text = concept_curve.report({"paper": {"counts": [1, 5], "together": [1.0, 2.0], "single": 1.2}})
    assert "| 5 | 2.000 | 6.000 | 3.00 |" in text
    assert "250.0 ms" in text


@pytest.fixture(scope="module")
def latency(tmp_path_factory):
    import lite_latency

    model = lite_latency.random_model(tmp_path_factory.mktemp("latency"), tiny().settings)
    return lite_latency.measure(model, None, counts=(1, 3), rounds=1, cube=64)


def test_the_latency_of_lite_part_by_part(latency):
    assert latency["apart"]["float32"] < 1e-4 < latency["apart"]["bfloat16"]
    assert set(latency["whole"]) == {1, 3}
    counted = {name for name, part in latency["parts"].items() if "peak" in part}
    assert {"attention at 48 px", "attention at 80 px", "Stage 3's encoder at 48 px"} < counted
    parts = latency["parts"]
    assert parts["attention at 80 px"]["gflop"] > parts["attention at 48 px"]["gflop"] > 0
    one, many = (parts[f"decode {n} (attention, masks, scores)"]["gflop"] for n in (1, 16))
    assert many == 16 * one > 0


def test_the_latency_report_of_given_figures():
    import lite_latency

    found = {
        "parts": {"a network": {"ms": 20.0, "gflop": 3.0, "peak": 0.75}, "JPEG": {"ms": 1.5}},
        "whole": {
            1: {
                "float32": {"ms": 40.0, "times": 2.0},
                "bfloat16": {"ms": 32.0, "times": 2.5},
                "literal": {"ms": 80.0, "times": 1.0},
            }
        },
        "further": {"float32": 2.0, "bfloat16": 2.1, "literal": 5.0},
        "apart": {"float32": 1e-6, "bfloat16": 0.1, "literal": 0.0},
        "product": 0.3,
        "targets": {"one concept": 32.5, "a further concept": 2.0},
    }
    text = lite_latency.report(found)
    assert "| a network | 20.00 | 3.00 | 0.75 |" in text
    assert "| JPEG | 1.50 |  |  |" in text
    assert "| 1 | 40.0 | 32.0 | 80.0 | 2.00 | 2.50 |" in text
    assert "| a further one | 2.00 | 2.10 | 5.00 |" in text
