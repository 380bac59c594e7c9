"""What each loss term does: every stage trained with it and without it, measured on the validation photos.

    python benchmarks/loss_terms.py --data FOLDER --work DIR --seeds 0 1 2 --config tiny --dim 56

FOLDER is a data folder (`cmask data world` writes one). Records, word vectors and every training lie in DIR
and are not made twice: after an interruption the same command goes on. Stage 2's runs of a seed start from
the same Stage 1, Stage 3's from the same Stage 2. No test photo is looked at. Figures of the end are
those of the epoch whose weights the run publishes.

Writes tables and curves into DIR/report.md, or into a section of another document (--document FILE --name
NAME): what lies there between `<!-- loss terms: NAME -->` and `<!-- end of loss terms: NAME -->` is replaced.
Pictures go into pictures/ beside the document.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import loss_terms_report as report  # noqa: E402
from loss_terms_report import ALL, Result, Run  # noqa: E402

from cmask_tf import config as configs  # noqa: E402
from cmask_tf.errors import UserError  # noqa: E402

BEFORE = {"refine": "embedding", "segmentation": "refine"}
RUNS = (
    # One epoch at rate 0: random (or ImageNet) weights, but batch statistics of these photos.
    Run("embedding", "untrained", "not trained", ("embed.epochs=1", "embed.learning_rate=0")),
    Run("embedding", ALL, "trained"),
    Run("refine", ALL, "all terms"),
    Run("refine", "no-matching", "c = 0", ("refine.matching_weight=0",)),
    Run("refine", "matching-paper", "c = 1e-6, all maps",
        ("refine.matching_weight=1e-6", "refine.matching_scope=all")),
    Run("refine", "matching-strong", "c = 0.01, all maps",
        ("refine.matching_weight=0.01", "refine.matching_scope=all")),
    Run("refine", "matching-tagged", "c = 0.01, tagged maps",
        ("refine.matching_weight=0.01", "refine.matching_scope=tagged")),
    Run("refine", "no-discrimination", "no discrimination", ("refine.discrimination_weight=0",)),
    Run("refine", "no-dice", "no Dice", ("refine.dice_weight=0",)),
    Run("segmentation", ALL, "all terms"),
    Run("segmentation", "no-dice", "no Dice", ("segment.dice_weight=0",)),
)  # fmt: skip


def planned(config: str, overrides: Sequence[str]) -> list[Run]:
    """`RUNS` without those that would only repeat another run of their stage; that one's label says so."""
    kept: dict[tuple[str, configs.Config], Run] = {}
    for run in RUNS:
        key = run.stage, configs.load(config, [*overrides, *run.overrides])
        if key in kept:
            run = kept[key]._replace(label=f"{kept[key].label} ({run.label})")
        kept[key] = run
    return list(kept.values())


def cmask(*arguments) -> None:
    """Runs one `cmask` command in a process of its own; ends this one, too, when it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ cmask {shlex.join(words)}", file=sys.stderr, flush=True)
    code = "import sys; from cmask_tf.cli import main; sys.exit(main())"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    failed = subprocess.call([sys.executable, "-c", code, *words], env={**os.environ, "PYTHONPATH": path})
    if failed:
        sys.exit(failed)


def prepare(data: Path, work: Path, dim: int) -> None:
    """Records and word vectors of the data folder."""
    records, vocabulary = work / "records", work / "vocabulary"
    if not records.exists():
        cmask("data", "prepare", data, "--out", records)
    if not vocabulary.exists():
        corpus = data / "tags" / "all_tags_for_pmi.jsonl"
        tags = corpus if corpus.exists() else data / "tags" / "train.jsonl"
        kinds = ("--kinds", data / "concepts.json") if (data / "concepts.json").exists() else ()
        cmask("vocabulary", "build", tags, "--dim", dim, *kinds, "--out", vocabulary)


def train(run: Run, seed: int, args: argparse.Namespace) -> Path:
    """Trains a run, or finds it finished; its model directory."""
    folder = args.work / f"seed-{seed}"
    out = folder / f"{run.stage}-{run.name}"
    given = ["--data", args.work / "records", "--out", out]
    if run.stage == "embedding":
        given += ["--vocabulary", args.work / "vocabulary", "--config", args.config]
        changed = [*args.set, f"seed={seed}"]
    else:
        given += ["--from", folder / f"{BEFORE[run.stage]}-{ALL}"]  # whose config it takes over
        changed = []
    settings = [word for text in (*changed, *run.overrides) for word in ("--set", text)]
    began = time.monotonic()
    cmask("train", run.stage, *given, *settings)
    print(f"{out}: {(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
    return out


def measure(stage: str, model: Path, records: Path) -> dict[str, float]:
    """What coarse maps are worth, what is left of Stage 1's, siblings; kept beside the model directory."""
    if stage == "segmentation":
        return {}
    file = model.with_name(model.name + ".measures.json")
    if file.exists() and file.stat().st_mtime_ns >= (model / "provenance.json").stat().st_mtime_ns:
        return json.loads(file.read_text())
    from cmask_tf.evaluation.coarse import coarse_scores, kept_scores
    from cmask_tf.evaluation.siblings import sibling_scores

    found = {f"coarse_{name}": value for name, value in coarse_scores(model, records).items()}
    if stage == "refine":
        kept = kept_scores(model.with_name(f"embedding-{ALL}"), model, records)
        found |= {f"kept_{name}": value for name, value in kept.items()} | sibling_scores(model, records)
    report.write(file, (json.dumps(found, indent=2) + "\n").encode())
    return found


def collect(run: Run, model: Path, records: Path) -> Result:
    """What a finished run wrote down, and what is measured on it; terms of the end are those it published."""
    history = json.loads((model.with_name(model.name + ".run") / "history.json").read_text())
    published = json.loads((model / "provenance.json").read_text())[run.stage]["validation"][-1]
    return Result(history, {**published, **measure(run.stage, model, records)})


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, trains what is missing, measures, writes the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="a data folder with validation masks")
    add("--work", type=Path, required=True, metavar="DIR", help="receives records, word vectors, trainings")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="of the trainings")
    add("--config", default="tiny", help="a preset or a JSON file (default: tiny)")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="change the config of all runs")
    add("--dim", type=int, default=56, help="length of the word vectors (default: 56)")
    add("--document", type=Path, metavar="FILE", help="where the report goes (default: DIR/report.md)")
    add("--name", help="of the data, in the report (default: the folder's)")
    args = parser.parse_args(argv)
    args.name = args.name or args.data.resolve().name
    document = args.document or args.work / "report.md"
    report.check_document(document, args.name)
    runs = planned(args.config, args.set)
    prepare(args.data, args.work, args.dim)
    results: report.Results = {(run.stage, run.name): [] for run in runs}
    for seed in args.seeds:
        for run in runs:
            model = train(run, seed, args)
            results[run.stage, run.name].append(collect(run, model, args.work / "records"))
    settings = f"config `{args.config}`" + "".join(f", `{text}`" for text in args.set)
    report.write_report(document, args.name, settings, args.seeds, runs, results)
    print(f"{document}: written")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"loss_terms.py: error: {error}", file=sys.stderr)
        sys.exit(2)
