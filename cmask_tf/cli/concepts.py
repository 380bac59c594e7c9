"""`cmask concepts`: what a model knows, and what lies near a word. Needs no TensorFlow."""

from __future__ import annotations

import json

from cmask_tf.cli.model_option import add_model


def add_parser(subparsers) -> None:
    """Adds `cmask concepts`."""
    parser = subparsers.add_parser(
        "concepts",
        help="list the concepts of a model, or the neighbours of a word",
        description="Lists every concept of a model with its supervision level, kind and number of tags.",
    )
    add_model(parser)
    parser.add_argument(
        "--nearest",
        metavar="WORD",
        help="print the concepts nearest to WORD instead: by PMI cosine (what appears with it) and by "
        "second order (what could take its place)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def run(args) -> None:
    """Prints the table of concepts, or the neighbours of one."""
    from cmask_tf import model_directory

    directory = model_directory.locate(args.model)
    vocabulary = model_directory.load_vocabulary(directory)
    if args.nearest is not None:
        _print_neighbours(vocabulary, args.nearest, args.json)
        return
    rows = model_directory.describe_concepts(vocabulary, model_directory.load_concepts(directory))
    if args.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    width = max(len("name"), *(len(row["name"]) for row in rows))
    print(f"{'name':{width}}  level  kind       count")
    for row in rows:
        print(f"{row['name']:{width}}  {row['level']:5}  {row['kind']:9}  {row['count']:>5}")


def _print_neighbours(vocabulary, word: str, as_json: bool) -> None:
    name = vocabulary.names[vocabulary.index(word)]
    found = {"pmi": vocabulary.nearest(name), "second_order": vocabulary.substitutes(name)}
    if as_json:
        rows = {key: [{"name": n, "cosine": float(c)} for n, c in pairs] for key, pairs in found.items()}
        print(json.dumps({"name": name, **rows}, indent=2, ensure_ascii=False))
        return
    titles = {"pmi": "appear with it (PMI cosine)", "second_order": "take its place (second order)"}
    for key, title in titles.items():
        print(f"{name}: {title}")
        for other, cosine in found[key]:
            print(f"  {cosine:6.3f}  {other}")
