"""The report: every table in three forms, valid HTML, and the paper's figures in columns of their own."""

import dataclasses
import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from reproduction_fixture import all_systems, of_masks, request, write_scores

from cmask_tf import config
from cmask_tf.reproduce import ablations, report
from cmask_tf.reproduce.plan import report_step
from cmask_tf.reproduce.report import cell_text, grid, write_report
from cmask_tf.reproduce.tables import Cell, Row, Table

KEYS = [
    "attention",
    "levels",
    "ablation",
    "kinds",
    "zero",
    "verification",
    "presence",
    "boundary",
    "semantic",
]
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks that tags close in order; collects tables, ids, addresses and pictures."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tables, self.ids, self.hrefs, self.sources = [], [], [], [], []
        self.cell = None
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.hrefs += [given["href"]] if "href" in given else []
        self.sources += [given["src"]] if "src" in given else []
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.cell = [given.get("class", ""), ""]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("th", "td"):
            self.tables[-1][-1].append(tuple(self.cell))
            self.cell = None

    def handle_data(self, data):
        if self.cell:
            self.cell[1] += data


def figures(reproduction: Path, data: Path, out: Path, seed: int) -> list:
    assert (reproduction.name, data.name, seed) == ("out", "data", 0)
    Image.new("RGB", (4, 3)).save(out / "fig4.png")
    return [
        SimpleNamespace(file=out / "fig4.png", title="Attention <of> maps", caption="A & B", paper="Fig. 4")
    ]


@pytest.fixture
def asked(tmp_path):
    asked = request(tmp_path)
    pairs = [("mask", 1, 1), ("box", 0, 1)]
    write_scores(asked.seed_dir(0), all_systems(), pairs)
    write_scores(asked.seed_dir(1), all_systems(0.1), pairs)
    history = {
        "train": [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}],
        "validation": [{"epoch": 1, "val_iou_mask": 0.1}, {"epoch": 2, "val_iou_mask": 0.2}],
        "kept": {"epoch": 2, "measure": "val_iou", "value": 0.2},
    }
    work = asked.seed_dir(0) / "model.run"
    work.mkdir()
    (work / "history.json").write_text(json.dumps(history))
    logs = asked.out / "logs"
    logs.mkdir()
    (logs / "times.json").write_text(json.dumps({"records": 2, "seed-0/model": 90, "seed-0/scores/Ours": 30}))
    return asked


def test_the_page_is_valid_and_has_every_table_and_picture(asked):
    write_report(asked, figures=figures)
    place = asked.out / "report"
    page = Page((place / "report.html").read_text())
    assert page.ids == ["about", "orderings", *KEYS, "pictures", "settings", "times"]
    assert page.hrefs == [f"#{key}" for key in page.ids]
    assert len(page.tables) == len(KEYS) + 3
    assert page.sources == ["pictures/fig4.png", "pictures/curves.png"]
    assert all((place / source).is_file() for source in page.sources)
    assert "Attention &lt;of&gt; maps" in (place / "report.html").read_text()


def test_markdown_and_json_hold_the_same_tables(asked):
    found = write_report(asked, figures=figures)
    place = asked.out / "report"
    assert json.loads((place / "metrics.json").read_text()) == json.loads(json.dumps(found))
    assert list(found["tables"]) == KEYS
    text = (place / "report.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")][2:-3] == [
        f"## {table['title']}" for table in found["tables"].values()
    ]
    ours = [
        row
        for row in found["tables"]["levels"]["rows"]
        if row["labels"] == {"level": "mask", "model": "Ours"}
    ]
    assert ours[0]["measured"]["IoU"]["values"] == [0.5, 0.6]
    assert ours[0]["paper"]["IoU"] == 0.402
    assert "| mask | Ours | 0.650 ± 0.071 | 0.750 ± 0.071 | 0.550 ± 0.071 | 0.656 | 0.722 | 0.402 |" in text
    assert "seed-0: 2 min 00 s" in text


