"""Word vectors at the paper's size: `cmask vocabulary build`, 6,000,000 images with 30 tags of 18,000 words.

    python benchmarks/pmi_scale.py [--images N] [--words V] [--dim D] [--work DIR]

Writes the tag files (Zipf, with planted topics; kept in --work, 2.4 GB at full size), runs the build in a
process of its own and prints a Markdown table: time of each part, peak memory of all its processes
(proportional set size, so pages that they share count once), whether the planted topics come back as
neighbours, and the counting and the eigenvectors beside what they replace, at a size where both run in
reason. Beside other work read the processor time: it is what an idle machine's cores share.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
import scipy.sparse  # noqa: E402
from tqdm import tqdm  # noqa: E402

TAGS = 30
TOPIC_WORDS = 60
SHARD_IMAGES = 100_000
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
NEIGHBOURS = 10


def main(argv=None) -> None:
    """Writes the files, builds, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=6_000_000)
    parser.add_argument("--words", type=int, default=18_000)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--work", type=lambda p: Path(p).resolve(), default="runs/pmi_scale")
    parser.add_argument("--solver-words", type=int, default=6000, help="size of the comparison of solvers")
    args = parser.parse_args(argv)
    tags = write_tags(args.work, args.images, args.words)
    out = args.work / "vocabulary"
    rows = [("images x tags, words, dimensions", f"{args.images:,} x {TAGS}, {args.words:,}, {args.dim:,}")]
    rows += measured_build(tags, args.dim, out)
    rows += quality(out)
    rows += counting_ratio(sorted(tags.glob("*.jsonl")), args.words)
    rows += solver_ratio(out, args.solver_words, args.dim / args.words)
    print("| | |\n| --- | --- |")
    for name, value in rows:
        print(f"| {name} | {value} |")


def word(index: int) -> str:
    """A pronounceable name, another one for each index."""
    name = ""
    for _ in range(3):
        index, last = divmod(index, len(SYLLABLES))
        name += SYLLABLES[last]
    return name


def write_tags(work: Path, images: int, words: int) -> Path:
    """The folder of tag files, written unless a complete one is there."""
    folder = work / f"tags-{images}-{words}"
    if folder.is_dir():
        return folder
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rng, names = np.random.default_rng(0), np.array([word(i) for i in range(words)])
    for number, start in enumerate(tqdm(range(0, images, SHARD_IMAGES), desc="writing tags", unit="files")):
        chosen = names[tag_numbers(rng, min(SHARD_IMAGES, images - start), words)].tolist()
        lines = [json.dumps({"image": f"{start + i:07d}.jpg", "tags": tags}) for i, tags in enumerate(chosen)]
        (partial / f"{number:05d}.jsonl").write_text("\n".join(lines) + "\n")
    partial.rename(folder)
    return folder


