"""The steps of a reproduction as data: each is one command, what it reads and what it leaves.

OUT/records/  OUT/vocabulary/                   of the data folder
OUT/seed-S/embedding/ refine/ model/            ours: Stage 1, 2 and 3
OUT/seed-S/refine-noNeg/ model-noNeg/           without the spatial discrimination loss (Table 1, Table 3)
OUT/seed-S/model-singleAtt/                     Stage 3 with one attention size (Table 3), where ours has two
OUT/seed-S/saliency/ closed-set/                baselines that are trained here
OUT/seed-S/detections/SYSTEM.json               optional: any detector's COCO results, to be scored as SYSTEM
OUT/seed-S/scores/SYSTEM/                       what `cmask evaluate` writes

The floors know nothing of the seed: they are scored once, beside the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cmask_tf.config import Config

# System -> the option of `cmask evaluate` and its value; {seed} is OUT/seed-S, {out} is OUT.
SYSTEMS = {
    "Ours": ("--model", "{seed}/model"),
    "Ours-noNeg": ("--model", "{seed}/model-noNeg"),
    "Ours-singleAtt": ("--model", "{seed}/model-singleAtt"),
    "Saliency-DSS": ("--baseline", "{seed}/saliency"),
    "Closed-set": ("--baseline", "{seed}/closed-set"),
}
# Table 1's maps -> the stage whose networks make them.
ATTENTION = {
    "Original": "embedding",
    "Original-Finetuned": "refine",
    "Refined-noNeg": "refine-noNeg",
    "Refined": "refine",
}
FLOORS = {
    "whole-image": ("--floor", "whole-image"),
    "position-prior": ("--floor", "position-prior", "--records", "{out}/records"),
    "GrabCut": ("--floor", "grabcut"),
}
CMASK = "cmask_tf.cli"
SCORE = "cmask_tf.reproduce.score"
REPORT = "cmask_tf.reproduce.report"


@dataclass(frozen=True)
class Step:
    """One command in a process of its own.

    Attributes:
        name: "seed-0/refine"; unique.
        command: the words after `python -m`.
        reads: what must be there before.
        writes: what is there when the step is done; a step whose result is there is not repeated.
        always: it is repeated all the same.
    """

    name: str
    command: tuple[str, ...]
    reads: tuple[Path, ...]
    writes: Path
    always: bool = False


@dataclass(frozen=True)
class Request:
    """What is to be reproduced.

    Attributes:
        data: the data folder.
        out: OUT.
        config: of all seeds; its own seed is the first one.
        seeds: of the trainings.
    """

    data: Path
    out: Path
    config: Config
    seeds: tuple[int, ...]

    @property
    def config_file(self) -> Path:
        return self.out / "config.json"

    def seed_dir(self, seed: int) -> Path:
        return self.out / f"seed-{seed}"


def plan(request: Request) -> list[Step]:
    """The steps of the paper's tables, each after all that it reads."""
    steps = data_steps(request)
    for seed in request.seeds:
        steps += training_steps(request, seed)
        steps += scoring_steps(request, seed)
    return steps


def data_steps(request: Request, variant: str | None = None, place: Path | None = None) -> list[Step]:
    """Record sets and word vectors; with a `variant` of PMI only word vectors, below `place`.

    The words have as many dimensions as PMI gives, at most as many as the head is wide.
    """
    data, out = request.data, request.out
    corpus = data / "tags" / "all_tags_for_pmi.jsonl"
    tags = corpus if corpus.is_file() else data / "tags" / "train.jsonl"
    kinds = data / "concepts.json"
    vocabulary = (place or out) / "vocabulary"
    words = ["vocabulary", "build", tags, "--dim", request.config.embedding.hidden[-1], "--or-fewer"]
    words += ["--kinds", kinds] if kinds.is_file() else []
    words += ["--variant", variant] if variant else []
    name = str(vocabulary.relative_to(out))
    build = _step(name, CMASK, [*words, "--out", vocabulary], (tags,), vocabulary)
    if variant:
        return [build]
    records = out / "records"
    prepare = _step("records", CMASK, ["data", "prepare", data, "--out", records], (data,), records)
    return [prepare, build]


def model_steps(request: Request, seed: int) -> list[Step]:
    """The three stages of ours."""
    stage = _stages(request, request.seed_dir(seed))
    return [
        stage("embedding", None, request.out / "vocabulary", [f"seed={seed}"]),
        stage("refine", "embedding"),
        stage("model", "refine"),
    ]


