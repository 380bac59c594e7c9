"""docs/configuration.md says what the dataclasses say."""

import dataclasses
import functools
from pathlib import Path

from cmask_tf import config as configs
from cmask_tf.config_document import document

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"


@functools.cache
def lines() -> list[str]:
    return document().splitlines()


def row(name: str) -> list[str]:
    [line] = [line for line in lines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_the_page_is_up_to_date():
    made_by = "run: python -m cmask_tf.config_document > docs/configuration.md"
    assert PAGE.read_text(encoding="utf-8") == document(), made_by


def test_every_field_has_a_row():
    for part, values in dataclasses.asdict(configs.tiny()).items():
        for name in values if isinstance(values, dict) else ():
            assert row(f"{part}.{name}")
        if not isinstance(values, dict):
            assert row(part)


def test_a_row_has_type_default_presets_and_the_comment():
    assert row("attention.sizes")[1:7] == [
        "list of int",
        "[300, 700]",
        "[300, 700]",
        "**[384, 384]**",
        "**[96, 160]**",
        "**[96, 160]**",
    ]
    assert row("refine.epochs")[2:4] == ["10", "10"]  # inherited from Schedule
    assert row("embed.warmup")[-1] == "share of all steps"
    assert row("verify.negatives")[-1].startswith("words, drawn anew each time")  # a field of several lines
    assert row("backbone.weights")[1:3] == ["str or null", "null"]
