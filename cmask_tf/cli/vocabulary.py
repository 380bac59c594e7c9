"""`cmask vocabulary`: word vectors from tags (supplement 2.1). Needs no TensorFlow."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cmask_tf.cli import vocabulary_add
from cmask_tf.cli.beam_options import add_beam, check_beam


def add_parser(subparsers) -> None:
    """Adds `cmask vocabulary`."""
    parser = subparsers.add_parser(
        "vocabulary",
        help="make word vectors from tags",
        description="Makes a vocabulary directory from tags, or adds words to one.",
    )
    actions = parser.add_subparsers(dest="vocabulary_command", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="count tags, and turn their co-occurrence into word vectors",
        description="Counts which tags occur together and writes the word vectors.",
    )
    add = build.add_argument
    add(
        "tags",
        nargs="+",
        metavar="TAGS",
        help='files, folders or globs; .jsonl: a photo a line, {"image": "a.jpg", "tags": ["red hat"]}; '
        ".csv, .tsv: columns image and tags, tags parted by ;; all also with .gz",
    )
    add("--dim", type=int, required=True, help="length of a word vector; an error says when it is too long")
    add(
        "--or-fewer", action="store_true", help="when the tags give fewer than --dim, take all that they give"
    )
    add("--out", metavar="DIR", required=True, help="the vocabulary directory to write")
    add(
        "--variant",
        choices=("pmi", "ppmi"),
        default="pmi",
        help="pmi: smoothed and signed (default, better on held-out photos); ppmi: cut at 0, more dimensions",
    )
    add("--min-count", type=int, default=1, metavar="N", help="leave out tags of fewer photos (default 1)")
    add("--no-fold", action="store_true", help="keep names as written: case and plurals tell tags apart")
    add("--strict", action="store_true", help="a bad line is an error; by default it is skipped and told")
    add("--kinds", metavar="FILE.json", help="kinds of concepts: {name: kind} or {name: {kind: ...}}")
    add("--aliases", metavar="FILE.txt", help="one concept a line: its name, then its aliases, with commas")
    vocabulary_add.add_parser(actions)
    add_beam(build, "count")


def run(args) -> None:
    """Runs the action."""
    if args.vocabulary_command == "add":
        vocabulary_add.run(args)
    else:
        _build(args)


def _build(args) -> None:
    """Builds the vocabulary, writes it and says what is in it."""
    from cmask_tf.vocabulary import artefact, build

    check_beam(args)
    out = Path(args.out)
    artefact.check_target(out)
    kinds = build.read_kinds(args.kinds) if args.kinds else None
    aliases = build.read_aliases(args.aliases) if args.aliases else None
    settings = {"folded": not args.no_fold, "strict": args.strict, "or_fewer": args.or_fewer}
    if args.beam:
        from cmask_tf.vocabulary import beam

        settings["counting"] = partial(
            beam.count_files, beside=out, runner=args.beam, options=args.beam_option
        )
    vocabulary = build.build_files(
        args.tags, args.dim, args.variant, args.min_count, kinds, aliases, **settings
    )
    vocabulary.save(out)
    for note in vocabulary.meta["notes"]:
        print(f"note: {note}")
    print(f"{out}: {len(vocabulary)} concepts, {vocabulary.dim} dimensions, {vocabulary.documents} images")
