"""Stages 1 and 2 in one process and in two on 127.0.0.1: the same loss curve, the same weights?

    python benchmarks/two_hosts.py --out runs/two_hosts

Both stages are trained on a small ConceptWorld with the same global batch, once in one process and once in
two with TF_CONFIG. The second of the two is killed after its first checkpoint; both then start anew with the
same command. The table shows the largest relative difference of a training loss (an epoch's mean) between
one process and two, and whether the two ended with equal weights, as they say themselves. The learning rate
is low by default: at the presets' rates a network that starts from scratch amplifies the rounding of sums in
another order from step to step.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from kills import SMALL, STAGES, command, prepare

FIELD = {"embedding": "embed", "refine": "refine"}


def addresses(count: int) -> list[str]:
    """Free ports of this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return found


def start(data: Path, stage: str, out: Path, rate: float, hosts: int) -> list[subprocess.Popen]:
    """Starts a stage in one or several processes, each with a log of its own."""
    given = ["train", stage, "--data", data / "records", "--out", out, "--checkpoint-every", 2]
    if stage == "embedding":
        given += ["--vocabulary", data / "vocabulary", "--config", "tiny"]
        given += [word for field in SMALL for word in ("--set", field)]
    else:
        given += ["--from", data / "one" / STAGES[stage]]
    given += ["--deterministic", "--set", f"{FIELD[stage]}.learning_rate={rate}"]
    out.parent.mkdir(parents=True, exist_ok=True)
    workers, children = addresses(hosts), []
    for index in range(hosts):
        task = {"type": "worker", "index": index}
        cluster = {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": task})}
        environment = {**os.environ, **(cluster if hosts > 1 else {})}
        with out.with_name(f"{out.name}.{index}.log").open("ab") as log:
            children.append(subprocess.Popen(command(*given), env=environment, stdout=log, stderr=log))
    return children


def train(data: Path, stage: str, folder: str, rate: float, hosts: int) -> list[float]:
    """Trains a stage to its end; the training loss of every epoch."""
    out = data / folder / stage
    work = out.with_name(out.name + ".run")
    for old in (out, work):
        shutil.rmtree(old, ignore_errors=True)
    for old in out.parent.glob(f"{stage}.*.log"):
        old.unlink()
    children = start(data, stage, out, rate, hosts)
    if hosts > 1:
        while not any((work / "checkpoints").glob("*.index")) and children[1].poll() is None:
            time.sleep(0.05)
        children[1].kill()
        codes = [child.wait() for child in children]
        print(f"{stage}: killed one of two; they ended with {codes}", flush=True)
        children = start(data, stage, out, rate, hosts)
    if any(codes := [child.wait() for child in children]):
        raise SystemExit(f"{out}.*.log: ended with {codes}")
    return [epoch["loss"] for epoch in json.loads((work / "history.json").read_text())["train"]]


def agreed(data: Path, stage: str) -> bool:
    """Whether the second host found its weights equal to the chief's, bit by bit."""
    log = (data / "two" / f"{stage}.1.log").read_text(errors="replace")
    return bool(re.search(r"weights [0-9a-f]+, the chief's", log))


def main() -> None:
    """Trains both stages both ways and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stages", nargs="+", choices=FIELD, default=list(FIELD))
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--rate", type=float, default=1e-5, help="learning rate (default: 1e-5)")
    arguments = parser.parse_args()
    data = arguments.out.resolve()
    prepare(data, arguments.scenes)
    rows = []
    for stage in arguments.stages:
        one = train(data, stage, "one", arguments.rate, 1)
        two = train(data, stage, "two", arguments.rate, 2)
        apart = max(abs(a - b) / abs(a) for a, b in zip(one, two, strict=True))
        rows.append(f"| {stage} | {one[0]:.4f} | {one[-1]:.4f} | {apart:.1e} | {agreed(data, stage)} |")
    print("\n| stage | loss of the first epoch | of the last | largest relative difference | equal weights |")
    print("\n".join(["|---|---|---|---|---|", *rows]))


if __name__ == "__main__":
    main()
