"""`cmask vocabulary add`: words that the tag corpus did not have. Needs no TensorFlow."""

from __future__ import annotations

from pathlib import Path


def add_parser(actions) -> None:
    """Adds `cmask vocabulary add`."""
    parser = actions.add_parser(
        "add",
        help="add words that were not in the tag corpus",
        description="Writes a vocabulary or model directory that knows further words. A model segments them "
        "as words outside its training; what it knew stays as it was.",
    )
    add = parser.add_argument
    add("directory", metavar="DIR|PRESET", help="a vocabulary or model directory, or a trained preset")
    add("--out", metavar="DIR", required=True, help="the directory of the same sort to write")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--tags",
        nargs="+",
        action="extend",
        metavar="FILE.jsonl",
        help="tag lines of new photos; those that carry a word say what it goes with",
    )
    way.add_argument(
        "--text-embedding",
        metavar="FILE",
        help="GloVe or word2vec text, or .npz with names and vectors: a linear map takes it to word vectors",
    )
    way.add_argument("--vectors", metavar="FILE.npz", help="names and their word vectors, as they are")
    add(
        "--word", nargs="+", action="extend", metavar="NAME", help="a word to add (--vectors: all by default)"
    )


def run(args) -> None:
    """Adds the words, writes the directory and says what came in, and how good it is where that is known."""
    from cmask_tf import model_directory
    from cmask_tf.errors import UserError
    from cmask_tf.vocabulary import artefact, new_words

    source, out = _source(args.directory), Path(args.out)
    is_model = (source / "config.json").is_file()
    (model_directory if is_model else artefact).check_target(out)
    if not args.word and not args.vectors:
        raise UserError("no word to add: give --word NAME")
    old = artefact.Vocabulary.load(source / "vocabulary" if is_model else source)
    if args.vectors:
        names, *new = _given(args.vectors, old, args.word)
    else:
        names = new_words.new_names(old, args.word)
        new = _from_tags(args.tags, old, names) if args.tags else _from_text(args.text_embedding, old, names)
    grown = new_words.add_words(old, names, *new)
    if is_model:
        _save_model(source, out, grown)
    else:
        grown.save(out)
    _report(out, old, grown, names)


def _source(given: str) -> Path:
    """A directory of either sort, else the preset of that name."""
    from cmask_tf import presets

    directory = Path(given)
    return presets.locate(given) if given in presets.names() and not directory.is_dir() else directory


def _from_tags(files, vocabulary, names):
    from cmask_tf.vocabulary.fold_in import count_new, fold_in, pmi_rows
    from cmask_tf.vocabulary.tag_files import tag_files, tag_lines

    lines = (tags for file in tag_files(files) for _, _, tags in tag_lines(file))
    counts, company = count_new(lines, vocabulary, names)
    usual = vocabulary.counts.sum() / vocabulary.documents
    how = []
    for name, images, tags in zip(names, counts.single.tolist(), company.tolist(), strict=True):
        print(
            f"{name}: {images} lines carry it, with {tags / images:.1f} known tags each (corpus: {usual:.1f})"
        )
        origin = {"by": "tags", "files": [Path(file).name for file in files]}
        how.append({**origin, "images": images, "known_tags": tags})
    return fold_in(vocabulary, pmi_rows(vocabulary, names, counts)), how, counts


def _from_text(file, vocabulary, names):
    from dataclasses import asdict

    from cmask_tf.vocabulary.text_embedding import sentence, word_vectors

    vectors, result = word_vectors(file, vocabulary, names)
    print(f"{file}: {sentence(result)}")
    origin = {"by": "text embedding", "file": Path(file).name, "cross_validation": asdict(result)}
    return vectors, [origin for _ in names]


def _given(file, vocabulary, words):
    from cmask_tf.errors import UserError
    from cmask_tf.vocabulary.new_words import new_names, read_vectors

    given, vectors = read_vectors(file)
    rows = {vocabulary.spell(name): row for row, name in enumerate(given)}
    if len(rows) < len(given):
        raise UserError(f"{file}: a name occurs twice")
    names = new_names(vocabulary, words or given)
    for name in names:
        if name not in rows:
            raise UserError(f"{file}: has no vector of {name!r}")
    origin = {"by": "vectors", "file": Path(file).name}
    return names, vectors[[rows[name] for name in names]], [origin for _ in names]


def _save_model(source: Path, out: Path, vocabulary) -> None:
    from cmask_tf import model_directory
    from cmask_tf.models.neighbour_table import extend_mixing

    mixing = None
    if (source / "mixing.json").is_file():
        concepts = model_directory.load_concepts(source)
        mixing = extend_mixing(vocabulary, concepts, model_directory.load_json(source / "mixing.json"))
    model_directory.save_changed(source, out, vocabulary, {"mixing": mixing})


def _report(out: Path, old, grown, names) -> None:
    for note in grown.meta["notes"][len(old.meta.get("notes", [])) :]:
        print(f"note: {note}")
    for name in names:
        if name in grown.names:
            near = ", ".join(f"{other} {cosine:.2f}" for other, cosine in grown.nearest(name, k=3))
            print(f"{name}: nearest are {near}")
    print(f"{out}: {len(grown)} concepts, {len(grown) - len(old)} of them new, {grown.dim} dimensions")