def test_the_papers_figures_stand_in_columns_of_their_own(asked):
    """Whatever was measured, the marked columns are the paper's file, and no other column changes with it."""
    write_report(asked, figures=figures)
    table_2 = Page((asked.out / "report/report.html").read_text()).tables[2]
    header = table_2[0]
    assert [text for kind, text in header if kind == "paper"] == [
        "paper: precision", "paper: recall", "paper: IoU"
    ]  # fmt: skip
    assert all([kind for kind, _ in row] == [kind for kind, _ in header] for row in table_2)
    by_label = {(row[0][1], row[1][1]): [text for _, text in row[2:]] for row in table_2}
    assert by_label["mask", "FCIS"] == ["not run here"] * 3 + ["0.864", "0.596", "0.442"]
    assert by_label["mask", "Closed-set"][3:] == ["-"] * 3


def test_a_table_without_papers_figures_has_no_such_columns():
    words = grid(Table("k", "T", ("model",), ("AUC",), (Row(("Ours",), (Cell((0.7,)),)),)))
    assert (words.header, words.rows, words.paper) == (("model", "AUC"), (("Ours", "0.700"),), 0)


def test_the_report_tells_every_field_that_is_not_the_presets_paper(asked):
    write_report(asked, figures=figures)
    *_, settings, _ = Page((asked.out / "report/report.html").read_text()).tables
    told = {row[0][1]: tuple(text for _, text in row[1:]) for row in settings[1:]}
    assert told["refine.discrimination_weight"] == ("0.3", "1.0")
    assert told["attention.sizes"] == ("(96, 160)", "(300, 700)")
    here, paper = dataclasses.asdict(asked.config), dataclasses.asdict(config.paper())
    parts = [name for name, value in here.items() if isinstance(value, dict)]
    assert told.keys() == {
        f"{part}.{field}" for part in parts for field in here[part] if here[part][field] != paper[part][field]
    }


def test_cells_tell_their_spread():
    assert cell_text(Cell((0.2, 0.4))) == "0.300 ± 0.141"
    assert cell_text(Cell((0.2,))) == "0.200"
    assert cell_text(Cell()) == "-"
    assert cell_text(Cell(text="not trained")) == "not trained"


def test_orderings_are_stated_with_their_numbers(asked):
    write_report(asked, figures=figures)
    text = (asked.out / "report/report.md").read_text()
    row = "| Ours > Saliency-DSS | IoU, zero | holds | 0.100 | 0.050 | +0.050 | 0.000 | 2 |"
    assert row in text
    assert "| Refined ≥ Refined-noNeg |" in text


def test_ablations_are_one_more_table(asked):
    rows = ablations.rows(asked, None)
    for row in rows:
        write_scores(ablations.place(asked, row), {"Ours": of_masks(0.4)})
    found = write_report(asked, rows, figures)
    table = found["tables"]["decisions"]
    assert len(table["rows"]) == 1 + len(rows)
    assert table["rows"][0]["measured"]["mask"]["values"] == [0.5]
    assert table["rows"][1]["labels"] == {"changed": "PMI variant", "from": "pmi", "to": "ppmi"}


def test_a_report_that_fails_leaves_the_earlier_one(asked):
    write_report(asked, figures=figures)
    before = (asked.out / "report/report.md").read_text()

    def broken(*_):
        raise OSError("no space left")

    with pytest.raises(OSError):
        write_report(asked, figures=broken)
    assert (asked.out / "report/report.md").read_text() == before
    assert not (asked.out / "report.partial").exists()


def test_the_step_finds_config_and_rows_in_out(asked, monkeypatch):
    asked.config.save(asked.config_file)
    rows = ablations.rows(asked, config.tiny("lite"))
    ablations.write_design(asked, rows)
    for row in rows:
        write_scores(ablations.place(asked, row), {"Ours": of_masks(0.4)})
    monkeypatch.setattr(report, "_make_figures", figures)
    words = report_step(asked, with_ablations=True).command
    monkeypatch.setattr(sys, "argv", list(words))
    assert report.main() == 0
    written = json.loads((asked.out / "report/metrics.json").read_text())
    assert written["seeds"] == [0, 1]
    assert written["tables"]["decisions"]["rows"][-1]["labels"]["to"] == "tiny-lite"


def test_the_report_names_no_place_of_the_machine(asked):
    write_report(asked, figures=figures)
    for file in ("report.md", "report.html", "metrics.json"):
        assert str(asked.out.parent) not in (asked.out / "report" / file).read_text()
