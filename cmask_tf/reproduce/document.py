"""A document of sections, tables and pictures, as Markdown and as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_CSS = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 62rem; padding: 0 1rem 3rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.25rem; margin-top: 2.5rem }
nav ul { columns: 18rem; padding-left: 1.2rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: right; white-space: nowrap }
thead th { border-bottom: 2px solid #999 }
th.label, td.label { text-align: left }
th.paper, td.paper { background: #f1f0ea; color: #665 }
figure { margin: 1.5rem 0 } figure img { max-width: 100%; height: auto } figcaption { font-size: .9rem }
"""


@dataclass(frozen=True)
class Grid:
    """A table of words.

    Attributes:
        header: titles of the columns.
        rows: as many words each.
        labels: how many leading columns are names.
        paper: how many last columns hold the paper's figures.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1
    paper: int = 0

    def kind(self, column: int) -> str:
        """ "label", "paper" or "" for what is measured here."""
        if column < self.labels:
            return "label"
        return "paper" if column >= len(self.header) - self.paper else ""


@dataclass(frozen=True)
class Picture:
    """A file beside the document, and what it shows."""

    file: str
    title: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading; `key` is its address. Blocks that are strings are paragraphs."""

    key: str
    title: str
    blocks: tuple[str | Grid | Picture, ...]


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The document as Markdown."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += [_markdown_block(block), ""]
    return "\n".join(lines)


def html(title: str, sections: Sequence[Section]) -> str:
    """The document as one HTML page with a table of contents; pictures lie beside it."""
    contents = "\n".join(f'<li><a href="#{escape(s.key)}">{escape(s.title)}</a></li>' for s in sections)
    body = "\n".join(
        f'<section id="{escape(s.key)}">\n<h2>{escape(s.title)}</h2>\n'
        + "\n".join(map(_html_block, s.blocks))
        + "\n</section>"
        for s in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n<nav>\n<ul>\n{contents}\n</ul>\n</nav>\n{body}\n</body>\n</html>\n"
    )


def _markdown_block(block: str | Grid | Picture) -> str:
    if isinstance(block, Picture):
        return f"![{block.title}]({block.file})\n\n*{block.title}.* {block.caption}"
    if isinstance(block, str):
        return block
    rule = ["---" if block.kind(i) == "label" else "---:" for i in range(len(block.header))]
    rows = (block.header, rule, *block.rows)
    return "\n".join(f"| {' | '.join(word.replace('|', '/') for word in row)} |" for row in rows)


def _html_block(block: str | Grid | Picture) -> str:
    if isinstance(block, Picture):
        file, title, caption = escape(block.file), escape(block.title), escape(block.caption)
        return (
            f'<figure><img src="{file}" alt="{title}" loading="lazy">'
            f"<figcaption><strong>{title}.</strong> {caption}</figcaption></figure>"
        )
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    head = _html_row(block, block.header, "th")
    rows = "\n".join(_html_row(block, row, "td") for row in block.rows)
    return f'<div class="scroll"><table>\n<thead>{head}</thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>'


def _html_row(grid: Grid, words: Sequence[str], tag: str) -> str:
    cells = (
        f'<{tag} class="{kind}">{escape(word)}</{tag}>'
        if (kind := grid.kind(i))
        else f"<{tag}>{escape(word)}</{tag}>"
        for i, word in enumerate(words)
    )
    return f"<tr>{''.join(cells)}</tr>"