def training_steps(request: Request, seed: int) -> list[Step]:
    """The three stages, the ablated ones of Table 1 and 3, and the trained baselines."""
    place, records = request.seed_dir(seed), request.out / "records"
    stage = _stages(request, place)
    first = request.config.attention.sizes[0]
    single = stage("model-singleAtt", "refine", changes=[f"attention.sizes=[{first},{first}]"])
    steps = [
        *model_steps(request, seed),
        stage("refine-noNeg", "embedding", changes=["refine.discrimination_weight=0"]),
        stage("model-noNeg", "refine-noNeg"),
        *([single] if _two_sizes(request) else []),
    ]
    for baseline in ("saliency", "closed-set"):
        model, result = place / "model", place / baseline
        words = ["baseline", baseline, "--data", records, "--like", model, "--out", result]
        name = str(result.relative_to(request.out))
        steps.append(_step(name, CMASK, words, (records, model), result))
    return steps


def chain(request: Request, place: Path, vocabulary: Path, config: Path, changes: list[str]) -> list[Step]:
    """The three stages below `place`, of another config or vocabulary."""
    stage = _stages(request, place)
    return [
        stage("embedding", None, vocabulary, changes, config),
        stage("refine", "embedding"),
        stage("model", "refine"),
    ]


def stage_step(request: Request, start: Path, result: Path, changes: list[str]) -> Step:
    """One stage that goes on from the model directory `start`: Stage 2 from Stage 1, Stage 3 from Stage 2."""
    command = "refine" if result.name.startswith("refine") else "segmentation"
    records = request.out / "records"
    words = ["train", command, "--data", records, "--from", start, *_set(changes), "--out", result]
    return _step(str(result.relative_to(request.out)), CMASK, words, (records, start), result)


def _stages(request: Request, place: Path):
    """What makes the step of a stage below `place`."""

    def stage(name, before, vocabulary=None, changes=(), config=None) -> Step:
        if before is not None:
            return stage_step(request, place / before, place / name, list(changes))
        records, result = request.out / "records", place / name
        words = ["train", "embedding", "--data", records, "--vocabulary", vocabulary]
        words += ["--config", config or request.config_file, *_set(changes), "--out", result]
        return _step(str(result.relative_to(request.out)), CMASK, words, (records, vocabulary), result)

    return stage


def scoring_steps(request: Request, seed: int) -> list[Step]:
    """Every system on the test photos."""
    place = request.seed_dir(seed)
    systems = dict(SYSTEMS)
    if not _two_sizes(request):
        del systems["Ours-singleAtt"]
    if seed == request.seeds[0]:
        systems |= FLOORS
    for file in sorted((place / "detections").glob("*.json")):
        systems[file.stem] = ("--detections", "{seed}/detections/" + file.name)
    steps = [score_step(request, place, name, options) for name, options in systems.items()]
    for kind, stage in ATTENTION.items():
        result = place / "scores" / kind
        words = [kind, "--seed-dir", place, *_test_photos(request), "--out", result]
        name = str(result.relative_to(request.out))
        steps.append(_step(name, SCORE, words, (place / stage,), result / "metrics.json"))
    return steps


def score_step(request: Request, place: Path, system: str, options: tuple[str, ...]) -> Step:
    """`cmask evaluate` of one system on the test photos, to PLACE/scores/SYSTEM."""
    result = place / "scores" / system
    folders = {"{seed}": str(place), "{out}": str(request.out)}
    option, *others = [_filled(word, folders) for word in options]
    words = ["evaluate", option, *others, *_test_photos(request), "--out", result]
    reads = tuple(Path(word) for word in others if request.out in Path(word).parents)
    name = str(result.relative_to(request.out))
    return _step(name, CMASK, words, reads, result / "metrics.json")


def report_step(request: Request, with_ablations: bool) -> Step:
    """The report of all that was scored."""
    words = [REPORT, "--data", request.data, "--out", request.out, "--seeds", *request.seeds]
    words += ["--ablations"] if with_ablations else []
    result = request.out / "report" / "metrics.json"
    return Step("report", tuple(map(str, words)), (), result, always=True)


def _two_sizes(request: Request) -> bool:
    """Whether one attention map is another system than ours."""
    return len(set(request.config.attention.sizes)) > 1


def _test_photos(request: Request) -> list[Path | str]:
    truth = request.data / "coco" / "concept_masks_test.json"
    return ["--images", request.data / "images" / "test", "--masks", truth]


def _filled(word: str, folders: dict[str, str]) -> str:
    for name, folder in folders.items():
        word = word.replace(name, folder)
    return word


def _set(changes) -> Iterator[str]:
    for change in changes:
        yield from ("--set", change)


def _step(name: str, module: str, words: list, reads: tuple[Path, ...], writes: Path) -> Step:
    return Step(name, (module, *map(str, words)), reads, writes)
