"""`concepts.tsv`: one word a line, with its count, idf, kind and aliases.

"|" separates aliases. Inside a name a tab, a line end, "|" and a backslash are written \\t, \\n or \\r, \\p
and \\\\, so that any tag survives (Tate's hold commas and quotes).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cmask_tf.errors import UserError

KINDS = ("object", "stuff", "part", "attribute", "action", "unknown")
_HEADER = ("name", "count", "idf", "kind", "aliases")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "|": "\\p"}
_UNESCAPES = {code: character for character, code in _ESCAPES.items()}


def write(
    path: Path,
    names: Sequence[str],
    counts: np.ndarray,
    idf: np.ndarray,
    kinds: Sequence[str],
    aliases: Sequence[Sequence[str]],
) -> None:
    """Writes the table; `read` gives equal columns back."""
    lines = ["\t".join(_HEADER)]
    for name, count, weight, kind, others in zip(names, counts, idf, kinds, aliases, strict=True):
        # Nine digits bring a float32 back exactly.
        lines.append(f"{_escape(name)}\t{count}\t{weight:.9g}\t{kind}\t{'|'.join(map(_escape, others))}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def read(path: Path) -> tuple[list[str], np.ndarray, np.ndarray, list[str], list[list[str]]]:
    """Names, counts (int64 [V]), idf (float32 [V]), kinds and aliases.

    Raises:
        UserError: names the line that is not of this form.
    """
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if tuple(lines[0].split("\t")) != _HEADER or len(lines) == 1:
        raise UserError(f"{path}: expected the columns {', '.join(_HEADER)}, then a word a line")
    rows = [_row(line, f"{path}: line {number}") for number, line in enumerate(lines[1:], 2)]
    names, counts, idf, kinds, aliases = map(list, zip(*rows, strict=True))
    return names, np.array(counts, np.int64), np.array(idf, np.float32), kinds, aliases


def _row(line: str, where: str) -> tuple[str, int, float, str, list[str]]:
    try:
        name, count, idf, kind, aliases = line.split("\t")
        others = [_unescape(alias) for alias in aliases.split("|") if alias]
        row = _unescape(name), int(count), float(idf), kind, others
    except ValueError:
        raise UserError(f"{where}: expected {', '.join(_HEADER)}, separated by tabs") from None
    if kind not in KINDS:
        raise UserError(f"{where}: kind {kind!r}: expected one of {', '.join(KINDS)}")
    return row


def _escape(text: str) -> str:
    return re.sub(r"[\\\t\n\r|]", lambda match: _ESCAPES[match.group()], text)


def _unescape(text: str) -> str:
    return re.sub(r"\\.", lambda match: _UNESCAPES.get(match.group(), match.group()), text)