def tag_numbers(rng: np.random.Generator, images: int, words: int) -> np.ndarray:
    """int64 [images, TAGS], different in each row: some of all words by Zipf's law, some of two topics.

    Topic t has the words t, t + topics, t + 2 topics, ...: frequent and rare ones.
    """
    topics, per_topic = max(words // TOPIC_WORDS, 1), min(TOPIC_WORDS, words)
    general = _draw(rng, np.arange(1, words + 1) ** -1.0, (images, 24))
    own = _draw(rng, np.arange(1, per_topic + 1) ** -0.7, (images, 36))
    topic = np.repeat(rng.integers(0, topics, (images, 2)), 18, axis=1)
    drawn = np.sort(np.hstack([general, (topic + topics * own) % words]))
    # Doubles go last, the rest in random order.
    rank = rng.random(drawn.shape) + np.pad(drawn[:, 1:] == drawn[:, :-1], ((0, 0), (1, 0)))
    order = np.argpartition(rank, TAGS - 1, axis=1)[:, :TAGS]
    return np.take_along_axis(drawn, order, axis=1)


def _draw(rng: np.random.Generator, weights: np.ndarray, shape: tuple) -> np.ndarray:
    edges = np.cumsum(weights) / weights.sum()
    return np.minimum(np.searchsorted(edges, rng.random(shape)), len(weights) - 1)


def measured_build(tags: Path, dim: int, out: Path) -> list[tuple[str, str]]:
    """Runs `_build_here` in a process and watches its memory."""
    code = "import sys; sys.argv = ['']; from pmi_scale import _build_here; _build_here(*%r)"
    times = out.with_suffix(".json")
    command = [sys.executable, "-c", code % ((str(tags), dim, str(out), str(times)),)]
    start, peak = time.perf_counter(), 0
    child = subprocess.Popen(command, cwd=Path(__file__).parent)
    while child.poll() is None:
        peak = max(peak, _memory(child.pid))
        time.sleep(0.2)
    if child.returncode:
        raise SystemExit(f"the build ended with {child.returncode}")
    whole, parts = time.perf_counter() - start, json.loads(times.read_text())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    size = sum(file.stat().st_size for file in out.iterdir())
    return [
        (
            "whole build from files",
            f"{whole:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of processor time)",
        ),
        ("peak memory", f"{peak / 2**30:.2f} GiB"),
        *((name, f"{seconds:.0f} s") for name, seconds in parts.items()),
        ("vocabulary directory", f"{size / 1e9:.2f} GB"),
    ]


def _build_here(tags: str, dim: int, out: str, times: str) -> None:
    """The real command, with a clock around its parts."""
    from cmask_tf import cli
    from cmask_tf.vocabulary import artefact, build

    seconds = {}

    def timed(owner, name: str, title: str) -> None:
        function = getattr(owner, name)

        def wrapper(*args, **kwargs):
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[title] = seconds.get(title, 0) + time.perf_counter() - start

        setattr(owner, name, wrapper)

    timed(build, "count_files", "parsing and counting")
    timed(build, "pmi_matrix", "PMI matrix")
    timed(build, "word_vectors", "eigenvectors")
    timed(artefact.Vocabulary, "spellings", "spellings")
    timed(artefact.Vocabulary, "save", "saving, spellings included")
    status = cli.main(["vocabulary", "build", tags, "--dim", str(dim), "--out", out])
    Path(times).write_text(json.dumps(seconds))
    sys.exit(status)


def _memory(pid: int) -> int:
    """Bytes of a process and its children; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, StopIteration):
        return 0
    return 1024 * own + sum(_memory(int(child)) for child in children)


def quality(out: Path) -> list[tuple[str, str]]:
    """Loads the vocabulary; the share of each word's nearest words that are of its planted topic."""
    from cmask_tf.vocabulary.artefact import Vocabulary
    from cmask_tf.vocabulary.neighbours import unit

    start = time.perf_counter()
    vocabulary = Vocabulary.load(out)
    loading = time.perf_counter() - start
    words, directions = len(vocabulary), unit(vocabulary.vectors)
    numbers = {word(i): i for i in range(words)}
    topics = np.array([numbers.get(name, -1) for name in vocabulary.names]) % max(words // TOPIC_WORDS, 1)
    rows = np.random.default_rng(0).permutation(words)[:2000]
    cosines = directions[rows] @ directions.T
    cosines[np.arange(len(rows)), rows] = -np.inf
    nearest = np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    share, chance = np.mean(topics[nearest] == topics[rows][:, None]), 1 / (topics.max() + 1)
    density = vocabulary.cooccurrence.nnz / max(words * (words - 1), 1)
    return [
        ("loading", f"{loading:.0f} s"),
        ("pairs of words that occur", f"{density:.0%}"),
        (f"{NEIGHBOURS} nearest words of the planted topic", f"{share:.1%} (chance {chance:.1%})"),
    ]


def counting_ratio(files: list[Path], words: int) -> list[tuple[str, str]]:
    """Counting pairs against scipy's X^T X: the same images, one process each."""
    from cmask_tf.vocabulary.pairs import count_pairs

    numbers = {word(i): i for i in range(words)}
    shards = [_tags_of(file, numbers) for file in tqdm(files, desc="reading tags again", unit="files")]
    with tempfile.TemporaryDirectory() as folder:
        sources = [_source(str(Path(folder) / str(i)), *shard, words) for i, shard in enumerate(shards)]
        start = time.perf_counter()
        ours = count_pairs(sources, words, Path(folder), 1)
        own = time.perf_counter() - start
    tags, lengths = (np.concatenate(arrays) for arrays in zip(*shards, strict=True))
    del shards
    ends = np.concatenate([[0], np.cumsum(lengths)])
    images = scipy.sparse.csr_matrix((np.ones(len(tags), np.int32), tags, ends), (len(lengths), words))
    start = time.perf_counter()
    product = (images.T @ images).tocsr()
    theirs = time.perf_counter() - start
    product.setdiag(0)
    product.eliminate_zeros()
    equal = "equal" if (product != ours).nnz == 0 else "NOT EQUAL"
    text = f"{theirs / own:.1f} ({theirs:.1f} s against {own:.1f} s, {equal})"
    return [(f"scipy's X^T X over our counting, {len(lengths):,} images, one process", text)]


def _tags_of(file: Path, numbers: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """A file's words, int32 [mentions], one image after the other, and int32 [images], how many each has."""
    rows = [json.loads(line)["tags"] for line in file.open()]
    tags = np.array([numbers[tag] for row in rows for tag in row], np.int32)
    return tags, np.array([len(row) for row in rows], np.int32)


def _source(stem: str, tags: np.ndarray, lengths: np.ndarray, words: int):
    """The files of a part of the images."""
    from cmask_tf.vocabulary.pairs import Source

    np.save(stem + ".tags.npy", tags)
    np.save(stem + ".lengths.npy", lengths)
    return Source(stem, np.arange(words, dtype=np.int32), len(tags))


def solver_ratio(out: Path, words: int, share: float) -> list[tuple[str, str]]:
    """The eigenvectors against LAPACK's: all of them in float64, and the wanted ones in float32."""
    from cmask_tf.vocabulary.artefact import Vocabulary
    from cmask_tf.vocabulary.counts import Counts
    from cmask_tf.vocabulary.pmi import pmi_matrix, word_vectors

    all_words = Vocabulary.load(out)
    n = min(words, len(all_words))
    pairs = all_words.pairs[:n, :n]
    matrix = pmi_matrix(Counts(all_words.names[:n], all_words.counts[:n], pairs, all_words.documents))
    del all_words
    dim = max(round(share * n), 1)
    solvers = {
        "ours": lambda: word_vectors(matrix, dim),
        "subset": lambda: scipy.linalg.eigh(matrix, subset_by_index=(n - dim, n - 1), check_finite=False),
        "full": lambda: scipy.linalg.eigh(matrix.astype(np.float64)),
    }
    seconds, found = {}, {}
    for name, solver in solvers.items():
        start = time.perf_counter()
        found[name] = solver()
        seconds[name] = time.perf_counter() - start
    values, columns = (array[..., ::-1][..., :dim] for array in found["full"])
    vectors, ours = found["ours"]
    own = vectors / np.sqrt(ours)
    missed = np.sqrt(np.sum((own - columns @ (columns.T @ own)) ** 2) / dim)
    error = np.abs(ours - values).max() / values[0]
    size = f"{n:,} words, {dim:,} dimensions"
    return [
        (f"LAPACK, the wanted vectors in float32, over ours; {size}", _ratio(seconds, "subset")),
        (f"LAPACK, all vectors in float64, over ours; {size}", _ratio(seconds, "full")),
        ("... the part of a vector outside the float64 subspace, root mean square", f"{missed:.1e}"),
        ("... largest error of an eigenvalue, over the largest eigenvalue", f"{error:.1e}"),
    ]


def _ratio(seconds: dict, name: str) -> str:
    return f"{seconds[name] / seconds['ours']:.2f} ({seconds[name]:.1f} s against {seconds['ours']:.1f} s)"


if __name__ == "__main__":
    main()
