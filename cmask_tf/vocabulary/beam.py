"""The counting of `counts.count_files` on Apache Beam: the same counts, by many workers.

Two pipelines over the same parts of the files, which every worker sees under the same paths: tags by name,
and, when it is known which are frequent enough, their pairs. A part's pairs are a sparse product X^T X of
integers, added up in blocks of rows; what is left to do for the word vectors takes one machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.sparse

from cmask_tf.beam import AsSingleton, TaggedOutput, beam, pipeline_options, run
from cmask_tf.errors import UserError
from cmask_tf.faults import Faults
from cmask_tf.vocabulary.counts import Counts, check_memory, read_part
from cmask_tf.vocabulary.pairs import Source, presence
from cmask_tf.vocabulary.tag_files import Part, parts

_IMAGES = 50_000  # of which pairs are counted at a time: up to 360 MB with 30 tags each
_ROWS = 1024  # in a block
_TAGS, _PARTS, _PAIRS = "tags.json", "parts.json", "pairs-{:05d}.npz"


def count_files(
    files: Sequence[Path],
    min_count: int = 1,
    same: dict[str, str] | None = None,
    faults: Faults | None = None,
    processes: int | None = None,
    *,
    beside: Path,
    runner: str,
    options: Sequence[str] = (),
) -> Counts:
    """Counts the tags of files.

    Memory of this process: as for `counts.count`; of a worker: 400 MB, and up to
    8 V^2 bytes for sums that it has not handed on.

    Args:
        files: of tags; JSONL that is not compressed is read in parts.
        min_count: as for `counts.count_files`, and the next two.
        same: folded spelling -> the folded name that it is counted as.
        faults: takes the bad lines; when None, the first is an error.
        processes: the runner's affair.
        beside: the workers leave their counts in a folder beside it, which all of them see.
        runner: Beam's name of it.
        options: Beam's own, see `cmask_tf.beam.pipeline_options`.

    Raises:
        UserError: as `counts.count_files`; a runner or option that Beam does not know; a step that failed.
    """
    pipeline, same = pipeline_options(runner, options), same or {}
    faults, todo = Faults(strict=True) if faults is None else faults, parts(files)
    beside = Path(beside).absolute()
    beside.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{beside.name}-", dir=beside.parent) as work:
        folder = Path(work)
        run(pipeline, partial(_count_tags, todo, same, min_count, folder))
        documents = _take_faults(folder / _PARTS, faults)
        found = sorted(json.loads((folder / _TAGS).read_text()), key=lambda tag: (-tag[1], tag[0]))
        names, single = [name for name, _ in found], np.array([count for _, count in found], np.int64)
        check_memory(single)
        if len(names) < 2:
            return Counts(
                names, single, scipy.sparse.csr_matrix((len(names),) * 2, dtype=np.int32), documents
            )
        run(pipeline, partial(_count_pairs, todo, same, names, folder))
        blocks = [_PAIRS.format(row // _ROWS) for row in range(0, len(names), _ROWS)]
        pairs = scipy.sparse.vstack([scipy.sparse.load_npz(folder / name) for name in blocks], "csr")
    return Counts(names, single, pairs, documents)


def _take_faults(file: Path, faults: Faults) -> int:
    """Hands over what was bad in the parts, in their order; gives the number of images."""
    documents = 0
    for _, images, state, error in sorted(json.loads(file.read_text()), key=lambda part: part[0]):
        if error:
            raise UserError(error)
        if faults.strict and state["bad"]:
            raise UserError(state["examples"][next(iter(state["bad"]))][0])
        faults.add(state)
        documents += images
    faults.check()
    return documents


def _count_tags(
    todo: list[Part], same: dict[str, str], min_count: int, folder: Path, pipeline: beam.Pipeline
) -> None:
    found = _spread(todo, pipeline) | "read" >> beam.FlatMap(_tags_of_part, same).with_outputs(
        "parts", main="tags"
    )
    frequent = (
        found.tags
        | "images of a tag" >> beam.CombinePerKey(sum)
        | "frequent" >> beam.Filter(lambda tag: tag[1] >= min_count)
    )
    for kind, values in ((_TAGS, frequent), (_PARTS, found.parts)):
        (
            values
            | f"all {kind}" >> beam.combiners.ToList()
            | f"write {kind}" >> beam.Map(_leave, folder / kind, _write_json)
        )


def _count_pairs(
    todo: list[Part], same: dict[str, str], names: list[str], folder: Path, pipeline: beam.Pipeline
) -> None:
    rows = pipeline | "tags" >> beam.Create([{name: row for row, name in enumerate(names)}])
    (
        _spread(todo, pipeline)
        | "pairs" >> beam.FlatMap(_pairs_of_part, same, AsSingleton(rows))
        | "sum" >> beam.CombinePerKey(_Sum())
        | "write" >> beam.Map(lambda block: _leave(block[1], folder / _PAIRS.format(block[0]), _write_block))
    )


def _spread(todo: list[Part], pipeline: beam.Pipeline) -> beam.PCollection:
    """(number, part) of every part, for any worker."""
    return pipeline | "parts" >> beam.Create(list(enumerate(todo))) | "any worker" >> beam.Reshuffle()


def _tags_of_part(numbered: tuple[int, Part], same: dict[str, str]) -> Iterator:
    number, part = numbered
    with TemporaryDirectory() as folder:
        try:
            found, faults = read_part(part, same, False, os.path.join(folder, "part"))
        except UserError as error:
            yield TaggedOutput("parts", (number, 0, None, str(error)))
            return
    yield from zip(found.names, found.single.tolist(), strict=True)
    yield TaggedOutput("parts", (number, found.documents, faults.state(), None))


def _pairs_of_part(
    numbered: tuple[int, Part], same: dict[str, str], rows: dict[str, int]
) -> Iterator[tuple[int, scipy.sparse.csr_matrix]]:
    """(number of a block, int32 [rows of the block, V]) for some images at a time; no diagonal."""
    with TemporaryDirectory() as folder:
        stem = os.path.join(folder, "part")
        found, _ = read_part(numbered[1], same, False, stem)
        places = np.array([rows.get(name, -1) for name in found.names], np.int32)
        images = presence(Source(stem, places, 0), len(rows)).astype(np.int32)
    for start in range(0, images.shape[0], _IMAGES):
        some = images[start : start + _IMAGES]
        for row in range(0, len(rows), _ROWS):
            block = (some[:, row : row + _ROWS].T @ some).tocoo()
            apart = block.row + row != block.col
            values = (block.data[apart], (block.row[apart], block.col[apart]))
            yield row // _ROWS, scipy.sparse.csr_matrix(values, block.shape, dtype=np.int32)


class _Sum(beam.CombineFn):
    """Adds blocks as they come: a plain function would be given ten at a time."""

    def create_accumulator(self):
        return None

    def add_input(self, whole, block: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
        return block if whole is None else whole + block

    def merge_accumulators(self, several: Iterable):
        whole = None
        for one in several:
            whole = whole if one is None else self.add_input(whole, one)
        return whole

    def extract_output(self, whole: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
        return whole


def _leave(value, path: Path, write: Callable[[Path, object], None]) -> None:
    """Writes a file, whatever other attempts at it do."""
    with TemporaryDirectory(prefix="attempt-", dir=path.parent) as attempt:
        write(Path(attempt) / path.name, value)
        os.replace(Path(attempt) / path.name, path)


def _write_json(path: Path, value: list) -> None:
    path.write_text(json.dumps(value))


def _write_block(path: Path, block: scipy.sparse.csr_matrix) -> None:
    block.sort_indices()
    scipy.sparse.save_npz(path, block, compressed=False)
