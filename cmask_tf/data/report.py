"""What is in a record set, for people: a paragraph for the terminal and a page, report.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

REPORT = "report.md"


def paragraph(out: Path, summary: Mapping) -> str:
    """A set in a line, then its bad records: a line for each reason, with an example.

    Args:
        out: the set's folder.
        summary: the content of its dataset.json.
    """
    left_out = "".join(f", {count} left out: {reason}" for reason, count in summary["left_out"].items())
    photos, concepts, tags = summary["examples"], len(summary["concepts"]), len(summary["tags"])
    lines = [f"{out}: {photos} photos, level {summary['level']}, {concepts} concepts, {tags} tags{left_out}"]
    for reason, count in summary["bad"].items():
        lines.append(f"  {count} bad: {reason}; the first: {summary['fault_examples'][reason][0]}")
    return "\n".join(lines)


def markdown(summary: Mapping) -> str:
    """Everything that was counted, as a page; `summary` as above."""
    photos, files = summary["examples"], len(summary["shards"])
    blocks = [
        f"# {summary['source'] or 'Record set'}",
        f"{photos} photos in {files} files, level {summary['level']}; {summary['read']} records read.",
    ]
    for key, title in (("bad", "Bad records, skipped"), ("left_out", "Left out: nothing wrong, no use")):
        if summary[key]:
            examples = [line for reason in summary[key] for line in summary["fault_examples"][reason]]
            blocks += [f"## {title}", _table("reason", "records", summary[key]), "The first of each:"]
            blocks.append("\n".join(f"- {_plain(line)}" for line in examples))
    for key, title in (("concepts", "Concepts with boxes or masks"), ("tags", "Tags")):
        if summary[key]:
            by_count = dict(sorted(summary[key].items(), key=lambda item: (-item[1], item[0])))
            blocks += [f"## {title}: {len(by_count)}", _table("name", "photos", by_count)]
    return "\n\n".join(blocks) + "\n"


def _table(left: str, right: str, rows: Mapping[str, int]) -> str:
    lines = [f"| {_plain(name)} | {count} |" for name, count in rows.items()]
    return "\n".join([f"| {left} | {right} |", "| --- | ---: |", *lines])


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
