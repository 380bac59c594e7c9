"""docs/configuration.md, made of the config's dataclasses and of the comments behind their fields.

python -m cmask_tf.config_document > docs/configuration.md
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import json
import tokenize
import typing
from collections.abc import Mapping

from cmask_tf import config as configs

_HEAD = """\
# Configuration

`--config` takes a preset (`paper`, `lite`, `tiny`, `tiny-lite`) or a JSON file; `--set refine.epochs=10`
changes one field, of either. The value is JSON, or a bare string: `--set attention.sizes=[300,700]`,
`--set backbone.name=resnet50`. A field that is not known, and a value of another type, is an error. The
config is saved beside the result as `config.json`, which `--config` reads.

This page is made by `python -m cmask_tf.config_document` of `cmask_tf/config.py`. Section numbers are the
paper's. A value in bold is not the default.
"""


def document() -> str:
    """The page: a section for each part of a config, a row for each of its fields."""
    presets = {name: make() for name, make in configs.PRESETS.items()}
    kinds = typing.get_type_hints(configs.Config)
    plain, sections = [], []
    for entry in dataclasses.fields(configs.Config):
        if dataclasses.is_dataclass(kinds[entry.name]):
            parts = {name: getattr(config, entry.name) for name, config in presets.items()}
            sections.append(_section(entry.name, kinds[entry.name], parts))
        else:
            plain.append(entry.name)
    whole = _section("", configs.Config, presets, plain)
    return "\n".join([_HEAD, whole, *sections])


def _section(part: str, kind: type, presets: Mapping[str, object], only: list[str] | None = None) -> str:
    hints, remarks = typing.get_type_hints(kind), _comments(kind)
    lines = [f"## {part or 'The whole'}\n", f"{inspect.getdoc(kind)}\n"]
    lines.append(f"| field | type | default | {' | '.join(presets)} | |")
    lines.append("| --- " * (4 + len(presets)) + "|")
    for entry in dataclasses.fields(kind):  # type: ignore[arg-type]
        if only is not None and entry.name not in only:
            continue
        default = "" if entry.default is dataclasses.MISSING else _value(entry.default)
        values = [_value(getattr(preset, entry.name)) for preset in presets.values()]
        shown = [value if value == default or not default else f"**{value}**" for value in values]
        name = ".".join(filter(None, (part, entry.name)))
        cells = [f"`{name}`", _type(hints[entry.name]), default, *shown, remarks.get(entry.name, "")]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _type(kind: object) -> str:
    if typing.get_origin(kind) is tuple:
        return f"list of {_type(typing.get_args(kind)[0])}"
    if kind is type(None):
        return "null"
    arguments = typing.get_args(kind)
    return " or ".join(map(_type, arguments)) if arguments else getattr(kind, "__name__", str(kind))


def _comments(kind: type) -> dict[str, str]:
    """Field -> the comment behind it, those of the classes that it inherits from among them."""
    found: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(cls):
            continue
        source = inspect.getsource(cls)
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        [tree] = ast.parse(source).body
        assert isinstance(tree, ast.ClassDef)
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                found[node.target.id] = " ".join(comments[line] for line in lines if line in comments)
    return found


if __name__ == "__main__":
    print(document(), end="")
