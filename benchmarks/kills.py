"""SIGKILL at random moments, in each stage: does the finished run equal the undisturbed one?

    python benchmarks/kills.py --out runs/kills

Each of the three stages is trained on a small ConceptWorld twice, deterministically, with a checkpoint every
second step: once undisturbed, and once killed again and again, started anew with the same command each time.
The moments are drawn (`--seed`): in some of the lives while the program starts, in most while it trains, in
some while a checkpoint is being written, in some while the finished model is. After every kill the
newest checkpoint that the folder names is read in full. The table shows where the kills fell and the largest
difference between the weights of the two finished runs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np
import tensorflow as tf

SMALL = [
    "attention.sizes=[64, 96]", "backbone.output_stride=16", "segmentation.size=64", "embed.epochs=3",
    "embed.batch=8", "refine.epochs=3", "segment.epochs=2", "segment.batch=32",
]  # fmt: skip
STAGES = {"embedding": None, "refine": "embedding", "segmentation": "refine"}
# Of ten lives: how each ends. The last kill waits for the model, so it comes last.
MOMENTS = ("start", "step", "step", "save", "step", "step", "save", "step", "save", "publish")
PATIENCE = 900  # seconds for one life


def command(*words: object) -> list[str]:
    """A `cmask` command in a process of its own."""
    code = "import sys; from cmask_tf.cli import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", code, *map(str, words)]


def prepare(out: Path, scenes: int) -> None:
    """The data: a small ConceptWorld, its records and its vocabulary."""
    world, tags = out / "world", out / "world/tags/all_tags_for_pmi.jsonl"
    kinds = out / "world/concepts.json"
    steps = {
        "world": ("data", "world", "--scenes", scenes),
        "records": ("data", "prepare", world),
        "vocabulary": ("vocabulary", "build", tags, "--dim", 16, "--kinds", kinds),
    }
    for name, words in steps.items():
        if not (out / name).exists():
            subprocess.run(command(*words, "--out", out / name), check=True)


class Stage:
    """One stage, undisturbed or killed."""

    def __init__(self, data: Path, name: str, out: Path):
        self.name, self.out, self.work = name, out, out.with_name(out.name + ".run")
        given = ["train", name, "--data", data / "records", "--out", out, "--deterministic"]
        before = STAGES[name]
        if before is None:
            given += ["--vocabulary", data / "vocabulary", "--config", "tiny"]
            given += itertools.chain.from_iterable(("--set", field) for field in SMALL)
        else:
            given += ["--from", data / "whole" / before]  # both runs from the same networks
        self.command = command(*given, "--checkpoint-every", 2)

    def start(self) -> subprocess.Popen:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self.out.with_name(self.out.name + ".log").open("ab") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log)

    def finish(self) -> None:
        """Lets it run to its end."""
        if process := self.start().wait():
            raise SystemExit(f"{self.out}.log: ended with {process}")

    def newest(self) -> str:
        """The name of the newest checkpoint, "" when there is none."""
        return tf.train.latest_checkpoint(str(self.work / "checkpoints")) or ""

    def killed_at(self, moment: str, chance: random.Random) -> str:
        """One life: ended at a random moment of the kind; what became of it."""
        before, process = self.newest(), self.start()
        reached = {
            "start": lambda: True,
            "step": lambda: self.newest() != before,
            "save": lambda: any((self.work / "checkpoints").glob("*_temp")),
            "publish": self.out.with_name(self.out.name + ".partial").exists,
        }[moment]
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and not reached() and time.monotonic() < deadline:
            time.sleep(0.05 if moment == "step" else 0.0005)
        pause = {"start": 8.0, "step": 1.5, "save": 0.01, "publish": 0.15}[moment]
        time.sleep(chance.random() * pause)
        if process.poll() is not None:
            if process.returncode:
                raise SystemExit(f"{self.out}.log: ended with {process.returncode}")
            return "finished before"
        process.send_signal(signal.SIGKILL)
        process.wait()
        return moment

    def check_checkpoint(self) -> None:
        """Reads every tensor of the newest checkpoint; TensorFlow compares their checksums."""
        if newest := self.newest():
            reader = tf.train.load_checkpoint(newest)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)

    def weights(self) -> dict[str, np.ndarray]:
        """All that the stage published."""
        found: dict[str, np.ndarray] = {}
        for file in sorted(self.out.glob("*.weights.h5")):
            with h5py.File(file) as content:

                def keep(path, item, part=file.name):
                    if isinstance(item, h5py.Dataset):
                        found[f"{part}/{path}"] = item[()]

                content.visititems(keep)
        return found


def compare(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest difference between two runs' weights."""
    if one.keys() != other.keys():
        return float("inf")
    return max(float(np.abs(one[name].astype(float) - other[name]).max(initial=0)) for name in one)


def main() -> None:
    """Runs the stages that are asked for and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="finished undisturbed runs in it are used again"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument(
        "--kills", type=int, default=10, help="lives of each stage that end early (default: 10)"
    )
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    prepare(arguments.out, arguments.scenes)
    moments = (
        MOMENTS[-arguments.kills :]
        if arguments.kills <= 10
        else MOMENTS[1:2] * (arguments.kills - 10) + MOMENTS
    )
    print("| stage | kills: where they fell | unreadable checkpoints | largest difference of a weight |")
    print("|---|---|---|---|")
    for name in STAGES:
        whole = Stage(arguments.out, name, arguments.out / "whole" / name)
        if not whole.out.exists():
            whole.finish()
        if name not in arguments.stages:
            continue
        chance = random.Random(f"{arguments.seed} {name}")
        killed = Stage(arguments.out, name, arguments.out / f"killed-{arguments.seed}" / name)
        if killed.out.exists() or killed.work.exists():
            raise SystemExit(
                f"{killed.out}: from an earlier run; remove {killed.out.parent}, or take another --seed"
            )
        fell, unreadable = Counter(), 0
        for moment in moments:
            fell[killed.killed_at(moment, chance)] += 1
            try:
                killed.check_checkpoint()
            except (tf.errors.OpError, ValueError):
                unreadable += 1
        killed.finish()
        where = ", ".join(f"{count} {moment}" for moment, count in fell.items())
        difference = compare(whole.weights(), killed.weights())
        print(f"| {name} | {where} | {unreadable} | {difference:.3g} |", flush=True)


if __name__ == "__main__":
    main()
